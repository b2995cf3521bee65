import Foundation
import Model

/// The unfinished file of a download: `FILE.part` with the content so far and `FILE.part.tag` with the ETag it is of.
/// Blocks of zeros are left as holes; the file's length is always how far the content goes.
package struct PartFile: ~Copyable {
    /// Holes are made in units of this many bytes: the block of usual file systems.
    private static let blockByteCount = 4096
    /// Bytes between two moments at which the content is made durable: a resume after a power cut trusts no more.
    private static let syncByteCount: UInt64 = 64 << 20

    private let target: String
    private let descriptor: Int32
    /// How far the content goes.
    package private(set) var byteCount: UInt64
    /// What the content is of; nil when nothing is there.
    package private(set) var entityTag: String?
    private var syncedByteCount: UInt64

    private var path: String { target + ".part" }
    private var tagPath: String { target + ".part.tag" }

    /// Opens it, locked against other downloads, with what an earlier one made durable.
    package init(target: String) throws(CLIError) {
        self.target = target
        let path = target + ".part"
        let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard opened >= 0 else { throw .file("cannot write '\(path)': \(String(cString: strerror(errno)))") }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            close(opened)
            throw .file("'\(path)' is being written by another download")
        }
        var status = stat()
        guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(opened)
            throw .file("'\(path)' is not a regular file")
        }
        descriptor = opened
        let tag = PartTag.load(target + ".part.tag")
        // What was written after the last sync may be holes after a power cut: it is fetched again.
        byteCount = tag.map { min($0.durableByteCount, UInt64(status.st_size)) } ?? 0
        syncedByteCount = byteCount
        entityTag = tag?.entityTag
    }

    deinit { close(descriptor) }

    /// Begins anew, for another content.
    package mutating func begin(entityTag tag: String) throws(CLIError) {
        guard ftruncate(descriptor, 0) == 0 else { throw failure() }
        byteCount = 0
        syncedByteCount = 0
        entityTag = tag
        try PartTag(entityTag: tag, durableByteCount: 0).save(tagPath)
    }

    /// Appends content; blocks of zeros become holes.
    package mutating func append(_ bytes: some Collection<UInt8>) throws(CLIError) {
        let contiguous = Array(bytes)
        var start = 0
        while start < contiguous.count {
            let inBlock = Int(byteCount % UInt64(PartFile.blockByteCount))
            let count = min(PartFile.blockByteCount - inBlock, contiguous.count - start)
            let run = contiguous[start..<start + count]
            if inBlock == 0, count == PartFile.blockByteCount, PartFile.isZero(run) {
                byteCount += UInt64(count)
                start += count
                continue
            }
            // Data blocks that follow each other go out in one write.
            var end = start + count
            while end + PartFile.blockByteCount <= contiguous.count,
                !PartFile.isZero(contiguous[end..<end + PartFile.blockByteCount])
            {
                end += PartFile.blockByteCount
            }
            try write(contiguous[start..<end])
            start = end
        }
        // The length tells how far the content goes, also over a hole at its end.
        guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw failure() }
        if byteCount - syncedByteCount >= PartFile.syncByteCount { try sync() }
    }

    /// Makes the content durable, checks it and gives it its name.
    /// - Returns: whether there was a digest to check.
    package mutating func finish(byteCount expected: UInt64, digest: Digest?) throws(CLIError) -> Bool {
        guard byteCount == expected else { throw .damaged("'\(path)' has \(byteCount) of \(expected) bytes") }
        try sync()
        if let digest {
            let found = try SourceFile(path: path).digest(offset: 0, byteCount: expected)
            guard found == digest else {
                unlink(tagPath)
                throw .damaged("'\(path)' has the digest \(found), not \(digest); the next download begins anew")
            }
        }
        // A new file gets the permissions that any new file would get.
        let mask = umask(0)
        umask(mask)
        guard fchmod(descriptor, 0o666 & ~mask) == 0, rename(path, target) == 0 else { throw failure() }
        unlink(tagPath)
        return digest != nil
    }

    private mutating func sync() throws(CLIError) {
        guard fdatasync(descriptor) == 0 else { throw failure() }
        syncedByteCount = byteCount
        if let entityTag { try PartTag(entityTag: entityTag, durableByteCount: byteCount).save(tagPath) }
    }

    private mutating func write(_ bytes: ArraySlice<UInt8>) throws(CLIError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(byteCount)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure() }
            rest = rest.dropFirst(count)
            byteCount += UInt64(count)
        }
    }

    private static func isZero(_ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.withUnsafeBytes { raw in
            guard raw.count >= 8, raw[0] == 0 else { return raw.allSatisfy { $0 == 0 } }
            var word: UInt64 = 0
            var place = 0
            while place + 8 <= raw.count {
                word |= raw.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                place += 8
            }
            return word == 0 && raw[place...].allSatisfy { $0 == 0 }
        }
    }

    private func failure() -> CLIError { .file("cannot write '\(path)': \(String(cString: strerror(errno)))") }
}

/// What is known of an unfinished file.
private struct PartTag: Codable {
    var entityTag: String
    var durableByteCount: UInt64

    static func load(_ path: String) -> PartTag? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        // A damaged tag only means that the download begins anew.
        return try? JSONDecoder().decode(PartTag.self, from: data)
    }

    func save(_ path: String) throws(CLIError) {
        guard let data = try? JSONEncoder().encode(self) else { return }
        try PrivateFile.write(data, to: path)
    }
}
