// A small, whole VMDK file to break.

/// 2 MiB of disk in grains of 4 KiB. In sectors: 0 is the header, 1 and 2 the descriptor, 4 the grain directory, 5 the
/// redundant one, 8 the grain table, 12 the redundant one; 16 and 32 are the grains 0 and 1, and the file has 64.
struct SmallVmdk {
    var bytes = [UInt8](repeating: 0, count: 64 * 512)

    static let text = """
        # Disk DescriptorFile
        version=1
        CID=12345678
        parentCID=ffffffff
        createType="monolithicSparse"
        RW 4096 SPARSE "disk.vmdk"
        ddb.adapterType = "ide"

        """

    /// Plain grains, one directory.
    init() {
        bytes.replaceSubrange(0..<4, with: Array("KDMV".utf8))
        put32(4, 1)
        put32(8, 1)
        put64(12, 4096)
        put64(20, 8)
        put64(28, 1)
        put64(36, 2)
        put32(44, 512)
        put64(56, 4)
        put64(64, 16)
        bytes.replaceSubrange(73..<77, with: [0x0a, 0x20, 0x0d, 0x0a])
        describe(Self.text)
        put32(4 * 512, 8)
        entry(0, 16)
        entry(1, 32)
        for index in 0..<4096 {
            bytes[16 * 512 + index] = 0x5a
            bytes[32 * 512 + index] = 0xa5
        }
    }

    /// Two directories that say the same.
    static func redundant() -> SmallVmdk {
        var file = SmallVmdk()
        file.put32(8, 3)
        file.put64(48, 5)
        file.put32(5 * 512, 12)
        file.put32(12 * 512, 16)
        file.put32(12 * 512 + 4, 32)
        return file
    }

    /// Compressed grains, and the place of the directory in the footer, which is sectors 61 to 63.
    static func stream() -> SmallVmdk {
        var file = SmallVmdk()
        file.put32(4, 3)
        file.put32(8, 0x30001)
        file.put64(56, .max)
        file.bytes[77] = 1
        file.describe(text.replacing("monolithicSparse", with: "streamOptimized"))
        file.grain(16, lba: 0, [UInt8](repeating: 0x5a, count: 4096))
        file.grain(32, lba: 8, [UInt8](repeating: 0xa5, count: 4096))
        file.footer()
        return file
    }

    mutating func put32(_ offset: Int, _ value: UInt32) {
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(index * 8)) }
    }

    mutating func put64(_ offset: Int, _ value: UInt64) {
        put32(offset, UInt32(truncatingIfNeeded: value))
        put32(offset + 4, UInt32(value >> 32))
    }

    /// Sets an entry of the grain table.
    mutating func entry(_ index: Int, _ sector: UInt32) { put32(8 * 512 + index * 4, sector) }

    mutating func describe(_ text: String) {
        bytes.replaceSubrange(512..<1536, with: [UInt8](repeating: 0, count: 1024))
        bytes.replaceSubrange(512..<512 + text.utf8.count, with: Array(text.utf8))
    }

    /// The descriptor with a part of it changed.
    mutating func describe(_ old: String, _ new: String) { describe(Self.text.replacing(old, with: new)) }

    /// A grain in one stored block.
    mutating func grain(_ sector: Int, lba: UInt64, _ content: [UInt8]) {
        let place = sector * 512
        put64(place, lba)
        let count = content.count
        let length = [UInt8(count & 255), UInt8(count >> 8)]
        var (low, high): (UInt32, UInt32) = (1, 0)
        for byte in content {
            low = (low + UInt32(byte)) % 65521
            high = (high + low) % 65521
        }
        let checksum = [UInt8(high >> 8), UInt8(high & 255), UInt8(low >> 8), UInt8(low & 255)]
        let packed = [0x78, 0x01, 1] + length + length.map { ~$0 } + content + checksum
        put32(place + 8, UInt32(packed.count))
        bytes.replaceSubrange(place + 12..<place + 12 + packed.count, with: packed)
    }

    /// Marker, copy of the header, end of the stream.
    mutating func footer() {
        let place = bytes.count - 3 * 512
        bytes.replaceSubrange(place..<bytes.count, with: [UInt8](repeating: 0, count: 3 * 512))
        put64(place, 1)
        put32(place + 12, 3)
        bytes.replaceSubrange(place + 512..<place + 1024, with: Array(bytes[0..<512]))
        put64(place + 512 + 56, 4)
    }
}
