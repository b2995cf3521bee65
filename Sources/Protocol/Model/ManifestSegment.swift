/// The extents of one 64 MiB segment of a guest's disk, as a manifest keeps them: runs of slices that follow one
/// another both in the guest's disk and in a blob, then the lengths, then the ids.
package enum ManifestSegment {
    /// Encodes the extents of segment `number`: at least one, in guest order, all inside the segment.
    package static func encode(_ extents: [SliceExtent], number: UInt32) -> [UInt8] {
        precondition(!extents.isEmpty, "a segment without slices is left out of the manifest")
        var runs = ByteWriter()
        var runCount: UInt32 = 0
        var end = UInt64(number) * SliceLimits.segmentByteCount
        var index = 0
        while index < extents.count {
            let first = extents[index]
            var last = index
            while last + 1 < extents.count {
                let (here, next) = (extents[last], extents[last + 1])
                guard next.guestOffset == here.guestEnd, next.blob == here.blob, next.place == here.place + 1 else {
                    break
                }
                last += 1
            }
            runs.varint(first.guestOffset - end)
            runs.varint(UInt64(first.blob))
            runs.varint(UInt64(first.place))
            runs.varint(UInt64(last - index + 1))
            runCount += 1
            end = extents[last].guestEnd
            index = last + 1
        }
        var out = ByteWriter(capacity: 8 + runs.bytes.count + extents.count * 35)
        out.u32(UInt32(extents.count))
        out.u32(runCount)
        out.raw(runs.bytes)
        for extent in extents { out.varint(UInt64(extent.byteCount)) }
        for extent in extents { out.digest(extent.slice) }
        return out.bytes
    }

    /// Reads the block of `segment` and checks it against the manifest's tail.
    package static func decode(
        _ block: [UInt8], of segment: ManifestTail.Segment, in tail: ManifestTail
    ) throws(MalformedBytes) -> [SliceExtent] {
        guard Digest.sha256(block) == segment.digest else {
            throw MalformedBytes("a segment has the digest that the manifest's tail says", at: Int(segment.position))
        }
        // The closure hides the error's type, so the result carries it.
        let result: Result<[SliceExtent], MalformedBytes> = block.withUnsafeBytes { bytes in
            do throws(MalformedBytes) {
                var reader = ByteReader(bytes, base: Int(segment.position))
                return .success(try read(&reader, of: segment, in: tail))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    private static func read(
        _ reader: inout ByteReader, of segment: ManifestTail.Segment, in tail: ManifestTail
    ) throws(MalformedBytes) -> [SliceExtent] {
        let count = Int(try reader.u32())
        let runCount = Int(try reader.u32())
        guard count > 0, count <= SliceLimits.slicesPerSegmentMax, runCount > 0, runCount <= count,
            reader.remaining >= count * 33
        else { throw reader.malformed("a segment has as many slices and runs as fit into it") }
        var extents: [SliceExtent] = []
        extents.reserveCapacity(count)
        // First pass: runs, with the gap kept in the offset of each run's first slice.
        for _ in 0..<runCount {
            let gap = try reader.varint()
            let blob = try reader.varint()
            let first = try reader.varint()
            let length = try reader.varint()
            guard blob < UInt64(tail.blobs.count) else { throw reader.malformed("a run names a blob of the list") }
            guard length > 0, length <= UInt64(count - extents.count), first <= UInt64(UInt32.max) - length else {
                throw reader.malformed("the runs have as many slices as the segment")
            }
            guard gap <= SliceLimits.segmentByteCount else { throw reader.malformed("a run lies in its segment") }
            for step in 0..<length {
                extents.append(
                    SliceExtent(
                        guestOffset: step == 0 ? gap : 0, byteCount: 0, slice: .zero, blob: UInt32(blob),
                        place: UInt32(first + step)))
            }
        }
        guard extents.count == count else { throw reader.malformed("the runs have as many slices as the segment") }
        let start = UInt64(segment.number) * SliceLimits.segmentByteCount
        let limit = min(start + SliceLimits.segmentByteCount, tail.facts.virtualSizeBytes)
        var end = start
        for index in 0..<count {
            let length = try reader.varint()
            guard length > 0, length <= UInt64(SliceLimits.sliceByteCountMax) else {
                throw reader.malformed("a slice has 1 to \(SliceLimits.sliceByteCountMax) bytes")
            }
            extents[index].guestOffset += end
            extents[index].byteCount = UInt32(length)
            end = extents[index].guestEnd
            guard end <= limit else { throw reader.malformed("a slice lies in its segment and on the disk") }
        }
        for index in 0..<count { extents[index].slice = try reader.digest() }
        try reader.end()
        return extents
    }
}
