/// A slice at its place in a guest's disk and in a blob.
package struct SliceExtent: Hashable, Sendable {
    /// Where it begins in the guest's disk, in bytes.
    package var guestOffset: UInt64
    /// Its length in bytes: 1 to 256 KiB.
    package var byteCount: UInt32
    /// The SHA-256 of its bytes.
    package var slice: Digest
    /// Its blob's number in the manifest's list.
    package var blob: UInt32
    /// Its number in the blob's directory.
    package var place: UInt32

    /// Creates an extent.
    package init(guestOffset: UInt64, byteCount: UInt32, slice: Digest, blob: UInt32, place: UInt32) {
        self.guestOffset = guestOffset
        self.byteCount = byteCount
        self.slice = slice
        self.blob = blob
        self.place = place
    }

    /// The guest offset after its last byte.
    package var guestEnd: UInt64 { guestOffset + UInt64(byteCount) }
}

/// Computes the digest of a guest's content from its slices in guest order. Where slices lie and how they are packed
/// does not enter: equal content gives an equal digest. docs/formats.md, "Content digest".
package struct ContentHasher: ~Copyable {
    private var hasher = SHA256Hasher()
    private var buffer = ByteWriter(capacity: ContentHasher.bufferByteCount)
    private static let bufferByteCount = 16_384

    /// Starts with the facts that hold for the whole disk.
    package init(slicingVersion: UInt16, virtualSizeBytes: UInt64) {
        buffer.raw("lamina content 1".utf8)
        buffer.u16(slicingVersion)
        buffer.u64(virtualSizeBytes)
    }

    /// Adds the next slice in guest order.
    package mutating func add(_ extent: SliceExtent) {
        buffer.u64(extent.guestOffset)
        buffer.u32(extent.byteCount)
        buffer.digest(extent.slice)
        if buffer.bytes.count > Self.bufferByteCount - 64 { flush() }
    }

    /// The digest of all that was added.
    package mutating func digest() -> Digest {
        flush()
        return hasher.current()
    }

    private mutating func flush() {
        hasher.update(buffer.bytes)
        buffer = ByteWriter(capacity: Self.bufferByteCount)
    }
}

/// One image, whole in memory: its facts and its extents. Large images are read and written segment by segment with
/// `ManifestSegment` and `ManifestTail`; this value is for small ones, for tools and for tests.
package struct Manifest: Hashable, Sendable {
    /// What is known of the image.
    package var facts: ImageFacts
    /// What was found inside the guest's disk, by key.
    package var guestFacts: [GuestFact]
    /// The version of the rules that cut its slices.
    package var slicingVersion: UInt16
    /// The names of the blobs that its extents count by.
    package var blobs: [Digest]
    /// Its slices in guest order; what lies between them is zero.
    package var extents: [SliceExtent]

    /// Creates a manifest.
    package init(
        facts: ImageFacts, guestFacts: [GuestFact], slicingVersion: UInt16, blobs: [Digest], extents: [SliceExtent]
    ) {
        self.facts = facts
        self.guestFacts = guestFacts
        self.slicingVersion = slicingVersion
        self.blobs = blobs
        self.extents = extents
    }

    /// The canonical encoding. docs/formats.md, "Manifest".
    package func encoded() -> [UInt8] {
        var out = ManifestTail.header(slicingVersion: slicingVersion)
        var segments: [ManifestTail.Segment] = []
        var index = 0
        while index < extents.count {
            let number = extents[index].guestOffset / SliceLimits.segmentByteCount
            var end = index
            while end < extents.count, extents[end].guestOffset / SliceLimits.segmentByteCount == number { end += 1 }
            let block = ManifestSegment.encode(Array(extents[index..<end]), number: UInt32(number))
            segments.append(
                .init(
                    number: UInt32(number), position: UInt64(out.count), byteCount: UInt32(block.count),
                    digest: Digest.sha256(block)))
            out += block
            index = end
        }
        let tail = ManifestTail(
            facts: facts, guestFacts: guestFacts, slicingVersion: slicingVersion, segments: segments, blobs: blobs)
        return out + tail.encoded(position: UInt64(out.count))
    }

    /// Reads a whole manifest and checks it: structure, checksums, counts, sizes and the content digest.
    package init(decoding bytes: [UInt8]) throws(MalformedBytes) {
        let tail = try ManifestTail(decoding: bytes)
        var extents: [SliceExtent] = []
        var content = ContentHasher(
            slicingVersion: tail.slicingVersion, virtualSizeBytes: tail.facts.virtualSizeBytes)
        for segment in tail.segments {
            let start = Int(segment.position)
            let block = Array(bytes[start..<start + Int(segment.byteCount)])
            let found = try ManifestSegment.decode(block, of: segment, in: tail)
            for extent in found { content.add(extent) }
            extents += found
        }
        guard content.digest() == tail.facts.contentDigest else {
            throw MalformedBytes("the content digest is that of the extents", at: 0)
        }
        guard extents.reduce(0, { $0 + UInt64($1.byteCount) }) == tail.facts.referencedBytes else {
            throw MalformedBytes("the referenced bytes are the sum of the slices", at: 0)
        }
        self.init(
            facts: tail.facts, guestFacts: tail.guestFacts, slicingVersion: tail.slicingVersion, blobs: tail.blobs,
            extents: extents)
    }
}
