import Blobs
import Model

/// The bounds of the store and their relations. Memory of an ingest: a worker holds a window, what was left of the window
/// before, one plain and one stored frame (about 2 MiB); in flight are at most two blobs' directories and
/// `pendingSegmentsMax` segments of extents. None of it grows with the image.
enum StoreLimits {
    /// What a worker reads at once.
    static let windowByteCount = 1 << 20
    /// The most threads of one ingest.
    static let workerCountMax = 32
    /// Sealed blobs that may wait for their fdatasync.
    static let sealQueueMax = 2
    /// How many segments may wait for their frames to be written before an unfinished frame is closed early.
    static let pendingSegmentsMax = 4
    /// Decoded frames that are kept for readers.
    static let frameCacheByteCount = 64 << 20
    /// Slices of blob directories that are kept in memory to answer their neighbours.
    static let directorySlicesMax = 200_000
    /// Decoded segments that an open image keeps.
    static let segmentsCachedMax = 8
    /// What a session's notes may have.
    static let notesByteCountMax = 64 << 10
    /// What `append` gathers before it writes.
    static let stagedBufferByteCount = 1 << 20
    /// Bytes that only cleanup and metadata may use.
    static let reserveByteCount: UInt64 = 8 << 20
    /// The longest marker.
    static let markerByteCountMax = 4096
    /// The longest journal: a record a blob.
    static let journalByteCountMax = 32 + 44 * (4 << 20)
    /// The shortest time between two reports of progress, in seconds, as a part of one.
    static let progressIntervalNanoseconds: UInt64 = 100_000_000
    /// The most images that are kept in memory.
    static let imageCountMax = 1_000_000
}
