// Volumes: files with stated durability.
//
// Hides: every file system call of the agent.
// Invariants: errors of write, fsync, fdatasync and close are never dropped; every call that fails names
// itself, the path and errno.
// Is not: aware of slices, blobs or images.

/// A file system call that failed.
package struct VolumeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The call, such as `fsync`.
    package let call: String
    /// The path it was about, below the volume's root.
    package let path: String
    /// The error number of the system.
    package let errno: Int32

    /// Creates the error.
    package init(call: String, path: String, errno: Int32) {
        self.call = call
        self.path = path
        self.errno = errno
    }

    /// `fsync blobs/aa/…: No space left on device`.
    package var description: String { "\(call) \(path): \(VolumeError.words(errno))" }
}

/// Bytes that can be read at any offset from several threads at once: a file that is taken in.
package protocol ByteSource: Sendable {
    /// The number of bytes.
    var byteCount: UInt64 { get }
    /// Fills `buffer` from `offset`; returns fewer bytes only at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int
    /// The next run at or after `offset` that may have data (SEEK_DATA, SEEK_HOLE); nil when only a hole follows.
    /// A source that cannot tell answers everything up to its end.
    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>?
}
