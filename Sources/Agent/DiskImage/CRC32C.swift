/// The checksum of VHDX headers and tables. Small pieces only: one table, a byte at a time.
/// Source: MS-VHDX, 1.1 (CRC-32C, RFC 3385).
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { byte in
        var value = UInt32(byte)
        for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
        return value
    }

    /// The checksum of `bytes`, where the four bytes at `place` count as zero.
    static func of(_ bytes: [UInt8], without place: Int) -> UInt32 {
        var value = UInt32.max
        bytes.withUnsafeBytes { raw in
            for index in 0..<raw.count {
                let byte = UInt(bitPattern: index &- place) < 4 ? 0 : raw[index]
                value = table[Int((value ^ UInt32(byte)) & 0xff)] ^ value >> 8
            }
        }
        return ~value
    }
}
