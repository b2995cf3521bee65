import Model

/// How the bytes of a frame are kept.
package enum FrameEncoding: UInt8, Sendable {
    /// As they are: compression would not have made them fewer.
    case plain = 0
    /// One zstd frame.
    case zstd = 1
}

/// A slice in a blob's directory.
package struct SliceEntry: Hashable, Sendable {
    /// The SHA-256 of the plain bytes.
    package var slice: Digest
    /// The number of plain bytes.
    package var byteCount: UInt32

    /// Creates an entry.
    package init(slice: Digest, byteCount: UInt32) {
        self.slice = slice
        self.byteCount = byteCount
    }
}

/// A frame in a blob's directory: where it is and which slices it holds.
package struct FrameEntry: Hashable, Sendable {
    /// Its offset in the blob file.
    package var position: UInt64
    /// Its length in the blob file.
    package var storedByteCount: UInt32
    /// Its length once decoded: the sum of its slices.
    package var plainByteCount: UInt32
    /// How it is kept.
    package var encoding: FrameEncoding
    /// The numbers of its slices in the directory.
    package var slices: Range<Int>

    /// Creates an entry.
    package init(
        position: UInt64, storedByteCount: UInt32, plainByteCount: UInt32, encoding: FrameEncoding, slices: Range<Int>
    ) {
        self.position = position
        self.storedByteCount = storedByteCount
        self.plainByteCount = plainByteCount
        self.encoding = encoding
        self.slices = slices
    }
}

/// What a blob holds. Its digest is the blob's name, wherever the blob lies.
package struct BlobDirectory: Hashable, Sendable {
    /// The frames, one after another from the end of the header.
    package private(set) var frames: [FrameEntry]
    /// The slices, in the order of the frames.
    package private(set) var slices: [SliceEntry]
    /// For each slice, the offset of its first byte in its decoded frame.
    package private(set) var sliceOffsets: [UInt32]

    /// Starts a directory without frames.
    package init() { (frames, slices, sliceOffsets) = ([], [], []) }

    /// Where the next frame goes, and the directory after the last: an offset in the blob file.
    package var endOfFrames: UInt64 {
        frames.last.map { $0.position + UInt64($0.storedByteCount) } ?? UInt64(BlobFormat.headerByteCount)
    }

    /// Adds the frame that is written at `endOfFrames`.
    package mutating func append(storedByteCount: Int, encoding: FrameEncoding, slices added: [SliceEntry]) {
        var offset: UInt32 = 0
        let first = slices.count
        let position = endOfFrames
        for entry in added {
            slices.append(entry)
            sliceOffsets.append(offset)
            offset += entry.byteCount
        }
        frames.append(
            FrameEntry(
                position: position, storedByteCount: UInt32(storedByteCount), plainByteCount: offset,
                encoding: encoding, slices: first..<slices.count))
    }

    /// The number of the frame that holds the slice with number `place`; nil when there is no such slice.
    package func frame(ofPlace place: Int) -> Int? {
        guard slices.indices.contains(place) else { return nil }
        var (low, high) = (0, frames.count)
        while low + 1 < high {
            let middle = (low + high) / 2
            if frames[middle].slices.lowerBound <= place { low = middle } else { high = middle }
        }
        return low
    }

    /// The bytes of the directory. docs/formats.md, "Blob".
    package func encoded() -> [UInt8] {
        var out = ByteWriter(capacity: 8 + frames.count * 12 + slices.count * 36)
        out.u32(UInt32(frames.count))
        out.u32(UInt32(slices.count))
        for frame in frames {
            out.u32(frame.storedByteCount)
            out.u32(UInt32(frame.slices.count))
            out.u32(UInt32(frame.encoding.rawValue))
        }
        for entry in slices {
            out.u32(entry.byteCount)
            out.digest(entry.slice)
        }
        return out.bytes
    }

    /// Reads a directory that lies at `position` in its blob, and checks every bound.
    package init(decoding bytes: [UInt8], position: UInt64) throws(MalformedBytes) {
        let result: Result<BlobDirectory, MalformedBytes> = bytes.withUnsafeBytes { raw in
            do throws(MalformedBytes) {
                var reader = ByteReader(raw, base: Int(position))
                return .success(try Self.read(&reader, position: position))
            } catch { return .failure(error) }
        }
        self = try result.get()
    }

    private static func read(_ reader: inout ByteReader, position: UInt64) throws(MalformedBytes) -> BlobDirectory {
        let frameCount = Int(try reader.u32())
        let sliceCount = Int(try reader.u32())
        guard sliceCount <= BlobLimits.slicesPerBlobMax, frameCount <= sliceCount,
            reader.remaining == frameCount * 12 + sliceCount * 36
        else { throw reader.malformed("a directory has as many frames and slices as fit into it") }
        var shapes: [(stored: UInt32, slices: Int, encoding: FrameEncoding)] = []
        shapes.reserveCapacity(frameCount)
        var total = 0
        for _ in 0..<frameCount {
            let stored = try reader.u32()
            let count = Int(try reader.u32())
            let number = try reader.u32()
            guard let encoding = FrameEncoding(rawValue: UInt8(clamping: number)), number <= 1 else {
                throw reader.malformed("a frame's encoding is known")
            }
            guard stored > 0, Int(stored) <= BlobLimits.frameByteCountMax, count > 0, count <= sliceCount - total else {
                throw reader.malformed("a frame has slices and at most \(BlobLimits.frameByteCountMax) bytes")
            }
            total += count
            shapes.append((stored, count, encoding))
        }
        guard total == sliceCount else { throw reader.malformed("every slice lies in a frame") }
        var directory = BlobDirectory()
        directory.frames.reserveCapacity(frameCount)
        directory.slices.reserveCapacity(sliceCount)
        directory.sliceOffsets.reserveCapacity(sliceCount)
        for shape in shapes {
            var entries: [SliceEntry] = []
            entries.reserveCapacity(shape.slices)
            var plain = 0
            for _ in 0..<shape.slices {
                let length = try reader.u32()
                guard length > 0, Int(length) <= SliceLimits.sliceByteCountMax else {
                    throw reader.malformed("a slice has 1 to \(SliceLimits.sliceByteCountMax) bytes")
                }
                plain += Int(length)
                entries.append(SliceEntry(slice: try reader.digest(), byteCount: length))
            }
            guard plain <= BlobLimits.frameByteCountMax,
                shape.encoding == .zstd ? Int(shape.stored) < plain : Int(shape.stored) == plain
            else {
                throw reader.malformed("a frame is not longer than its slices, nor is it longer than a frame may be")
            }
            directory.append(storedByteCount: Int(shape.stored), encoding: shape.encoding, slices: entries)
        }
        guard directory.endOfFrames == position else { throw reader.malformed("the directory follows the last frame") }
        try reader.end()
        return directory
    }
}
