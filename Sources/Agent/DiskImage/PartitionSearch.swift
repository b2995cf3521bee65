import Model

/// Reads the partition tables of a guest's disk.
/// Source: UEFI 2.10, chapter 5 (GPT, and the MBR in "Legacy Master Boot Record").
enum PartitionSearch {
    /// A partition as its table has it.
    struct Part {
        var number: Int
        var startBytes: UInt64
        var sizeBytes: UInt64
        var isEFISystem: Bool
    }

    struct Found {
        var table: PartitionTable
        var parts: [Part]
        /// Whether the first sector has code that a BIOS runs.
        var hasBootCode: Bool
    }

    private static let protective: UInt8 = 0xee
    private static let efiSystem: UInt8 = 0xef
    private static let extended: [UInt8] = [0x05, 0x0f, 0x85]
    private static let bootCodeBytes = 440

    /// One of the four entries of a table in a sector.
    private struct Entry {
        let status: UInt8
        let type: UInt8
        let start: UInt64
        let count: UInt64

        init(_ sector: [UInt8], _ index: Int) {
            let place = 446 + index * 16
            status = sector[place]
            type = sector[place + 4]
            start = UInt64(sector.little32(place + 8))
            count = UInt64(sector.little32(place + 12))
        }
    }

    /// The table of the disk.
    /// - Parameter isFileSystem: the first sector is of a file system, so what seems a table there must be a good one.
    static func table(_ reader: inout GuestReader, isFileSystem: Bool) throws(DiskImageError) -> Found? {
        guard let sector = try reader.bytes(at: 0, count: 512), sector.has([0x55, 0xaa], at: 510) else { return nil }
        let hasBootCode = sector[0..<bootCodeBytes].contains { $0 != 0 }
        let entries = (0..<4).map { Entry(sector, $0) }
        if entries.contains(where: { $0.type == protective }), let parts = try gpt(&reader) {
            return Found(table: .gpt, parts: parts, hasBootCode: hasBootCode)
        }
        let sectors = reader.disk.virtualSizeBytes / 512
        let isTable = entries.allSatisfy {
            $0.status & 0x7f == 0 && ($0.type == 0 || $0.start < sectors && $0.count > 0)
        }
        guard isTable, entries.contains(where: { $0.type != 0 }) || !isFileSystem else { return nil }
        var parts: [Part] = []
        for (index, entry) in entries.enumerated() where entry.type != 0 {
            parts.append(part(index + 1, entry, base: 0, sectors))
            if extended.contains(entry.type) { parts += try logical(entry.start, sectors, &reader) }
        }
        guard !parts.isEmpty else { return nil }
        return Found(table: .mbr, parts: parts.sorted { $0.number < $1.number }, hasBootCode: hasBootCode)
    }

    private static func part(_ number: Int, _ entry: Entry, base: UInt64, _ sectors: UInt64) -> Part {
        let start = base + entry.start
        let count = start < sectors ? min(entry.count, sectors - start) : 0
        return Part(
            number: number, startBytes: start * 512, sizeBytes: count * 512, isEFISystem: entry.type == efiSystem)
    }

    /// The chain of tables in an extended partition; each has one partition and the place of the next table.
    private static func logical(
        _ base: UInt64, _ sectors: UInt64, _ reader: inout GuestReader
    ) throws(DiskImageError) -> [Part] {
        var parts: [Part] = []
        var place = base
        for number in 5..<5 + Limits.logicalPartitionCountMax {
            guard let sector = try reader.bytes(at: place * 512, count: 512), sector.has([0x55, 0xaa], at: 510) else {
                break
            }
            let (own, next) = (Entry(sector, 0), Entry(sector, 1))
            if own.type != 0, own.count > 0, place + own.start < sectors {
                parts.append(part(number, own, base: place, sectors))
            }
            guard next.type != 0, next.start > 0 else { break }
            place = base + next.start
        }
        return parts
    }

    private static let efiSystemID: [UInt8] = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
    ]

    /// The table of UEFI, on a disk of sectors of 512 or 4096 bytes. Checksums are not looked at: a hint is enough.
    private static func gpt(_ reader: inout GuestReader) throws(DiskImageError) -> [Part]? {
        for sectorBytes in [UInt64(512), 4096] {
            guard let header = try reader.bytes(at: sectorBytes, count: 512), header.has("EFI PART", at: 0) else {
                continue
            }
            let size = Int(header.little32(84))
            let count = min(Int(header.little32(80)), Limits.gptEntryCountMax)
            let (place, isBeyond) = header.little64(72).multipliedReportingOverflow(by: sectorBytes)
            guard size >= 128, size <= 4096, !isBeyond, let entries = try reader.bytes(at: place, count: size * count)
            else { return nil }
            let sectors = reader.disk.virtualSizeBytes / sectorBytes
            var parts: [Part] = []
            for index in 0..<count {
                let entry = index * size
                let (first, last) = (entries.little64(entry + 32), entries.little64(entry + 40))
                guard entries[entry..<entry + 16].contains(where: { $0 != 0 }), first < sectors, last >= first else {
                    continue
                }
                parts.append(
                    Part(
                        number: index + 1, startBytes: first * sectorBytes,
                        sizeBytes: (min(last, sectors - 1) - first + 1) * sectorBytes,
                        isEFISystem: entries.has(efiSystemID, at: entry)))
            }
            return parts
        }
        return nil
    }
}
