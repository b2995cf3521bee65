/// Something that was found inside a guest's disk, such as its architecture.
package struct GuestFact: Hashable, Sendable {
    /// The longest key and the longest value, in bytes of UTF-8.
    package static let byteCountMax = 1024
    /// What it is about.
    package var key: String
    /// What was found.
    package var value: String

    /// Creates a fact.
    package init(key: String, value: String) {
        self.key = key
        self.value = value
    }
}

/// The end of a manifest: the table of its segments, the list of its blobs, and the facts of the image. It is all
/// that listing images needs, and it says where each segment's extents are.
package struct ManifestTail: Hashable, Sendable {
    /// Where a segment's block is in the manifest.
    package struct Segment: Hashable, Sendable {
        /// The segment's number: guest offset / 64 MiB.
        package var number: UInt32
        /// The block's offset in the manifest.
        package var position: UInt64
        /// The block's length.
        package var byteCount: UInt32
        /// The block's SHA-256.
        package var digest: Digest

        /// Creates an entry.
        package init(number: UInt32, position: UInt64, byteCount: UInt32, digest: Digest) {
            self.number = number
            self.position = position
            self.byteCount = byteCount
            self.digest = digest
        }
    }

    /// What is known of the image.
    package var facts: ImageFacts
    /// What was found inside the guest's disk.
    package var guestFacts: [GuestFact]
    /// The version of the rules that cut its slices.
    package var slicingVersion: UInt16
    /// The segments that have slices, ascending.
    package var segments: [Segment]
    /// The blobs, in the order of their numbers.
    package var blobs: [Digest]

    /// The version of the encoding. History: 1, the first.
    package static let formatVersion: UInt16 = 1
    /// The length of the header.
    package static let headerByteCount = 16
    /// The length of the trailer.
    package static let trailerByteCount = 56
    private static let headerMagic = Array("LAMIMAGE".utf8)
    private static let trailerMagic = Array("LAMI-END".utf8)

    /// Creates a tail.
    package init(
        facts: ImageFacts, guestFacts: [GuestFact], slicingVersion: UInt16, segments: [Segment], blobs: [Digest]
    ) {
        self.facts = facts
        self.guestFacts = guestFacts
        self.slicingVersion = slicingVersion
        self.segments = segments
        self.blobs = blobs
    }

    /// The first 16 bytes of a manifest.
    package static func header(slicingVersion: UInt16) -> [UInt8] {
        var out = ByteWriter(capacity: headerByteCount)
        out.raw(headerMagic)
        out.u16(formatVersion)
        out.u16(slicingVersion)
        out.u32(0)
        return out.bytes
    }

    /// Tail and trailer; `position` is the offset where they will lie in the manifest.
    package func encoded(position: UInt64) -> [UInt8] {
        var out = ByteWriter(capacity: segments.count * 48 + blobs.count * 32 + 4096)
        out.u32(UInt32(segments.count))
        for segment in segments {
            out.u32(segment.number)
            out.u64(segment.position)
            out.u32(segment.byteCount)
            out.digest(segment.digest)
        }
        out.u32(UInt32(blobs.count))
        for blob in blobs { out.digest(blob) }
        FactsCodec.write(facts, to: &out)
        out.u16(UInt16(guestFacts.count))
        for fact in guestFacts {
            out.text(fact.key)
            out.text(fact.value)
        }
        var trailer = ByteWriter(capacity: Self.trailerByteCount)
        trailer.u64(position)
        trailer.u64(UInt64(out.bytes.count))
        trailer.digest(
            Self.checksum(
                header: Self.header(slicingVersion: slicingVersion), tail: out.bytes, trailerStart: trailer.bytes))
        trailer.raw(Self.trailerMagic)
        return out.bytes + trailer.bytes
    }

    /// Reads the tail out of a whole manifest.
    package init(decoding manifest: [UInt8]) throws(MalformedBytes) {
        guard manifest.count >= Self.headerByteCount + Self.trailerByteCount else {
            throw MalformedBytes("a manifest has a header and a trailer", at: 0)
        }
        let trailer = Array(manifest.suffix(Self.trailerByteCount))
        let place = try Self.place(trailer: trailer, manifestByteCount: UInt64(manifest.count))
        try self.init(
            header: Array(manifest.prefix(Self.headerByteCount)),
            tail: Array(manifest[Int(place.lowerBound)..<Int(place.upperBound)]), trailer: trailer,
            position: place.lowerBound)
    }

    /// Where the tail lies, from the last `trailerByteCount` bytes of a manifest.
    package static func place(
        trailer: [UInt8], manifestByteCount: UInt64
    ) throws(MalformedBytes) -> Range<UInt64> {
        let base = Int(clamping: manifestByteCount) - trailerByteCount
        guard trailer.count == trailerByteCount, trailer.suffix(8).elementsEqual(trailerMagic) else {
            throw MalformedBytes("a manifest ends with its trailer", at: max(base, 0))
        }
        let position = trailer.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        let count = trailer.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        guard count <= UInt64(SliceLimits.tailByteCountMax), position >= UInt64(headerByteCount),
            position <= manifestByteCount,
            position + count + UInt64(trailerByteCount) == manifestByteCount
        else { throw MalformedBytes("the tail lies right before the trailer", at: max(base, 0)) }
        return position..<position + count
    }

    /// Reads a tail from its parts, and checks the checksum and every bound.
    package init(
        header: [UInt8], tail: [UInt8], trailer: [UInt8], position: UInt64
    ) throws(MalformedBytes) {
        guard header.count == Self.headerByteCount, header.prefix(8).elementsEqual(Self.headerMagic) else {
            throw MalformedBytes("a manifest begins with its magic", at: 0)
        }
        let version = UInt16(header[8]) | UInt16(header[9]) << 8
        guard version == Self.formatVersion else {
            throw MalformedBytes("manifest version \(version) is not known", at: 8)
        }
        let slicing = UInt16(header[10]) | UInt16(header[11]) << 8
        let found = Self.checksum(header: header, tail: tail, trailerStart: Array(trailer.prefix(16)))
        guard trailer.count == Self.trailerByteCount, found.bytes.elementsEqual(trailer[16..<48]) else {
            throw MalformedBytes("the checksum is that of header and tail", at: Int(position))
        }
        let result: Result<ManifestTail, MalformedBytes> = tail.withUnsafeBytes { bytes in
            do throws(MalformedBytes) {
                var reader = ByteReader(bytes, base: Int(position))
                return .success(try Self.read(&reader, slicingVersion: slicing, position: position))
            } catch { return .failure(error) }
        }
        self = try result.get()
    }

    private static func read(
        _ reader: inout ByteReader, slicingVersion: UInt16, position: UInt64
    ) throws(MalformedBytes) -> ManifestTail {
        let segmentCount = Int(try reader.u32())
        guard segmentCount <= SliceLimits.segmentCountMax, segmentCount * 48 <= reader.remaining else {
            throw reader.malformed("the segments fit into the tail")
        }
        var segments: [Segment] = []
        segments.reserveCapacity(segmentCount)
        var next = UInt64(headerByteCount)
        for _ in 0..<segmentCount {
            let segment = Segment(
                number: try reader.u32(), position: try reader.u64(), byteCount: try reader.u32(),
                digest: try reader.digest())
            guard segments.last.map({ $0.number < segment.number }) ?? true, segment.position == next,
                Int(segment.byteCount) <= SliceLimits.segmentBlockByteCountMax
            else { throw reader.malformed("segments follow one another") }
            next += UInt64(segment.byteCount)
            segments.append(segment)
        }
        guard next == position else { throw reader.malformed("the tail follows the last segment") }
        let blobCount = Int(try reader.u32())
        guard blobCount <= SliceLimits.blobCountMax, blobCount * 32 <= reader.remaining else {
            throw reader.malformed("the blobs fit into the tail")
        }
        var blobs: [Digest] = []
        blobs.reserveCapacity(blobCount)
        for _ in 0..<blobCount { blobs.append(try reader.digest()) }
        let facts = try FactsCodec.read(&reader)
        let last = segments.last.map { UInt64($0.number) * SliceLimits.segmentByteCount } ?? 0
        guard segments.isEmpty || last < facts.virtualSizeBytes else {
            throw reader.malformed("segments lie on the guest's disk")
        }
        let guestFactCount = Int(try reader.u16())
        guard guestFactCount <= SliceLimits.guestFactCountMax else { throw reader.malformed("guest facts are few") }
        var guestFacts: [GuestFact] = []
        for _ in 0..<guestFactCount {
            guestFacts.append(
                GuestFact(
                    key: try reader.text(byteCountMax: GuestFact.byteCountMax),
                    value: try reader.text(byteCountMax: GuestFact.byteCountMax)))
        }
        try reader.end()
        return ManifestTail(
            facts: facts, guestFacts: guestFacts, slicingVersion: slicingVersion, segments: segments, blobs: blobs)
    }

    private static func checksum(header: [UInt8], tail: [UInt8], trailerStart: [UInt8]) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update(header)
        hasher.update(tail)
        hasher.update(trailerStart)
        return hasher.current()
    }
}

/// The bytes of `ImageFacts` in a manifest.
enum FactsCodec {
    // The numbers are the format's; an enum's order in Swift must not decide them.
    private static let types: [(ImageType, UInt8)] = [(.system, 1), (.disk, 2)]
    private static let formats: [(ImageFormat, UInt8)] = [
        (.qcow2, 1), (.raw, 2), (.iso, 3), (.vmdk, 4), (.vhd, 5), (.vhdx, 6),
    ]

    static func write(_ facts: ImageFacts, to out: inout ByteWriter) {
        let declaration = facts.declaration
        out.raw(declaration.id.bytes)
        out.text(declaration.name)
        out.text(declaration.description)
        out.u8(types.first { $0.0 == declaration.type }!.1)
        out.u8(formats.first { $0.0 == declaration.format }!.1)
        out.u64(UInt64(bitPattern: declaration.createdAt.milliseconds))
        out.u64(UInt64(bitPattern: facts.storedAt.milliseconds))
        out.u64(facts.virtualSizeBytes)
        out.u64(facts.referencedBytes)
        out.u64(facts.storedBytes)
        out.u64(facts.sourceSizeBytes)
        out.digest(facts.contentDigest)
        out.u8(facts.sourceDigest == nil ? 0 : 1)
        if let digest = facts.sourceDigest { out.digest(digest) }
    }

    static func read(_ reader: inout ByteReader) throws(MalformedBytes) -> ImageFacts {
        let id = ImageID(bytes: try reader.raw(16))!
        let name = try reader.text(byteCountMax: ResourceName.characterCountMax * 16)
        let description = try reader.text(byteCountMax: Description.characterCountMax * 16)
        let typeNumber = try reader.u8()
        let formatNumber = try reader.u8()
        guard let type = types.first(where: { $0.1 == typeNumber })?.0,
            let format = formats.first(where: { $0.1 == formatNumber })?.0
        else { throw reader.malformed("the image's type and format are known") }
        let createdAt = Timestamp(milliseconds: Int64(bitPattern: try reader.u64()))
        let storedAt = Timestamp(milliseconds: Int64(bitPattern: try reader.u64()))
        let virtualSizeBytes = try reader.u64()
        guard virtualSizeBytes <= SliceLimits.virtualByteCountMax else {
            throw reader.malformed("a guest's disk has at most \(SliceLimits.virtualByteCountMax) bytes")
        }
        let referencedBytes = try reader.u64()
        let storedBytes = try reader.u64()
        let sourceSizeBytes = try reader.u64()
        let contentDigest = try reader.digest()
        let flag = try reader.u8()
        guard flag <= 1 else { throw reader.malformed("a flag is 0 or 1") }
        let sourceDigest = flag == 1 ? try reader.digest() : nil
        return ImageFacts(
            declaration: ImageDeclaration(
                id: id, name: name, description: description, type: type, format: format, createdAt: createdAt),
            virtualSizeBytes: virtualSizeBytes, referencedBytes: referencedBytes, storedBytes: storedBytes,
            contentDigest: contentDigest, sourceDigest: sourceDigest, sourceSizeBytes: sourceSizeBytes,
            storedAt: storedAt)
    }
}
