import DiskImage
import Model

/// A piece of the guest's disk that is read at once: whole 4 KiB blocks of one segment.
struct IngestWindow: Sendable {
    /// Windows count from 0 in guest order.
    let number: Int
    let range: Range<UInt64>
    /// Nothing follows it directly: a hole, the end of the segment or of the disk.
    let isLast: Bool
}

/// Divides a guest's disk into windows, and leaves out what the disk knows to be holes. Whether a hole is left out or read
/// as zeros makes no difference to the slices.
struct IngestPlan {
    private let disk: any GuestDisk
    private var position: UInt64 = 0
    private var number = 0
    private var extent: GuestExtent?

    // Holes below this are read as zeros rather than ending a window.
    private static let holeByteCountMin: UInt64 = 64 << 10
    private static let block = UInt64(SliceLimits.blockByteCount)

    init(_ disk: any GuestDisk) { self.disk = disk }

    /// The next window; nil at the end of the disk.
    mutating func next() throws(DiskImageError) -> IngestWindow? {
        let size = disk.virtualSizeBytes
        while let hole = try hole(at: position) { position = hole }
        guard position < size else { return nil }
        let segmentEnd = min((position / SliceLimits.segmentByteCount + 1) * SliceLimits.segmentByteCount, size)
        let limit = min(position + UInt64(StoreLimits.windowByteCount), segmentEnd)
        var end = position
        var isLast = false
        while end < limit {
            let found = try extent(at: end)
            if found.isData {
                end = min(roundedUp(found.range.upperBound, size), limit)
            } else if try hole(at: end) != nil {
                isLast = true
                break
            } else {
                end = min(roundedUp(found.range.upperBound, size), limit)
            }
        }
        if end == segmentEnd { isLast = true }
        if !isLast, try hole(at: end) != nil { isLast = true }
        defer {
            position = end
            number += 1
        }
        return IngestWindow(number: number, range: position..<end, isLast: isLast)
    }

    /// Where a hole worth leaving out, which begins at `offset`, ends: at a block, or at the end of the disk.
    private mutating func hole(at offset: UInt64) throws(DiskImageError) -> UInt64? {
        let size = disk.virtualSizeBytes
        guard offset < size else { return nil }
        let found = try extent(at: offset)
        guard !found.isData else { return nil }
        let end = found.range.upperBound >= size ? size : found.range.upperBound / Self.block * Self.block
        guard end == size || end >= offset + Self.holeByteCountMin else { return nil }
        return end > offset ? end : nil
    }

    private mutating func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        if let extent, extent.range.contains(offset) { return extent }
        let found = try disk.extent(at: offset)
        guard found.range.contains(offset), found.range.upperBound <= disk.virtualSizeBytes else {
            throw .source("the reader's extents do not cover the disk")
        }
        extent = found
        return found
    }

    private func roundedUp(_ offset: UInt64, _ size: UInt64) -> UInt64 {
        min((offset + Self.block - 1) / Self.block * Self.block, size)
    }
}
