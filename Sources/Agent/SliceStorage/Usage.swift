import Model
import Storage
import Volumes

extension SliceStore {
    /// How full the store is. What could be reclaimed is exact for whole frames; what open sessions hold is not counted in it.
    package func usage() throws(StorageError) -> StorageUsage {
        try checkOpen()
        let space = try during("ask for space") { () throws(VolumeError) in try volume.space() }
        let reclaimable = try reclaimableBytes()
        return core.with { core in
            let kept = core.reservedBytes &+ core.reservedByOthers(than: nil)
            return StorageUsage(
                totalBytes: space.totalBytes, usedBytes: space.totalBytes - min(space.freeBytes, space.totalBytes),
                availableBytes: space.availableBytes > kept ? space.availableBytes - kept : 0,
                reservedBytes: core.reservedBytes, images: core.images.count,
                logicalBytes: core.images.values.reduce(0) { $0 + $1.virtualSizeBytes },
                referencedBytes: core.images.values.reduce(0) { $0 + $1.referencedBytes },
                storedBytes: core.blobs.values.reduce(0) { $0 + $1.byteCount }, reclaimableBytes: reclaimable,
                temporaryBytes: core.sessions.values.reduce(0) { $0 + $1.stagedBytes })
        }
    }

    private func reclaimableBytes() throws(StorageError) -> UInt64 {
        let (generation, kept) = core.with { core in
            (core.generation, core.reclaimable.flatMap { $0.generation == core.generation ? $0.bytes : nil })
        }
        if let kept { return kept }
        var needed: [Int64: FrameSet] = [:]
        try index.eachUse { _, row, frames in needed[row, default: FrameSet(bytes: [])].formUnion(frames) }
        return core.with { core in
            var bytes: UInt64 = 0
            for (row, record) in core.blobs {
                if record.users == 0 {
                    if record.pins == 0 { bytes += record.byteCount }
                    continue
                }
                guard let frames = needed[row] else { continue }
                for (number, count) in record.frameByteCounts.enumerated() where !frames.contains(number) {
                    bytes += UInt64(count)
                }
            }
            core.reclaimable = (generation, bytes)
            return bytes
        }
    }
}
