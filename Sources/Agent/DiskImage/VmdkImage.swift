/// A VMDK file made of a guest's disk: streamOptimized, version 3, grains of 64 KiB, holes left out. Its layout follows
/// from the sizes of the packed grains, so that any byte of it can be made at any time:
///
///     header | descriptor | zeros | grains, in guest order | (marker, grain table)... | marker, grain directory | footer
///
/// The footer is a marker, a header that knows where the directory is, and the end of the stream.
/// Source: VMware, Virtual Disk Format 1.1, "Stream-Optimized Compressed Sparse Extents"; docs/image-formats.md, "vmdk out".
struct VmdkImage: RenderedImage {
    private static let sectorBytes: UInt64 = 512
    private static let grainBytes = UInt64(VmdkPacker.grainBytes)
    private static let entryCount = VmdkHeader.tableEntryCount
    /// Header, descriptor, and zeros up to a grain.
    private static let overheadSectors: UInt64 = 128
    private static let descriptorSectors: UInt64 = 20
    /// A marker and a table.
    private static let tableSectors: UInt64 = 1 + VmdkHeader.tableBytes / sectorBytes
    /// Entries of four bytes in a sector.
    private static let entriesPerSector: UInt64 = 128
    /// New-line test, compressed grains, markers.
    private static let flags: UInt32 = 0x30001

    private enum Marker: UInt32 {
        case endOfStream, grainTable, grainDirectory, footer
    }

    private let sectorCount: UInt64
    private let grains: VmdkGrainMap
    private let packer: VmdkPacker
    private let packed = RecentlyUsed<UnpackedUnit>(capacity: Limits.vmdkPackedGrainCacheCount)
    private let descriptor: [UInt8]
    private let directoryEntryCount: UInt64
    // Where the parts begin, in sectors of the file; tables and the directory begin with their markers.
    private let firstTable: UInt64
    private let directory: UInt64
    private let footer: UInt64

    var byteCount: UInt64 { (footer + 3) * Self.sectorBytes }

    /// Asks the disk for all its extents, and with `.deflated` for all its data, and lays the file out.
    init(_ disk: any GuestDisk, _ packing: GrainPacking) throws(DiskImageError) {
        let size = disk.virtualSizeBytes
        guard size <= Limits.renderedDiskBytesMax else {
            throw .tooLarge(virtualSizeBytes: size, limitBytes: Limits.renderedDiskBytesMax)
        }
        sectorCount = (size + Self.sectorBytes - 1) / Self.sectorBytes
        let grainCount = (size + Self.grainBytes - 1) / Self.grainBytes
        packer = VmdkPacker(disk, packing)
        grains = try VmdkGrainMap(grainCount: grainCount)
        try Self.fill(grains, disk, packer, packing)
        grains.seal()
        directoryEntryCount = (grainCount + Self.entryCount - 1) / Self.entryCount
        firstTable = Self.overheadSectors + grains.sectorCount
        directory = firstTable + grains.usedTableCount * Self.tableSectors
        footer = directory + 1 + (directoryEntryCount + Self.entriesPerSector - 1) / Self.entriesPerSector
        guard footer + 3 <= Limits.vmdkFileSectorsMax else {
            throw .tooLarge(
                virtualSizeBytes: size, limitBytes: Limits.vmdkFileSectorsMax * Self.sectorBytes)
        }
        descriptor = VmdkDescriptor.text(sectors: sectorCount, fingerprint: grains.fingerprint)
    }

    /// Finds out how many sectors each grain takes.
    private static func fill(
        _ grains: VmdkGrainMap, _ disk: any GuestDisk, _ packer: VmdkPacker, _ packing: GrainPacking
    ) throws(DiskImageError) {
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: VmdkPacker.packedBytesMax, alignment: 16)
        defer { scratch.deallocate() }
        var (offset, next): (UInt64, UInt64) = (0, 0)
        while offset < disk.virtualSizeBytes {
            let extent = try disk.extent(at: offset)
            precondition(extent.range.lowerBound == offset && extent.range.upperBound > offset, "extents go on")
            offset = min(extent.range.upperBound, disk.virtualSizeBytes)
            guard extent.isData else { continue }
            // Two extents may touch one grain.
            let first = max(next, extent.range.lowerBound / grainBytes)
            next = max(first, (offset + grainBytes - 1) / grainBytes)
            for grain in first..<next {
                let sectors = packing == .stored ? VmdkPacker.storedSectors : try packer.pack(grain, into: scratch)
                if sectors > 0 { grains.set(grain, sectors: sectors) }
            }
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        precondition(offset <= byteCount && UInt64(buffer.count) <= byteCount - offset, "the range lies in the file")
        let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(Self.sectorBytes), alignment: 16)
        defer { sector.deallocate() }
        var done = 0
        while done < buffer.count {
            let place = offset + UInt64(done)
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let number = place / Self.sectorBytes
            if number >= Self.overheadSectors, number < firstTable {
                done += try copyGrain(place, into: rest)
            } else {
                sector.initializeMemory(as: UInt8.self, repeating: 0)
                make(number, sector)
                let inside = Int(place % Self.sectorBytes)
                let count = min(rest.count, sector.count - inside)
                rest.copyMemory(from: UnsafeRawBufferPointer(rebasing: sector[inside..<inside + count]))
                done += count
            }
        }
    }

    /// Copies from the one grain that `place` is in. Returns the bytes copied.
    private func copyGrain(_ place: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) -> Int {
        let (grain, first) = grains.grain(atSector: place / Self.sectorBytes - Self.overheadSectors)
        let unit: UnpackedUnit
        if let known = packed.value(for: grain) {
            unit = known
        } else {
            unit = UnpackedUnit(byteCount: VmdkPacker.packedBytesMax)
            guard UInt64(try packer.pack(grain, into: unit.bytes)) == grains.sectors(of: grain) else {
                throw .source("the disk changed while it was read")
            }
            packed.insert(unit, for: grain)
        }
        let inside = Int(place - (Self.overheadSectors + first) * Self.sectorBytes)
        let count = min(buffer.count, Int(grains.sectors(of: grain) * Self.sectorBytes) - inside)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: unit.bytes[inside..<inside + count]))
        return count
    }

    /// Makes any sector but those of grains; `sector` is zero before.
    private func make(_ number: UInt64, _ sector: UnsafeMutableRawBufferPointer) {
        switch number {
        case 0: makeHeader(sector, directory: VmdkHeader.placeIsInFooter)
        case 1..<1 + Self.descriptorSectors:
            let text = descriptor.dropFirst(Int((number - 1) * Self.sectorBytes)).prefix(Int(Self.sectorBytes))
            sector.copyBytes(from: text)
        case ..<Self.overheadSectors: break
        case ..<directory:
            let (rank, inside) = (number - firstTable).quotientAndRemainder(dividingBy: Self.tableSectors)
            if inside == 0 {
                makeMarker(sector, .grainTable, Self.tableSectors - 1)
            } else {
                makeTable(grains.table(ofRank: rank) * Self.entryCount + (inside - 1) * Self.entriesPerSector, sector)
            }
        case directory: makeMarker(sector, .grainDirectory, footer - directory - 1)
        case ..<footer: makeDirectory((number - directory - 1) * Self.entriesPerSector, sector)
        case footer: makeMarker(sector, .footer, 1)
        case footer + 1: makeHeader(sector, directory: directory + 1)
        default: makeMarker(sector, .endOfStream, 0)
        }
    }

    private func makeHeader(_ sector: UnsafeMutableRawBufferPointer, directory: UInt64) {
        func put<Word: FixedWidthInteger>(_ word: Word, at offset: Int) {
            sector.storeBytes(of: word.littleEndian, toByteOffset: offset, as: Word.self)
        }
        sector.copyBytes(from: "KDMV".utf8)
        put(UInt32(3), at: 4)
        put(Self.flags, at: 8)
        put(sectorCount, at: 12)
        put(Self.grainBytes / Self.sectorBytes, at: 20)
        put(UInt64(1), at: 28)
        put(Self.descriptorSectors, at: 36)
        put(UInt32(Self.entryCount), at: 44)
        put(directory, at: 56)
        put(Self.overheadSectors, at: 64)
        UnsafeMutableRawBufferPointer(rebasing: sector[73..<77]).copyBytes(from: [0x0a, 0x20, 0x0d, 0x0a])
        put(UInt16(1), at: 77)
    }

    private func makeMarker(_ sector: UnsafeMutableRawBufferPointer, _ marker: Marker, _ sectors: UInt64) {
        sector.storeBytes(of: sectors.littleEndian, toByteOffset: 0, as: UInt64.self)
        sector.storeBytes(of: marker.rawValue.littleEndian, toByteOffset: 12, as: UInt32.self)
    }

    private func makeTable(_ first: UInt64, _ sector: UnsafeMutableRawBufferPointer) {
        let end = min(
            first + Self.entriesPerSector, (sectorCount * Self.sectorBytes + Self.grainBytes - 1) / Self.grainBytes)
        guard first < end else { return }
        let words = sector.bindMemory(to: UInt32.self)
        var place = Self.overheadSectors + grains.sectors(before: first)
        for grain in first..<end {
            let sectors = grains.sectors(of: grain)
            if sectors > 0 { words[Int(grain - first)] = UInt32(place).littleEndian }
            place += sectors
        }
    }

    private func makeDirectory(_ first: UInt64, _ sector: UnsafeMutableRawBufferPointer) {
        let words = sector.bindMemory(to: UInt32.self)
        for table in first..<min(first + Self.entriesPerSector, directoryEntryCount) {
            guard let rank = grains.rank(ofTable: table) else { continue }
            words[Int(table - first)] = UInt32(firstTable + rank * Self.tableSectors + 1).littleEndian
        }
    }
}

extension VmdkDescriptor {
    /// The descriptor of a disk of its own. What others read first stands in its first 512 bytes.
    /// - Parameter fingerprint: what the content's id is made of; the same disk has the same.
    static func text(sectors: UInt64, fingerprint: UInt64) -> [UInt8] {
        // All ones means "no parent" and is no id; the bit keeps clear of it.
        let id = hex(UInt64(UInt32(truncatingIfNeeded: fingerprint) & 0x7fff_ffff), digits: 8)
        let (heads, sectorsPerTrack): (UInt64, UInt64) = (255, 63)
        let cylinders = min(max(sectors / (heads * sectorsPerTrack), 1), 65535)
        let longID = hex(fingerprint, digits: 16) + hex(fingerprint >> 32 ^ sectors, digits: 8) + id
        let text = """
            # Disk DescriptorFile
            version=1
            CID=\(id)
            parentCID=ffffffff
            createType="streamOptimized"

            # Extent description
            RW \(sectors) SPARSE "disk.vmdk"

            # The Disk Data Base
            #DDB

            ddb.adapterType = "lsilogic"
            ddb.geometry.cylinders = "\(cylinders)"
            ddb.geometry.heads = "\(heads)"
            ddb.geometry.sectors = "\(sectorsPerTrack)"
            ddb.longContentID = "\(longID)"
            ddb.toolsVersion = "2147483647"
            ddb.virtualHWVersion = "4"

            """
        return Array(text.utf8)
    }

    private static func hex(_ number: UInt64, digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + String(text.suffix(digits))
    }
}
