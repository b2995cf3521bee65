/// Finds a small file in an ext2, ext3 or ext4 file system, as far as that is simple: directories that are read from
/// front to back, extents or direct blocks, symbolic links. What is not simple is not there.
/// Source: Linux, Documentation/filesystems/ext4.
struct Ext4Files {
    private static let rootInode: UInt32 = 2
    private static let linkMode: UInt16 = 0xa000
    private static let directoryMode: UInt16 = 0x4000
    private static let fileMode: UInt16 = 0x8000
    private static let extentsFlag: UInt32 = 0x80000
    private static let extentMagic: UInt16 = 0xf30a

    private let start: UInt64
    private let blockBytes: UInt64
    private let inodeBytes: UInt64
    private let inodesPerGroup: UInt32
    private let descriptorBytes: UInt64
    private let descriptorsAt: UInt64

    private struct Inode {
        let mode: UInt16
        let size: UInt64
        let usesExtents: Bool
        /// Sixty bytes: the root of the extents, block numbers, or the text of a short link.
        let root: [UInt8]
    }

    /// The content of a file; nil when it cannot be found.
    /// - Parameter start: where the file system begins on the disk.
    static func read(
        _ path: [String], at start: UInt64, _ reader: inout GuestReader
    ) throws(DiskImageError) -> [UInt8]? {
        guard start <= reader.disk.virtualSizeBytes, let head = try reader.bytes(at: start + 1024, count: 1024),
            let files = Ext4Files(head, at: start)
        else { return nil }
        return try files.follow(path, &reader)
    }

    /// Takes a superblock apart.
    private init?(_ head: [UInt8], at start: UInt64) {
        let logBlock = head.little32(24)
        let incompatible = head.little32(96)
        // Without groups of descriptors (meta_bg).
        guard head.has([0x53, 0xef], at: 56), logBlock <= 6, incompatible & 0x10 == 0 else { return nil }
        self.start = start
        blockBytes = 1024 << UInt64(logBlock)
        inodesPerGroup = head.little32(40)
        inodeBytes = head.little32(76) == 0 ? 128 : UInt64(head.little16(88))
        descriptorBytes = incompatible & 0x80 == 0 ? 32 : UInt64(head.little16(254))
        descriptorsAt = UInt64(head.little32(20)) + 1
        guard inodesPerGroup > 0, inodeBytes >= 128, inodeBytes <= blockBytes, descriptorBytes >= 32,
            descriptorBytes <= 1024
        else { return nil }
    }

    /// Walks down from the root; a link is put in the place of its name.
    private func follow(_ path: [String], _ reader: inout GuestReader) throws(DiskImageError) -> [UInt8]? {
        var left = path
        var trail = [Self.rootInode]
        var links = 0
        while let name = left.first {
            left.removeFirst()
            if name == "." || name.isEmpty { continue }
            if name == ".." {
                if trail.count > 1 { trail.removeLast() }
                continue
            }
            guard let number = try entry(name, in: trail[trail.count - 1], &reader),
                let inode = try inode(number, &reader)
            else { return nil }
            guard inode.mode & 0xf000 == Self.linkMode else {
                trail.append(number)
                continue
            }
            links += 1
            guard links <= Limits.guestLinkCountMax, let text = try linkText(inode, &reader) else { return nil }
            if text.hasPrefix("/") { trail = [Self.rootInode] }
            left = text.split(separator: "/").map(String.init) + left
        }
        guard let found = try inode(trail[trail.count - 1], &reader), found.mode & 0xf000 == Self.fileMode,
            found.size <= UInt64(Limits.osReleaseBytesMax)
        else { return nil }
        return try content(found, &reader)
    }

    private func linkText(_ inode: Inode, _ reader: inout GuestReader) throws(DiskImageError) -> String? {
        guard inode.size <= 4096 else { return nil }
        let text = inode.size < 60 ? Array(inode.root.prefix(Int(inode.size))) : try content(inode, &reader)
        return text.map { String(decoding: $0, as: UTF8.self) }
    }

    private func inode(_ number: UInt32, _ reader: inout GuestReader) throws(DiskImageError) -> Inode? {
        guard number > 0 else { return nil }
        let (group, index) = (number - 1).quotientAndRemainder(dividingBy: inodesPerGroup)
        let place = descriptorsAt * blockBytes + UInt64(group) * descriptorBytes
        guard let descriptor = try reader.bytes(at: start + place, count: Int(descriptorBytes)) else { return nil }
        let high = descriptorBytes >= 64 ? UInt64(descriptor.little32(0x28)) << 32 : 0
        guard let table = at(block: high | UInt64(descriptor.little32(8))),
            let bytes = try reader.bytes(at: table + UInt64(index) * inodeBytes, count: 128)
        else { return nil }
        return Inode(
            mode: bytes.little16(0), size: UInt64(bytes.little32(4)) | UInt64(bytes.little32(108)) << 32,
            usesExtents: bytes.little32(32) & Self.extentsFlag != 0, root: Array(bytes[40..<100]))
    }

    /// Where a block is on the disk; nil when no disk has so many.
    private func at(block: UInt64) -> UInt64? {
        block < 1 << 44 ? start + block * blockBytes : nil
    }

    /// The number of the inode with a name in a directory.
    private func entry(
        _ name: String, in directory: UInt32, _ reader: inout GuestReader
    ) throws(DiskImageError) -> UInt32? {
        guard let inode = try inode(directory, &reader), inode.mode & 0xf000 == Self.directoryMode else { return nil }
        let wanted = Array(name.utf8)
        let count = min(inode.size / blockBytes, UInt64(Limits.guestDirectoryBlockCountMax))
        for index in 0..<count {
            guard let place = try block(index, of: inode, &reader), let place = at(block: place),
                let bytes = try reader.bytes(at: place, count: Int(blockBytes))
            else { continue }
            var offset = 0
            while offset + 8 <= bytes.count {
                let length = Int(bytes.little16(offset + 4))
                guard length >= 8, length <= bytes.count - offset else { break }
                let nameLength = Int(bytes[offset + 6])
                if bytes.little32(offset) != 0, nameLength == wanted.count, nameLength <= length - 8,
                    bytes.has(wanted, at: offset + 8)
                {
                    return bytes.little32(offset)
                }
                offset += length
            }
        }
        return nil
    }

    private func content(_ inode: Inode, _ reader: inout GuestReader) throws(DiskImageError) -> [UInt8]? {
        var bytes: [UInt8] = []
        for index in 0..<(inode.size + blockBytes - 1) / blockBytes {
            let count = Int(min(blockBytes, inode.size - UInt64(bytes.count)))
            guard let place = try block(index, of: inode, &reader), let place = at(block: place),
                let part = try reader.bytes(at: place, count: count)
            else { return nil }
            bytes += part
        }
        return bytes
    }

    /// Where a block of a file is; nil when it is a hole or not simply found.
    private func block(
        _ index: UInt64, of inode: Inode, _ reader: inout GuestReader
    ) throws(DiskImageError) -> UInt64? {
        guard inode.usesExtents else {
            guard index < 12 else { return nil }
            let block = UInt64(inode.root.little32(Int(index) * 4))
            return block == 0 ? nil : block
        }
        var node = inode.root
        for _ in 0..<Limits.guestExtentDepthMax {
            guard node.little16(0) == Self.extentMagic else { return nil }
            let count = min(Int(node.little16(2)), (node.count - 12) / 12)
            let isLeaf = node.little16(6) == 0
            // The last entry that begins at the block or before it.
            guard let entry = (0..<count).last(where: { UInt64(node.little32(12 + $0 * 12)) <= index }) else {
                return nil
            }
            let place = 12 + entry * 12
            if isLeaf {
                let length = UInt64(node.little16(place + 4))
                let inside = index - UInt64(node.little32(place))
                // More than 32768 says that it was never written.
                guard length <= 32768, inside < length else { return nil }
                return (UInt64(node.little16(place + 6)) << 32 | UInt64(node.little32(place + 8))) + inside
            }
            let child = UInt64(node.little16(place + 8)) << 32 | UInt64(node.little32(place + 4))
            guard let offset = at(block: child), let bytes = try reader.bytes(at: offset, count: Int(blockBytes)) else {
                return nil
            }
            node = bytes
        }
        return nil
    }
}
