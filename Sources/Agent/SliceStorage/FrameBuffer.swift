import Blobs

/// Memory for one frame, plain or stored. Used by one thread at a time: whoever holds it.
final class FrameBuffer: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init() { bytes = .allocate(byteCount: BlobLimits.frameByteCountMax, alignment: 64) }
    deinit { bytes.deallocate() }
}

/// Frame buffers that wait for their next use; mapping memory anew for each frame would cost.
final class FrameBufferPool: Sendable {
    private let idle = Guarded<[FrameBuffer]>([])

    func take() -> FrameBuffer { idle.with { $0.popLast() } ?? FrameBuffer() }
    func give(_ buffer: FrameBuffer) {
        idle.with { if $0.count < 2 * StoreLimits.workerCountMax { $0.append(buffer) } }
    }
}

/// Consecutive new slices, together up to 256 KiB, in the order of the guest's disk.
struct PlainFrame: Sendable {
    /// Frames of one ingest count from 0.
    let number: Int
    var slices: [SliceEntry] = []
    var byteCount = 0
    let buffer: FrameBuffer
    /// The segment in which it was begun.
    let segment: UInt64
}
