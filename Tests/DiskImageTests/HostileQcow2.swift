// A small, whole qcow2 file to break.

/// 1 MiB of disk in clusters of 4 KiB. Cluster 0 is the header, 1 the reference count table, 2 its block, 3 the L1
/// table, 4 the L2 table; 5 and 6 are data of guest clusters 0 and 1.
struct SmallQcow2 {
    static let cluster = 4096
    var bytes: [UInt8]

    init(version: UInt32 = 3) {
        bytes = [UInt8](repeating: 0, count: 16 * Self.cluster)
        put32(0, 0x5146_49fb)
        put32(4, version)
        put32(20, 12)
        put64(24, 1 << 20)
        put32(36, 1)
        put64(40, cluster(3))
        put64(48, cluster(1))
        put32(56, 1)
        if version == 3 {
            put32(96, 4)
            put32(100, 104)
        }
        put64(Int(cluster(1)), cluster(2))
        for index in 0..<7 { bytes[Int(cluster(2)) + 2 * index + 1] = 1 }
        put64(Int(cluster(3)), cluster(4) | 1 << 63)
        entry(0, cluster(5) | 1 << 63)
        entry(1, cluster(6) | 1 << 63)
        for index in 0..<2 * Self.cluster { bytes[5 * Self.cluster + index] = 0x5a }
    }

    func cluster(_ number: Int) -> UInt64 { UInt64(number * Self.cluster) }

    mutating func put32(_ offset: Int, _ value: UInt32) {
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(24 - index * 8)) }
    }

    mutating func put64(_ offset: Int, _ value: UInt64) {
        put32(offset, UInt32(value >> 32))
        put32(offset + 4, UInt32(truncatingIfNeeded: value))
    }

    /// Sets an entry of the L2 table.
    mutating func entry(_ index: Int, _ value: UInt64) { put64(4 * Self.cluster + index * 8, value) }

    /// The entry of a compressed cluster of up to `sectors` + 1 sectors.
    static func compressed(_ offset: UInt64, sectors: UInt64) -> UInt64 { 1 << 62 | sectors << 58 | offset }

    /// Turns the table into one of extended entries: 256 of 16 bytes. Needs clusters of 16 KiB.
    static func extended() -> SmallQcow2 {
        var file = SmallQcow2()
        let big = 16384
        file.bytes = [UInt8](repeating: 0, count: 8 * big)
        file.put32(0, 0x5146_49fb)
        file.put32(4, 3)
        file.put32(20, 14)
        file.put64(24, 1 << 20)
        file.put32(36, 1)
        file.put64(40, UInt64(3 * big))
        file.put64(48, UInt64(big))
        file.put32(56, 1)
        file.put64(72, 16)
        file.put32(96, 4)
        file.put32(100, 104)
        file.put64(big, UInt64(2 * big))
        file.put64(3 * big, UInt64(4 * big))
        return file
    }

    /// Sets an extended entry.
    mutating func extendedEntry(_ index: Int, _ value: UInt64, zero: UInt32, present: UInt32) {
        put64(4 * 16384 + index * 16, value)
        put64(4 * 16384 + index * 16 + 8, UInt64(zero) << 32 | UInt64(present))
    }
}
