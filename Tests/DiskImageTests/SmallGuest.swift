// A small guest's disk: a partition table and a file system, made by hand, to look at and to break.

/// 192 KiB. An MBR: partition 1 begins at sector 64 and has ext4 in blocks of 1 KiB; partition 2, at sector 320, is
/// extended and has partition 5. In blocks of the file system: 1 is the superblock, 2 the descriptors, 5 the inodes; 10 is
/// the root, 11 /etc, 12 the file that the link /etc/os-release leads to, /release.
struct SmallGuest {
    static let fileSystem = 64 * 512
    var bytes = [UInt8](repeating: 0, count: 384 * 512)

    init() {
        bytes[0] = 0xfa
        partition(0, 0, type: 0x83, start: 64, count: 256)
        bytes[446] = 0x80
        partition(0, 1, type: 0x05, start: 320, count: 64)
        partition(320, 0, type: 0x83, start: 8, count: 16)
        superblock()
        for (number, block) in [(2, 10), (11, 11), (12, 12)] {
            inode(number, mode: number == 12 ? 0x81a4 : 0x41ed, block: block)
        }
        // A short link: its text stands in the inode.
        let link = Self.fileSystem + 5 * 1024 + 12 * 128
        put(link, 0xa1ff, 2)
        put(link + 4, 10, 4)
        bytes.replaceSubrange(link + 40..<link + 50, with: Array("../release".utf8))
        directory(10, [(2, "."), (2, ".."), (11, "etc"), (12, "release")])
        directory(11, [(11, "."), (2, ".."), (13, "os-release")])
        let text = Array("NAME=x\nID=small\nVERSION_ID=\"1.2\"\nPRETTY_NAME='Small 1.2'\n".utf8)
        bytes.replaceSubrange(Self.fileSystem + 12 * 1024..<Self.fileSystem + 12 * 1024 + text.count, with: text)
        put(Self.fileSystem + 5 * 1024 + 11 * 128 + 4, UInt64(text.count), 4)
    }

    /// A little-endian number.
    mutating func put(_ offset: Int, _ value: UInt64, _ count: Int) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
    }

    mutating func partition(_ sector: Int, _ index: Int, type: UInt8, start: UInt64, count: UInt64) {
        let place = sector * 512 + 446 + index * 16
        bytes[place + 4] = type
        put(place + 8, start, 4)
        put(place + 12, count, 4)
        put(sector * 512 + 510, 0xaa55, 2)
    }

    private mutating func superblock() {
        let place = Self.fileSystem + 1024
        put(place + 20, 1, 4)
        put(place + 40, 16, 4)
        put(place + 56, 0xef53, 2)
        put(place + 76, 1, 4)
        put(place + 88, 128, 2)
        put(place + 96, 0x40, 4)
        put(Self.fileSystem + 2 * 1024 + 8, 5, 4)
    }

    private mutating func inode(_ number: Int, mode: UInt64, block: Int) {
        let place = Self.fileSystem + 5 * 1024 + (number - 1) * 128
        put(place, mode, 2)
        put(place + 4, 1024, 4)
        put(place + 32, 0x80000, 4)
        put(place + 40, 0xf30a, 2)
        put(place + 42, 1, 2)
        put(place + 44, 4, 2)
        put(place + 52 + 4, 1, 2)
        put(place + 52 + 8, UInt64(block), 4)
    }

    private mutating func directory(_ block: Int, _ names: [(Int, String)]) {
        var place = Self.fileSystem + block * 1024
        let end = place + 1024
        for (index, (inode, name)) in names.enumerated() {
            let length = index == names.count - 1 ? end - place : (8 + name.utf8.count + 3) / 4 * 4
            put(place, UInt64(inode), 4)
            put(place + 4, UInt64(length), 2)
            bytes[place + 6] = UInt8(name.utf8.count)
            bytes.replaceSubrange(place + 8..<place + 8 + name.utf8.count, with: Array(name.utf8))
            place += length
        }
    }
}
