/// The fields of a sparse extent's header, as they stand in a sector of the file.
///
///      0 "KDMV"            28 descriptor, sector       64 sectors before the first grain
///      4 version           36 descriptor, sectors      72 not closed
///      8 flags             44 entries of a grain table 73 "\n \r\n"
///     12 capacity          48 redundant directory      77 compression
///     20 grain, sectors    56 grain directory
///
/// Little-endian; places and sizes are in sectors of 512 bytes.
/// Source: VMware, Virtual Disk Format 1.1, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents".
struct VmdkFields: Equatable, Sendable {
    var version: UInt32
    var flags: UInt32
    var capacity: UInt64
    var grainSectors: UInt64
    var descriptorSector: UInt64
    var descriptorSectors: UInt64
    var tableEntryCount: UInt32
    var redundantSector: UInt64
    var directorySector: UInt64
    var overheadSectors: UInt64
    var wasNotClosed: Bool
    var newlines: [UInt8]
    var compression: UInt16

    /// Takes a sector apart that begins with the signature.
    init(_ sector: [UInt8]) {
        version = sector.little32(4)
        flags = sector.little32(8)
        capacity = sector.little64(12)
        grainSectors = sector.little64(20)
        descriptorSector = sector.little64(28)
        descriptorSectors = sector.little64(36)
        tableEntryCount = sector.little32(44)
        redundantSector = sector.little64(48)
        directorySector = sector.little64(56)
        overheadSectors = sector.little64(64)
        wasNotClosed = sector[72] != 0
        newlines = Array(sector[73..<77])
        compression = sector.little16(77)
    }

    /// Whether a footer says the same of the disk as its header; the places of the directories may differ.
    func agrees(_ other: VmdkFields) -> Bool {
        version == other.version && flags == other.flags && capacity == other.capacity
            && grainSectors == other.grainSectors && descriptorSector == other.descriptorSector
            && descriptorSectors == other.descriptorSectors && tableEntryCount == other.tableEntryCount
            && compression == other.compression
    }
}

/// A part of a VMDK file that is known from the header.
struct VmdkRegion: Sendable {
    let name: String
    let range: Range<UInt64>
}

/// The header of a sparse extent whose every rule was checked; what it names is inside the file and apart.
struct VmdkHeader: Sendable {
    /// The signature, the bytes of a sector, and what a directory's place says when it is in the footer.
    static let sectorBytes: UInt64 = 512
    static let tableEntryCount: UInt64 = 512
    static let tableBytes: UInt64 = tableEntryCount * 4
    static let placeIsInFooter = UInt64.max
    static let footerBytes: UInt64 = 3 * sectorBytes
    static let footerMarker: UInt32 = 3

    let virtualSizeBytes: UInt64
    let grainBytes: UInt64
    let isCompressed: Bool
    /// An entry of 1 says that a grain is zero.
    let hasZeroGrains: Bool
    let directoryOffset: UInt64
    let redundantOffset: UInt64?
    let directoryEntryCount: UInt64
    /// Header, descriptor, directories and footer.
    let regions: [VmdkRegion]
    /// For the admin.
    let notes: [String]

    /// Guest bytes that one grain table maps.
    var tableSpanBytes: UInt64 { Self.tableEntryCount * grainBytes }
}

extension VmdkHeader {
    private static let newlineFlag: UInt32 = 1
    private static let redundantFlag: UInt32 = 2
    private static let zeroGrainFlag: UInt32 = 4
    private static let compressedFlag: UInt32 = 1 << 16
    private static let markerFlag: UInt32 = 1 << 17
    private static let knownFlags = newlineFlag | redundantFlag | zeroGrainFlag | compressedFlag | markerFlag

    /// Reads and checks the header, the footer and the descriptor.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        let signature = try file.bytes(at: 0, count: Int(min(4, file.byteCount)), what: "the VMDK header")
        guard signature.has("KDMV", at: 0) else {
            throw .unsupported(feature: "VMDK files that are not one sparse extent with its descriptor", offset: 0)
        }
        let sector = try file.bytes(at: 0, count: Int(Self.sectorBytes), what: "the VMDK header")
        let fields = VmdkFields(sector)
        try Self.check(fields, limits)
        let footer = try Self.footer(file, fields)
        let directorySector = footer?.directorySector ?? fields.directorySector
        let redundantSector = fields.flags & Self.redundantFlag != 0 ? fields.redundantSector : nil
        let descriptor = try Self.descriptor(file, fields)
        let capacity = fields.capacity
        let sectors = try Self.visibleSectors(descriptor, capacity, fields.grainSectors)
        grainBytes = fields.grainSectors * Self.sectorBytes
        isCompressed = fields.flags & Self.compressedFlag != 0
        hasZeroGrains = fields.flags & Self.zeroGrainFlag != 0
        virtualSizeBytes = sectors * Self.sectorBytes
        let span = fields.grainSectors * Self.tableEntryCount
        directoryEntryCount = capacity / span + (capacity % span == 0 ? 0 : 1)
        guard directoryEntryCount <= Limits.vmdkDirectoryEntryCountMax else {
            throw .unsafe(rule: "the grain directory has more than 1048576 entries", offset: 12)
        }
        directoryOffset = Self.bytes(directorySector)
        redundantOffset = redundantSector.map(Self.bytes)
        let directoryBytes = directoryEntryCount * 4
        let directoryField = footer == nil ? 56 : file.byteCount - 1024 + 56
        var named: [(name: String, field: UInt64, start: UInt64, count: UInt64)] = [
            ("the header", 0, 0, Self.sectorBytes)
        ]
        if footer != nil {
            let start = file.byteCount - Self.footerBytes
            named.append(("the footer", start, start, Self.footerBytes))
        }
        let (text, textBytes) = (Self.bytes(fields.descriptorSector), Self.bytes(fields.descriptorSectors))
        named.append(("the descriptor", 28, text, textBytes))
        named.append(("the grain directory", directoryField, directoryOffset, directoryBytes))
        if let redundantOffset { named.append(("the redundant directory", 48, redundantOffset, directoryBytes)) }
        regions = try Self.regions(named, file)
        var notes = fields.wasNotClosed ? ["The image was not closed; the last writes may be missing."] : []
        if sectors != capacity {
            notes.append("The disk ends where the descriptor says, \(capacity - sectors) sectors before the header.")
        }
        self.notes = notes
    }

    /// Sectors in bytes; a number that is too large for any file stays one.
    static func bytes(_ sectors: UInt64) -> UInt64 {
        sectors > UInt64.max / sectorBytes ? .max : sectors * sectorBytes
    }

    /// The rules that need no more than the fields.
    private static func check(_ fields: VmdkFields, _ limits: InspectionLimits) throws(DiskImageError) {
        guard Limits.vmdkVersions.contains(fields.version) else {
            throw .unsupported(feature: "VMDK version \(fields.version)", offset: 4)
        }
        guard fields.flags & ~knownFlags == 0 else {
            let flags = String(fields.flags & ~knownFlags, radix: 16)
            throw .unsupported(feature: "VMDK flags 0x\(flags)", offset: 8)
        }
        guard fields.flags & newlineFlag == 0 || fields.newlines == [0x0a, 0x20, 0x0d, 0x0a] else {
            throw .corrupt(rule: "a transfer as text changed the file", offset: 73)
        }
        guard fields.capacity > 0 else { throw .corrupt(rule: "the capacity is zero", offset: 12) }
        guard bytes(fields.capacity) <= limits.virtualSizeBytesMax else {
            throw .tooLarge(virtualSizeBytes: bytes(fields.capacity), limitBytes: limits.virtualSizeBytesMax)
        }
        let grain = fields.grainSectors
        guard grain <= Limits.vmdkGrainSectors.upperBound else {
            throw .unsafe(rule: "grains are larger than 64 KiB", offset: 20)
        }
        guard grain >= Limits.vmdkGrainSectors.lowerBound, grain & (grain - 1) == 0 else {
            throw .corrupt(rule: "a grain is not 8, 16, 32, 64 or 128 sectors", offset: 20)
        }
        guard UInt64(fields.tableEntryCount) == tableEntryCount else {
            throw .corrupt(rule: "grain tables do not have 512 entries", offset: 44)
        }
        guard fields.compression <= 1 else {
            throw .unsupported(feature: "VMDK compression \(fields.compression)", offset: 77)
        }
        guard (fields.compression == 1) == (fields.flags & compressedFlag != 0) else {
            throw .corrupt(rule: "the compression and its flag disagree", offset: 77)
        }
        guard (fields.flags & markerFlag != 0) == (fields.flags & compressedFlag != 0) else {
            throw .unsupported(feature: "VMDK markers without compression, or compression without markers", offset: 8)
        }
    }

    /// The last three sectors of a file whose directory's place is only known when all grains are written: a marker,
    /// a copy of the header, the end of the stream. Nil when there is none and none is needed.
    private static func footer(_ file: FileReader, _ fields: VmdkFields) throws(DiskImageError) -> VmdkFields? {
        let isNeeded = fields.directorySector == placeIsInFooter
        guard isNeeded || fields.flags & markerFlag != 0 else { return nil }
        guard file.byteCount >= footerBytes + sectorBytes, file.byteCount % sectorBytes == 0 else {
            guard isNeeded else { return nil }
            throw .corrupt(rule: "the file ends before its footer does", offset: file.byteCount)
        }
        let place = file.byteCount - footerBytes
        let tail = try file.bytes(at: place, count: Int(footerBytes), what: "the footer")
        let isThere = tail.little32(8) == 0 && tail.little32(12) == footerMarker && tail.has("KDMV", at: 512)
        guard isThere else {
            guard isNeeded else { return nil }
            throw .corrupt(rule: "there is no footer at the end of the file", offset: place)
        }
        guard tail[1024..<1040].allSatisfy({ $0 == 0 }) else {
            throw .corrupt(rule: "the footer is not followed by the end of the stream", offset: place + 1024)
        }
        let footer = VmdkFields(Array(tail[512..<1024]))
        guard footer.agrees(fields), isNeeded || footer.directorySector == fields.directorySector else {
            throw .corrupt(rule: "header and footer disagree", offset: place + 512)
        }
        guard footer.directorySector != placeIsInFooter else {
            throw .corrupt(rule: "the footer does not say where the grain directory is", offset: place + 512 + 56)
        }
        return footer
    }

    private static func descriptor(_ file: FileReader, _ fields: VmdkFields) throws(DiskImageError) -> VmdkDescriptor {
        guard fields.descriptorSector > 0, fields.descriptorSectors > 0 else {
            throw .unsafe(rule: "the descriptor is in another file", offset: 28)
        }
        guard bytes(fields.descriptorSectors) <= Limits.vmdkDescriptorBytesMax else {
            throw .unsafe(rule: "the descriptor is larger than 1 MiB", offset: 36)
        }
        let place = bytes(fields.descriptorSector)
        guard file.contains(place, bytes(fields.descriptorSectors)) else {
            throw .corrupt(rule: "the descriptor lies outside the file", offset: 28)
        }
        let text = try file.bytes(at: place, count: Int(bytes(fields.descriptorSectors)), what: "the descriptor")
        return try VmdkDescriptor(text, at: place)
    }

    /// Some tools round the capacity up to whole grains, and only the descriptor has the true size.
    private static func visibleSectors(
        _ descriptor: VmdkDescriptor, _ capacity: UInt64, _ grainSectors: UInt64
    ) throws(DiskImageError) -> UInt64 {
        let sectors = descriptor.extentSectors
        guard sectors > 0, sectors <= capacity, capacity - sectors < grainSectors else {
            throw .corrupt(
                rule: "the descriptor says \(sectors) sectors, the header \(capacity)", offset: descriptor.extentOffset)
        }
        return sectors
    }

    /// What the header names: in the file, and apart.
    private static func regions(
        _ named: [(name: String, field: UInt64, start: UInt64, count: UInt64)], _ file: FileReader
    ) throws(DiskImageError) -> [VmdkRegion] {
        var regions: [VmdkRegion] = []
        for part in named {
            guard file.contains(part.start, part.count) else {
                throw .corrupt(rule: "\(part.name) lies outside the file", offset: part.field)
            }
            let range = part.start..<part.start + part.count
            if let other = regions.first(where: { $0.range.overlaps(range) }) {
                throw .corrupt(rule: "\(part.name) overlaps \(other.name)", offset: part.field)
            }
            regions.append(VmdkRegion(name: part.name, range: range))
        }
        return regions
    }
}
