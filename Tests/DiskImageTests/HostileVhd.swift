// Small, whole VHD and VHDX files to break.

/// A dynamic VHD: 1 MiB of disk in blocks of 64 KiB. In sectors: 0 is the copy of the footer, 1 and 2 the header, 3 the
/// block table; 8 and 140 are the blocks 0 and 1, each with its bitmap before it; 280 is the footer.
struct SmallVhd {
    static let footer = 280 * 512
    var bytes = [UInt8](repeating: 0, count: 281 * 512)

    init() {
        bytes.replaceSubrange(0..<8, with: Array("conectix".utf8))
        put(8, 2, 4)
        put(12, 0x10000, 4)
        put(16, 512, 8)
        put(40, 1 << 20, 8)
        put(48, 1 << 20, 8)
        put(60, 3, 4)
        bytes.replaceSubrange(512..<520, with: Array("cxsparse".utf8))
        put(520, .max, 8)
        put(512 + 16, 3 * 512, 8)
        put(512 + 24, 0x10000, 4)
        put(512 + 28, 16, 4)
        put(512 + 32, 65536, 4)
        for block in 0..<16 { entry(block, .max) }
        for (block, sector) in [8, 140].enumerated() {
            entry(block, UInt64(sector))
            for index in 0..<16 { bytes[sector * 512 + index] = 0xff }
            for index in 512..<512 + 65536 { bytes[sector * 512 + index] = block == 0 ? 0x5a : 0xa5 }
        }
        seal()
    }

    /// A disk of fixed size: 1 MiB and the footer.
    static func fixed() -> SmallVhd {
        var file = SmallVhd()
        file.put(16, .max, 8)
        file.put(60, 2, 4)
        file.seal()
        let footer = Array(file.bytes[footer..<footer + 512])
        file.bytes = [UInt8](repeating: 0x77, count: 1 << 20) + footer
        return file
    }

    /// A big-endian number.
    mutating func put(_ offset: Int, _ value: UInt64, _ count: Int) {
        for index in 0..<count {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64((count - 1 - index) * 8))
        }
    }

    mutating func entry(_ index: Int, _ sector: UInt64) { put(3 * 512 + index * 4, sector, 4) }

    /// Puts the checksums right, and the footer where it belongs.
    mutating func seal() {
        for (start, count, place) in [(0, 512, 64), (512, 1024, 36)] {
            put(start + place, 0, 4)
            let sum = bytes[start..<start + count].reduce(UInt32(0)) { $0 &+ UInt32($1) }
            put(start + place, UInt64(~sum), 4)
        }
        bytes.replaceSubrange(Self.footer..<Self.footer + 512, with: Array(bytes[0..<512]))
    }
}

/// 4 MiB of disk in blocks of 1 MiB. In MiB: 0 has headers and region tables, 1 the metadata, 2 the block table; 3 and 4
/// are the blocks 0 and 1.
struct SmallVhdx {
    static let mib = 1 << 20
    static let metadata = mib
    static let table = 2 * mib
    static let regionTable = 192 << 10
    var bytes = [UInt8](repeating: 0, count: 5 * mib)

    init() {
        bytes.replaceSubrange(0..<8, with: Array("vhdxfile".utf8))
        for (index, place) in [64 << 10, 128 << 10].enumerated() {
            bytes.replaceSubrange(place..<place + 4, with: Array("head".utf8))
            put(place + 8, UInt64(index + 1), 8)
            put(place + 66, 1, 2)
        }
        bytes.replaceSubrange(Self.regionTable..<Self.regionTable + 4, with: Array("regi".utf8))
        put(Self.regionTable + 8, 2, 4)
        region(0, "6677C22D23F600429D64115E9BFD4A08", UInt64(Self.table))
        region(1, "06A27C8B90479A4BB8FE575F050F886E", UInt64(Self.metadata))
        bytes.replaceSubrange(Self.metadata..<Self.metadata + 8, with: Array("metadata".utf8))
        put(Self.metadata + 10, 3, 2)
        item(0, "3767A1CA36FA434DB3B633F0AA44E76B", offset: 65536, 8)
        item(1, "2442A52F1BCD7648B2115DBED83BF4B8", offset: 65552, 8)
        item(2, "1DBF41816FA90947BA47F233A8FAAB5F", offset: 65568, 4)
        put(Self.metadata + 65536, UInt64(Self.mib), 4)
        put(Self.metadata + 65552, UInt64(4 * Self.mib), 8)
        put(Self.metadata + 65568, 512, 4)
        entry(0, 3 << 20 | 6)
        entry(1, 4 << 20 | 6)
        for index in 0..<2 * Self.mib { bytes[3 * Self.mib + index] = 0x5a }
        seal()
    }

    /// A little-endian number.
    mutating func put(_ offset: Int, _ value: UInt64, _ count: Int) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
    }

    mutating func put(_ offset: Int, hex: String) {
        let digits = Array(hex)
        for index in 0..<digits.count / 2 {
            bytes[offset + index] = UInt8(String(digits[index * 2...index * 2 + 1]), radix: 16) ?? 0
        }
    }

    mutating func region(_ index: Int, _ id: String, _ offset: UInt64) {
        let place = Self.regionTable + 16 + index * 32
        put(place, hex: id)
        put(place + 16, offset, 8)
        put(place + 24, UInt64(Self.mib), 4)
        put(place + 28, 1, 4)
    }

    mutating func item(_ index: Int, _ id: String, offset: UInt64, _ count: UInt64) {
        let place = Self.metadata + 32 + index * 32
        put(place, hex: id)
        put(place + 16, offset, 4)
        put(place + 20, count, 4)
        put(place + 24, 6, 4)
    }

    mutating func entry(_ index: Int, _ word: UInt64) { put(Self.table + index * 8, word, 8) }

    /// CRC-32C of each byte.
    private static let remainders: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 1 ? 0x82f6_3b78 : 0) }
    }

    /// Puts the checksums right, and copies the region table.
    mutating func seal() {
        for (start, count) in [(64 << 10, 4096), (128 << 10, 4096), (Self.regionTable, 64 << 10)] {
            put(start + 4, 0, 4)
            var value = UInt32.max
            bytes.withUnsafeBytes { raw in
                for index in start..<start + count {
                    value = Self.remainders[Int((value ^ UInt32(raw[index])) & 0xff)] ^ value >> 8
                }
            }
            put(start + 4, UInt64(~value), 4)
        }
        bytes.replaceSubrange(256 << 10..<320 << 10, with: Array(bytes[Self.regionTable..<256 << 10]))
    }
}
