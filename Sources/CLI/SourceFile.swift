import Foundation
import Model
import NIOCore

/// A file to send. It stays open, so that a rename of another file over it cannot mix two contents.
final class SourceFile: Sendable {
    let absolutePath: String
    let name: String
    let byteCount: UInt64
    let modifiedNanoseconds: Int64
    private let inode: UInt64
    private let descriptor: Int32

    init(path: String) throws(CLIError) {
        let opened = open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else { throw .file("cannot read '\(path)': \(String(cString: strerror(errno)))") }
        var status = stat()
        guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(opened)
            throw .file("'\(path)' is not a regular file")
        }
        descriptor = opened
        absolutePath = URL(fileURLWithPath: path).standardizedFileURL.path
        name = URL(fileURLWithPath: path).lastPathComponent
        byteCount = UInt64(status.st_size)
        inode = UInt64(status.st_ino)
        modifiedNanoseconds = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
    }

    deinit { close(descriptor) }

    /// Whether nothing shows that the file was changed.
    func isSameState(as other: SourceFile) -> Bool {
        byteCount == other.byteCount && modifiedNanoseconds == other.modifiedNanoseconds && inode == other.inode
    }

    /// Reads exactly `byteCount` bytes.
    func read(offset: UInt64, byteCount: Int) throws(CLIError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            while count < byteCount {
                let got = pread(
                    descriptor, buffer.baseAddress! + count, byteCount - count, off_t(offset) + off_t(count))
                if got > 0 {
                    count += got
                } else if got == 0 {
                    return
                } else if errno != EINTR {
                    failure = errno
                    return
                }
            }
        }
        guard failure == 0 else { throw .file("cannot read '\(absolutePath)': \(String(cString: strerror(failure)))") }
        guard bytes.count == byteCount else { throw .damaged("'\(absolutePath)' became shorter while it was read") }
        return bytes
    }

    /// The SHA-256 of a part.
    func digest(offset: UInt64, byteCount: UInt64) throws(CLIError) -> Digest {
        var hasher = SHA256Hasher()
        var position = offset
        while position < offset + byteCount {
            let bytes = try read(offset: position, byteCount: Int(min(1 << 20, offset + byteCount - position)))
            hasher.update(bytes)
            position += UInt64(bytes.count)
        }
        return hasher.current()
    }
}

/// A part of a file as the body of a request: a piece is read when the connection can take it.
struct FilePieces: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let file: SourceFile
    let offset: UInt64
    let byteCount: UInt64
    let pieceByteCount: Int

    struct AsyncIterator: AsyncIteratorProtocol {
        let pieces: FilePieces
        var position: UInt64

        mutating func next() async throws -> ByteBuffer? {
            let end = pieces.offset + pieces.byteCount
            guard position < end else { return nil }
            let count = Int(Swift.min(UInt64(pieces.pieceByteCount), end - position))
            let bytes = try pieces.file.read(offset: position, byteCount: count)
            position += UInt64(count)
            return ByteBuffer(bytes: bytes)
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pieces: self, position: offset) }
}

/// The rate of a transfer and its line.
struct Rate {
    private let start = ContinuousClock.now
    private var moved: UInt64 = 0

    /// Tells how many bytes moved since the start.
    mutating func note(bytes: UInt64) { moved = bytes }

    /// The line of the progress bar.
    func line(_ phase: String, done: UInt64, total: UInt64) -> String {
        let seconds = Double((ContinuousClock.now - start) / .milliseconds(1)) / 1000
        let rate = seconds > 0.05 ? Double(moved) / seconds : 0
        var progress = JSONObject()
        progress.set("phase", phase)
        progress.set("doneBytes", done)
        progress.set("totalBytes", total)
        progress.set("fraction", raw: .number(total == 0 ? 1 : Double(done) / Double(total)))
        if rate > 0 {
            progress.set("bytesPerSecond", UInt64(rate))
            progress.set("etaSeconds", UInt64(Double(total - min(done, total)) / rate))
        }
        return JobLine.bar(.object(["progress": progress.json]), columns: Terminal.columns)
    }
}
