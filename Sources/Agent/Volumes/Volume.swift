/// How a file is opened.
package enum OpenMode: Sendable {
    /// To read; only a regular file.
    case read
    /// To read and write a file that must not be there yet.
    case create
    /// To read and write a file that must be there.
    case update
}

/// What a name in a directory is.
package enum EntryKind: Sendable, Equatable {
    /// A regular file.
    case file
    /// A directory.
    case directory
    /// A link, a device, a socket: nothing that we made.
    case other
}

/// What the file system knows of an entry.
package struct EntryFacts: Sendable, Equatable {
    /// What it is.
    package var kind: EntryKind
    /// Its length in bytes.
    package var byteCount: UInt64
    /// The bytes of disk that it takes.
    package var allocatedBytes: UInt64

    /// Creates facts.
    package init(kind: EntryKind, byteCount: UInt64, allocatedBytes: UInt64) {
        self.kind = kind
        self.byteCount = byteCount
        self.allocatedBytes = allocatedBytes
    }
}

/// How full a file system is, in bytes.
package struct SpaceFacts: Sendable, Equatable {
    /// Its size.
    package var totalBytes: UInt64
    /// What nobody uses, the system's own reserve included.
    package var freeBytes: UInt64
    /// What this process may still use.
    package var availableBytes: UInt64

    /// Creates facts.
    package init(totalBytes: UInt64, freeBytes: UInt64, availableBytes: UInt64) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
        self.availableBytes = availableBytes
    }
}

/// An open file. Reads and writes at different offsets may run at the same time.
package protocol VolumeFile: AnyObject, Sendable {
    /// Its path below the volume's root, for messages.
    var path: String { get }
    /// Fills `buffer` from `offset`; returns fewer bytes only at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int
    /// Writes all of `bytes` at `offset`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(VolumeError)
    /// The length in bytes.
    func size() throws(VolumeError) -> UInt64
    /// Cuts or extends (with zeros) to `size`, and gives back what was allocated beyond.
    func truncate(to size: UInt64) throws(VolumeError)
    /// Reserves disk space for a range without changing the length. A file system that cannot does nothing.
    func allocate(from offset: UInt64, count: UInt64) throws(VolumeError)
    /// The next run at or after `offset` that may have data; nil when only a hole follows.
    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>?
    /// Makes bytes and length durable. An error is final: the file must be dropped.
    func syncData() throws(VolumeError)
    /// Closes. An error is final; later calls fail. Without it the file is closed when it is let go, and errors are lost.
    func close() throws(VolumeError)
}

/// Holds a lock until it is released or let go.
package protocol VolumeLock: AnyObject, Sendable {
    /// Gives the lock up; twice is once.
    func release()
}

/// A directory tree with stated durability. Paths are relative, `/`-separated, and never leave the root; links are
/// never followed. Names of entries become durable with `syncDirectory` of the directory that holds them.
package protocol Volume: Sendable {
    /// Opens a file.
    func open(_ path: String, _ mode: OpenMode) throws(VolumeError) -> any VolumeFile
    /// Renames over whatever file is there, in one step.
    func rename(_ source: String, to target: String) throws(VolumeError)
    /// Removes a file.
    func unlink(_ path: String) throws(VolumeError)
    /// Makes a directory; one that is there already is an error with EEXIST.
    func makeDirectory(_ path: String) throws(VolumeError)
    /// Removes an empty directory.
    func removeDirectory(_ path: String) throws(VolumeError)
    /// The names in a directory, sorted, without `.` and `..`.
    func list(_ path: String) throws(VolumeError) -> [String]
    /// What is at `path`; nil when there is nothing.
    func facts(_ path: String) throws(VolumeError) -> EntryFacts?
    /// Makes the names in a directory durable; the root is the empty path.
    func syncDirectory(_ path: String) throws(VolumeError)
    /// How full the file system is.
    func space() throws(VolumeError) -> SpaceFacts
    /// Takes the root for this process; nil when another has it.
    func lockRoot() throws(VolumeError) -> (any VolumeLock)?
    /// Where the root is in the host's file system, for libraries that open files by themselves.
    var hostPath: String { get }
}

extension Volume {
    /// Reads a whole file of at most `byteCountMax` bytes.
    /// - Throws: EFBIG when it is longer.
    package func readAll(_ path: String, byteCountMax: Int) throws(VolumeError) -> [UInt8] {
        let file = try open(path, .read)
        let count = try file.size()
        guard count <= UInt64(byteCountMax) else {
            throw VolumeError(call: "read", path: path, errno: VolumeError.tooBig)
        }
        let bytes = try file.readBytes(at: 0, count: Int(count))
        try file.close()
        return bytes
    }

    /// Writes a whole new file durably: temporary in the same directory, sync, rename, sync of the directory.
    /// - Parameter temporary: the temporary's path, in the same directory; one that is there is removed first.
    package func replace(_ path: String, with bytes: [UInt8], temporary: String) throws(VolumeError) {
        if try facts(temporary) != nil { try unlink(temporary) }
        let file = try open(temporary, .create)
        do throws(VolumeError) {
            try file.writeBytes(bytes, at: 0)
            try file.syncData()
            try file.close()
            try rename(temporary, to: path)
        } catch {
            // The first error is the one to report; the temporary goes now or at the next start.
            try? unlink(temporary)
            throw error
        }
        try syncDirectory(VolumePath.parent(of: path))
    }
}

extension VolumeFile {
    /// Reads exactly `count` bytes.
    /// - Throws: EIO when the file ends before.
    package func readBytes(at offset: UInt64, count: Int) throws(VolumeError) -> [UInt8] {
        var failure: VolumeError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(VolumeError) {
                filled = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch { failure = error }
        }
        if let failure { throw failure }
        guard bytes.count == count else { throw VolumeError(call: "read", path: path, errno: VolumeError.inputOutput) }
        return bytes
    }

    /// Writes all of `bytes`.
    package func writeBytes(_ bytes: [UInt8], at offset: UInt64) throws(VolumeError) {
        var failure: VolumeError?
        bytes.withUnsafeBytes { buffer in
            do throws(VolumeError) { try write(buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}

/// Splits paths below a volume's root.
package enum VolumePath {
    /// The directory that holds `path`; empty for the root.
    package static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: 0x2f) else { return "" }
        return String(path[..<slash])
    }

    /// The last component of `path`.
    package static func name(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: 0x2f) else { return path }
        return String(path[path.utf8.index(after: slash)...])
    }
}

/// An open file as the source of an image: its length is taken when it is made.
package final class FileSource: ByteSource {
    private let file: any VolumeFile
    /// The number of bytes.
    package let byteCount: UInt64

    /// Wraps a file; it is closed when nobody holds it any more.
    package init(_ file: any VolumeFile) throws(VolumeError) {
        self.file = file
        byteCount = try file.size()
    }

    /// Fills `buffer` from `offset`; returns fewer bytes only at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
        try file.read(into: buffer, at: offset)
    }

    /// The next run that may have data.
    package func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? {
        try file.dataRun(from: offset)
    }
}
