import Blobs
import DiskImage
import Model

/// The guest's disk of a stored image. Every byte that it hands out was compared with the SHA-256 of its slice.
package final class StoredDisk: GuestDisk {
    /// The size of the guest's disk in bytes.
    package let virtualSizeBytes: UInt64
    let manifest: ManifestReader
    private let image: ImageID
    private let shelf: BlobShelf
    private let segments: Guarded<LeastRecent<Int, [SliceExtent]>>
    private let another: @Sendable (Digest, Digest, Int) -> (blob: Digest, place: Int)?
    private let onClose: @Sendable () -> Void

    /// - Parameters:
    ///   - another: asked when a slice is rotten: another place that has it.
    ///   - onClose: called once nobody holds the disk any more.
    init(
        image: ImageID, manifest: ManifestReader, shelf: BlobShelf,
        another: @escaping @Sendable (Digest, Digest, Int) -> (blob: Digest, place: Int)?,
        onClose: @escaping @Sendable () -> Void
    ) {
        self.image = image
        self.manifest = manifest
        self.shelf = shelf
        self.another = another
        self.onClose = onClose
        virtualSizeBytes = manifest.tail.facts.virtualSizeBytes
        segments = Guarded(LeastRecent(costMax: StoreLimits.segmentsCachedMax))
    }

    deinit { onClose() }

    /// The extent at `offset`, within its segment or over segments that have no slices.
    package func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        guard offset < virtualSizeBytes else { throw .source("offset \(offset) is beyond the disk") }
        let size = SliceLimits.segmentByteCount
        guard let entry = firstEntry(from: offset / size) else {
            return GuestExtent(range: offset..<virtualSizeBytes, isData: false)
        }
        let start = UInt64(manifest.tail.segments[entry].number) * size
        if start > offset { return GuestExtent(range: offset..<start, isData: false) }
        let extents = try extents(entry)
        let end = min(start + size, virtualSizeBytes)
        var index = Self.first(in: extents, endingAfter: offset)
        guard index < extents.count else { return GuestExtent(range: offset..<end, isData: false) }
        if extents[index].guestOffset > offset {
            return GuestExtent(range: offset..<extents[index].guestOffset, isData: false)
        }
        var stop = extents[index].guestEnd
        index += 1
        while index < extents.count, extents[index].guestOffset == stop {
            stop = extents[index].guestEnd
            index += 1
        }
        return GuestExtent(range: offset..<stop, isData: true)
    }

    /// Fills `buffer` with the guest's bytes from `offset`.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !overflow, end <= virtualSizeBytes else { throw .source("the range is not on the disk") }
        guard let base = buffer.baseAddress, end > offset else { return }
        var done = offset
        while done < end {
            let segment = done / SliceLimits.segmentByteCount
            let stop = min((segment + 1) * SliceLimits.segmentByteCount, end)
            let part = UnsafeMutableRawBufferPointer(start: base + Int(done - offset), count: Int(stop - done))
            if let entry = firstEntry(from: segment), UInt64(manifest.tail.segments[entry].number) == segment {
                try fill(part, at: done, from: try extents(entry))
            } else {
                part.initializeMemory(as: UInt8.self, repeating: 0)
            }
            done = stop
        }
    }

    private func fill(
        _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, from extents: [SliceExtent]
    ) throws(DiskImageError) {
        let end = offset + UInt64(buffer.count)
        var done = offset
        var index = Self.first(in: extents, endingAfter: offset)
        while done < end {
            let next = index < extents.count ? extents[index].guestOffset : end
            if next > done {
                let stop = min(next, end)
                UnsafeMutableRawBufferPointer(rebasing: buffer[Int(done - offset)..<Int(stop - offset)])
                    .initializeMemory(as: UInt8.self, repeating: 0)
                done = stop
                continue
            }
            let extent = extents[index]
            let stop = min(extent.guestEnd, end)
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[Int(done - offset)..<Int(stop - offset)])
            try copy(extent, from: Int(done - extent.guestOffset), into: target)
            done = stop
            index += 1
        }
    }

    private func copy(
        _ extent: SliceExtent, from start: Int, into target: UnsafeMutableRawBufferPointer
    ) throws(DiskImageError) {
        let name = manifest.tail.blobs[Int(extent.blob)]
        do throws(Wrong) {
            try copy(extent.slice, name, Int(extent.place), Int(extent.byteCount), from: start, into: target)
            return
        } catch {
            // The same bytes may lie in another blob; only the digest decides.
            if let other = another(extent.slice, name, Int(extent.place)) {
                do throws(Wrong) {
                    try copy(extent.slice, other.blob, other.place, Int(extent.byteCount), from: start, into: target)
                    return
                } catch {}
            }
            throw .corrupt(
                rule: "slice \(extent.slice.hex) of image \(image) in blob \(name.hex): \(error.words)",
                offset: extent.guestOffset)
        }
    }

    private struct Wrong: Error { let words: String }

    private func copy(
        _ slice: Digest, _ name: Digest, _ place: Int, _ byteCount: Int, from start: Int,
        into target: UnsafeMutableRawBufferPointer
    ) throws(Wrong) {
        do throws(BlobShelf.Failure) {
            let directory = try shelf.directory(name)
            guard place < directory.slices.count, directory.slices[place].slice == slice,
                Int(directory.slices[place].byteCount) == byteCount, let number = directory.frame(ofPlace: place)
            else { throw .blob(.malformed(MalformedBytes("the directory has the slice at its place", at: place))) }
            let frame = try shelf.frame(number, of: name)
            if let wrong = frame.wrong[place] { throw .blob(wrong) }
            let from = Int(directory.sliceOffsets[place]) + start
            frame.bytes.withUnsafeBytes { bytes in
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[from..<from + target.count]))
            }
        } catch { throw Wrong(words: error.words) }
    }

    private func extents(_ entry: Int) throws(DiskImageError) -> [SliceExtent] {
        if let known = segments.with({ $0.value(entry) }) { return known }
        do throws(ManifestFailure) {
            let extents = try manifest.extents(ofEntry: entry)
            _ = segments.with { $0.insert(extents, for: entry, cost: 1) }
            return extents
        } catch {
            throw .corrupt(
                rule: "the manifest of image \(image): \(error.words)", offset: manifest.tail.segments[entry].position)
        }
    }

    // The first entry of the table whose segment is `number` or later.
    private func firstEntry(from number: UInt64) -> Int? {
        let table = manifest.tail.segments
        var (low, high) = (0, table.count)
        while low < high {
            let middle = (low + high) / 2
            if UInt64(table[middle].number) < number { low = middle + 1 } else { high = middle }
        }
        return low < table.count ? low : nil
    }

    private static func first(in extents: [SliceExtent], endingAfter offset: UInt64) -> Int {
        var (low, high) = (0, extents.count)
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].guestEnd <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
