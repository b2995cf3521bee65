import Model

/// Reads a guest's disk to learn of the guest. The guest is as hostile as the file: what lies beyond the disk, or beyond
/// the bound of what is read for one disk, is answered with nothing.
struct GuestReader: ~Copyable {
    let disk: any GuestDisk
    private var leftBytes = Limits.guestReadBytesMax

    init(_ disk: any GuestDisk) { self.disk = disk }

    /// `count` bytes from `offset`; nil when they are not all there.
    mutating func bytes(at offset: UInt64, count: Int) throws(DiskImageError) -> [UInt8]? {
        guard offset <= disk.virtualSizeBytes, UInt64(count) <= disk.virtualSizeBytes - offset, count <= leftBytes
        else { return nil }
        // Each read counts for a sector at least, so that their number is bounded too.
        leftBytes -= max(count, 512)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        try disk.readSparsely(into: buffer, at: offset)
        return [UInt8](buffer)
    }
}

extension DiskImage {
    /// Looks at a guest's disk: how it is divided, what is in the parts, how it starts, which system it has. Blocks;
    /// reads at most 16 MiB, whatever the guest wrote.
    /// - Throws: what the disk throws. Content that is not understood is not an error.
    package static func guestFacts(of disk: any GuestDisk) throws(DiskImageError) -> GuestFacts {
        var reader = GuestReader(disk)
        var facts = GuestFacts()
        facts.fileSystem = try FileSystemSignature.find(at: 0, &reader)
        if let found = try PartitionSearch.table(&reader, isFileSystem: facts.fileSystem != nil) {
            facts.partitionTable = found.table
            facts.startsByBIOS = found.hasBootCode
            for part in found.parts {
                let kind = try FileSystemSignature.find(at: part.startBytes, &reader)
                facts.partitions.append(
                    GuestPartition(
                        number: part.number, startBytes: part.startBytes, sizeBytes: part.sizeBytes, fileSystem: kind,
                        isEFISystem: part.isEFISystem))
                if part.isEFISystem, kind == .vfat { facts.startsByUEFI = true }
            }
        }
        if facts.fileSystem == .iso9660, let starts = try BootCatalog.starts(&reader) {
            facts.startsByBIOS = facts.startsByBIOS || starts.byBIOS
            facts.startsByUEFI = facts.startsByUEFI || starts.byUEFI
        }
        let extents = [(UInt64(0), facts.fileSystem)] + facts.partitions.map { ($0.startBytes, $0.fileSystem) }
        for (start, kind) in extents where kind == .ext4 || kind == .ext3 || kind == .ext2 {
            guard let text = try Ext4Files.read(["etc", "os-release"], at: start, &reader) else { continue }
            facts.system = GuestSystem(osRelease: text)
            if facts.system != nil { break }
        }
        return facts
    }
}

extension GuestSystem {
    /// Takes the text of an os-release file apart; nil when it has no `ID`.
    init?(osRelease text: [UInt8]) {
        var values: [String: String] = [:]
        for line in text.split(separator: 0x0a).prefix(Limits.osReleaseLineCountMax) {
            guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let key = String(decoding: line[..<equals], as: UTF8.self)
            guard ["ID", "VERSION_ID", "PRETTY_NAME"].contains(key) else { continue }
            var value = line[(equals + 1)...]
            if value.count >= 2, let quote = value.first, quote == 0x22 || quote == 0x27, value.last == quote {
                value = value.dropFirst().dropLast()
            }
            let shown = String(decoding: value, as: UTF8.self).unicodeScalars
                .filter { $0.properties.generalCategory != .control && $0.properties.generalCategory != .format }
                .prefix(Limits.osReleaseCharacterCountMax)
            var words = ""
            words.unicodeScalars.append(contentsOf: shown)
            values[key] = words
        }
        guard let id = values["ID"], !id.isEmpty else { return nil }
        self.init(id: id, version: values["VERSION_ID"], name: values["PRETTY_NAME"])
    }
}
