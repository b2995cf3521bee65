/// A grain table: 512 entries, each the sector of a grain or 0.
final class VmdkTable: Sendable {
    let entries: [UInt32]
    /// Where the first is in the file.
    let place: UInt64

    init(entries: [UInt32], place: UInt64) {
        self.entries = entries
        self.place = place
    }
}

/// Where a grain is, by its entry.
enum VmdkMapping: Equatable, Sendable {
    case zero
    case plain(host: UInt64)
    case compressed(host: UInt64)
}

/// The mapping from grains to places in a VMDK file. The directory is held; of the tables, those used last.
final class VmdkTables: Sendable {
    let header: VmdkHeader
    private let file: FileReader
    /// The sector of each grain table, 0 for none.
    private let directory: [UInt32]
    /// The sectors of all tables, redundant ones too, in order: nothing may overlap them.
    private let tableSectors: [UInt32]
    private let tables = RecentlyUsed<VmdkTable>(capacity: Limits.vmdkTableCacheCount)
    private static let sectorsOfTable = UInt32(VmdkHeader.tableBytes / VmdkHeader.sectorBytes)
    /// An entry that says that a grain is zero.
    private static let zeroGrain: UInt32 = 1

    /// Loads the directories, and checks the places of all tables and the first 16 MiB of entries.
    init(_ file: FileReader, _ header: VmdkHeader) throws(DiskImageError) {
        self.header = header
        self.file = file
        directory = try file.little32s(
            at: header.directoryOffset, count: Int(header.directoryEntryCount), what: "the grain directory")
        var sectors = try Self.places(directory, at: header.directoryOffset, file, header)
        var redundant: [UInt32] = []
        if let offset = header.redundantOffset {
            redundant = try file.little32s(
                at: offset, count: Int(header.directoryEntryCount), what: "the redundant directory")
            sectors += try Self.places(redundant, at: offset, file, header)
        }
        sectors.sort()
        tableSectors = sectors
        for index in sectors.indices.dropFirst() where sectors[index] - sectors[index - 1] < Self.sectorsOfTable {
            let place = UInt64(directory.lastIndex(of: sectors[index]) ?? 0) * 4
            throw .corrupt(rule: "a grain table overlaps another", offset: header.directoryOffset + place)
        }
        try checkEntries(redundant)
    }

    /// The tables that a directory names: in the file, and apart from what the header names.
    private static func places(
        _ directory: [UInt32], at offset: UInt64, _ file: FileReader, _ header: VmdkHeader
    ) throws(DiskImageError) -> [UInt32] {
        var sectors: [UInt32] = []
        for index in directory.indices where directory[index] != 0 {
            let place = offset + UInt64(index) * 4
            let start = VmdkHeader.bytes(UInt64(directory[index]))
            guard file.contains(start, VmdkHeader.tableBytes) else {
                throw .corrupt(rule: "a grain table lies outside the file", offset: place)
            }
            let range = start..<start + VmdkHeader.tableBytes
            for region in header.regions where region.range.overlaps(range) {
                throw .corrupt(rule: "a grain table overlaps \(region.name)", offset: place)
            }
            sectors.append(directory[index])
        }
        return sectors
    }

    /// Checks entries up to a bound, so that a broken file is refused before any of it is stored: where the grains
    /// are, that no plain one is used twice, and that the two directories say the same. That compressed grains are not
    /// used twice is checked as they are read: each says which it is.
    private func checkEntries(_ redundant: [UInt32]) throws(DiskImageError) {
        let grains = min(file.byteCount / header.grainBytes + 1, UInt64(UInt32.max) / 8 + 1)
        guard header.isCompressed || grains <= Limits.vmdkHostGrainCountMax else {
            throw .unsupported(feature: "VMDK files of more than 268435456 grains", offset: 20)
        }
        let used = try ClusterSet(below: header.isCompressed ? 0 : grains)
        var checkedBytes: UInt64 = 0
        for index in directory.indices {
            let table = directory[index] == 0 ? nil : try read(directory[index])
            if !redundant.isEmpty {
                let other = redundant[index] == 0 ? nil : try read(redundant[index])
                guard table?.entries == other?.entries else {
                    let place = header.redundantOffset.map { $0 + UInt64(index) * 4 } ?? 0
                    throw .corrupt(rule: "the two grain directories disagree", offset: place)
                }
            }
            guard let table else { continue }
            let first = UInt64(index) * VmdkHeader.tableEntryCount
            let end = min(first + VmdkHeader.tableEntryCount, grainCount)
            for grain in first..<end {
                guard case .plain(let host) = try mapping(grain, in: table) else { continue }
                guard used.insert(host / header.grainBytes) else {
                    throw .corrupt(rule: "grain \(grain) lies where another one does", offset: host)
                }
            }
            checkedBytes += VmdkHeader.tableBytes
            guard checkedBytes < Limits.vmdkCheckedTableBytesMax else { return }
        }
    }

    /// The number of grains of the guest's disk; the last may be cut off by its end.
    private var grainCount: UInt64 { (header.virtualSizeBytes + header.grainBytes - 1) / header.grainBytes }

    private func read(_ sector: UInt32) throws(DiskImageError) -> VmdkTable {
        let place = VmdkHeader.bytes(UInt64(sector))
        let entries = try file.little32s(at: place, count: Int(VmdkHeader.tableEntryCount), what: "a grain table")
        return VmdkTable(entries: entries, place: place)
    }

    /// The table that maps a grain; nil where there is none.
    func table(for grain: UInt64) throws(DiskImageError) -> VmdkTable? {
        let index = grain / VmdkHeader.tableEntryCount
        let sector = directory[Int(index)]
        guard sector != 0 else { return nil }
        if let known = tables.value(for: index) { return known }
        let table = try read(sector)
        tables.insert(table, for: index)
        return table
    }

    /// Where a grain is, from the table that maps it.
    func mapping(_ grain: UInt64, in table: VmdkTable) throws(DiskImageError) -> VmdkMapping {
        let index = Int(grain % VmdkHeader.tableEntryCount)
        let sector = table.entries[index]
        if sector == 0 || sector == Self.zeroGrain && header.hasZeroGrains { return .zero }
        let place = table.place + UInt64(index) * 4
        let host = VmdkHeader.bytes(UInt64(sector))
        // Of a compressed grain, its length is only known when it is read.
        let visible = min(header.grainBytes, header.virtualSizeBytes - grain * header.grainBytes)
        let count = header.isCompressed ? VmdkHeader.sectorBytes : visible
        guard file.contains(host, header.isCompressed ? UInt64(VmdkGrain.headerBytes) : count) else {
            throw .corrupt(rule: "a grain lies outside the file", offset: place)
        }
        // Not `first(where:)`: this runs for every grain of a disk.
        for region in header.regions where region.range.overlaps(host..<host + count) {
            throw .corrupt(rule: "a grain overlaps \(region.name)", offset: place)
        }
        guard !overlapsTable(UInt64(sector), count / VmdkHeader.sectorBytes) else {
            throw .corrupt(rule: "a grain overlaps a grain table", offset: place)
        }
        return header.isCompressed ? .compressed(host: host) : .plain(host: host)
    }

    /// Whether any of `count` sectors from `sector` belongs to a table.
    private func overlapsTable(_ sector: UInt64, _ count: UInt64) -> Bool {
        guard let first = tableSectors.first, let last = tableSectors.last else { return false }
        let size = UInt64(Self.sectorsOfTable)
        guard sector < UInt64(last) + size, sector + count > UInt64(first) else { return false }
        var (low, high) = (0, tableSectors.count)
        while low < high {
            let middle = (low + high) / 2
            if UInt64(tableSectors[middle]) + size <= sector { low = middle + 1 } else { high = middle }
        }
        return low < tableSectors.count && UInt64(tableSectors[low]) < sector + count
    }

    /// The first grain after `grain` that another table maps.
    func endOfTable(_ grain: UInt64) -> UInt64 {
        (grain / VmdkHeader.tableEntryCount + 1) * VmdkHeader.tableEntryCount
    }
}
