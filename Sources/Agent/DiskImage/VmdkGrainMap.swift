import Glibc

/// How many sectors each grain takes in a VMDK file that is written: one byte of each grain of the disk, 0 where there
/// is none. Built by one thread; after `seal` it never changes and any thread may ask.
final class VmdkGrainMap: @unchecked Sendable {
    // Unchecked: `sizes` is written before `seal`, by its one builder, and only read afterwards.
    private let sizes: UnsafeMutablePointer<UInt8>
    private let grainCount: Int
    /// Sectors of all grains before each table's first, and of all grains.
    private var sectorsBefore: [UInt64] = []
    /// Tables with any grain before each table, and all of them.
    private var tablesBefore: [UInt32] = []
    private static let tableEntryCount = Int(VmdkHeader.tableEntryCount)

    /// Creates a map of no grains. Its memory is taken page by page as grains come.
    init(grainCount: UInt64) throws(DiskImageError) {
        self.grainCount = Int(grainCount)
        guard let memory = calloc(max(Int(grainCount), 1), 1) else {
            throw .source("no memory for a map of \(grainCount) grains")
        }
        sizes = memory.bindMemory(to: UInt8.self, capacity: max(Int(grainCount), 1))
    }

    deinit { free(sizes) }

    /// Says that a grain takes `sectors`, at most 255.
    func set(_ grain: UInt64, sectors: Int) { sizes[Int(grain)] = UInt8(sectors) }

    /// The sectors that a grain takes.
    func sectors(of grain: UInt64) -> UInt64 { UInt64(sizes[Int(grain)]) }

    /// Makes the map ready to count.
    func seal() {
        let tables = (grainCount + Self.tableEntryCount - 1) / Self.tableEntryCount
        sectorsBefore = [0]
        tablesBefore = [0]
        sectorsBefore.reserveCapacity(tables + 1)
        tablesBefore.reserveCapacity(tables + 1)
        var (sectors, used): (UInt64, UInt32) = (0, 0)
        for table in 0..<tables {
            var sum: UInt64 = 0
            for grain in table * Self.tableEntryCount..<min((table + 1) * Self.tableEntryCount, grainCount) {
                sum += UInt64(sizes[grain])
            }
            sectors += sum
            if sum > 0 { used += 1 }
            sectorsBefore.append(sectors)
            tablesBefore.append(used)
        }
    }

    /// The sectors of all grains. Only after `seal`, as all below.
    var sectorCount: UInt64 { sectorsBefore[sectorsBefore.count - 1] }
    /// The number of tables with any grain.
    var usedTableCount: UInt64 { UInt64(tablesBefore[tablesBefore.count - 1]) }

    /// How many tables with a grain lie before a table; nil when it has none itself.
    func rank(ofTable table: UInt64) -> UInt64? {
        let index = Int(table)
        return tablesBefore[index + 1] > tablesBefore[index] ? UInt64(tablesBefore[index]) : nil
    }

    /// The table that has `rank` tables with a grain before it, and has a grain.
    func table(ofRank rank: UInt64) -> UInt64 { UInt64(Self.last(tablesBefore, upTo: UInt32(rank))) }

    /// The sectors of all grains before `grain`.
    func sectors(before grain: UInt64) -> UInt64 {
        let table = Int(grain) / Self.tableEntryCount
        var sectors = sectorsBefore[table]
        for index in table * Self.tableEntryCount..<Int(grain) { sectors += UInt64(sizes[index]) }
        return sectors
    }

    /// The grain that has the sector with this number among those of all grains, and the number of its first.
    func grain(atSector sector: UInt64) -> (grain: UInt64, first: UInt64) {
        let table = Self.last(sectorsBefore, upTo: sector)
        var (grain, first) = (table * Self.tableEntryCount, sectorsBefore[table])
        while first + UInt64(sizes[grain]) <= sector {
            first += UInt64(sizes[grain])
            grain += 1
        }
        return (UInt64(grain), first)
    }

    /// The last index whose value is not above `value`, in an array that never falls and begins with 0.
    private static func last<Value: Comparable>(_ values: [Value], upTo value: Value) -> Int {
        var (low, high) = (0, values.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if values[middle] <= value { low = middle } else { high = middle }
        }
        return low
    }

    /// A number that differs when the size of any grain does (FNV-1a, over the tables' sums).
    var fingerprint: UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for sectors in sectorsBefore {
            hash = (hash ^ sectors) &* 0x100_0000_01b3
            hash ^= hash >> 29
        }
        return hash
    }
}
