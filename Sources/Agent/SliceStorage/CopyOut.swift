import DiskImage
import Glibc
import Model
import Storage
import Volumes

/// Writes a guest's disk to an open file. A regular file is taken to be empty: what the guest does not have stays a hole.
struct CopyOut: Sendable {
    private struct State {
        var nextOffset: UInt64 = 0
        var failure: StorageError?
    }

    let disk: any GuestDisk
    let descriptor: Int32
    private let state = Guarded(State())

    init(disk: any GuestDisk, descriptor: Int32) {
        self.disk = disk
        self.descriptor = descriptor
    }

    /// Returns when all is written; it is not synced.
    func run(workerCount: Int) throws(StorageError) {
        var found = stat()
        guard fstat(descriptor, &found) == 0, found.st_mode & S_IFMT == S_IFREG else {
            return try copy(0..<disk.virtualSizeBytes, atPlace: false)
        }
        // Segments are independent: their frames lie together.
        let threads = (1..<max(1, min(workerCount, StoreLimits.workerCountMax))).compactMap { _ in
            WorkerThread { copySegments() }
        }
        copySegments()
        for thread in threads { thread.join() }
        if let failure = state.with({ $0.failure }) { throw failure }
        if ftruncate(descriptor, off_t(disk.virtualSizeBytes)) != 0 { throw failed("truncate") }
    }

    private func copySegments() {
        while let range = nextSegment() {
            do throws(StorageError) { try copy(range, atPlace: true) } catch {
                state.with { if $0.failure == nil { $0.failure = error } }
            }
        }
    }

    private func nextSegment() -> Range<UInt64>? {
        state.with { state in
            guard state.failure == nil, state.nextOffset < disk.virtualSizeBytes else { return nil }
            let start = state.nextOffset
            state.nextOffset = min(start + SliceLimits.segmentByteCount, disk.virtualSizeBytes)
            return start..<state.nextOffset
        }
    }

    private func copy(_ range: Range<UInt64>, atPlace: Bool) throws(StorageError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: StoreLimits.windowByteCount, alignment: 4096)
        defer { buffer.deallocate() }
        var offset = range.lowerBound
        while offset < range.upperBound {
            let extent: GuestExtent
            let part: UnsafeMutableRawBufferPointer
            do throws(DiskImageError) {
                extent = try disk.extent(at: offset)
                let end = min(extent.range.upperBound, range.upperBound)
                if atPlace, !extent.isData {
                    offset = end
                    continue
                }
                part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(UInt64(buffer.count), end - offset))])
                try disk.read(into: part, at: offset)
            } catch { throw .source(error) }
            try write(UnsafeRawBufferPointer(part), at: atPlace ? offset : nil)
            offset += UInt64(part.count)
        }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64?) throws(StorageError) {
        var done = 0
        while done < bytes.count {
            let (start, count) = (bytes.baseAddress! + done, bytes.count - done)
            let put =
                offset.map { pwrite(descriptor, start, count, off_t($0) + off_t(done)) }
                ?? Glibc.write(descriptor, start, count)
            if put < 0, errno == EINTR { continue }
            guard put > 0 else { throw failed("write") }
            done += put
        }
    }

    private func failed(_ call: String) -> StorageError {
        .failed(VolumeError(call: call, path: "the target", errno: errno), during: "copy an image out")
    }
}
