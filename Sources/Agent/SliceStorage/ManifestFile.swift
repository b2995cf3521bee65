import Model
import Volumes

/// Why a manifest cannot be used.
enum ManifestFailure: Error {
    case volume(VolumeError)
    case malformed(MalformedBytes)

    var words: String {
        switch self {
        case .volume(let error): error.description
        case .malformed(let error): error.description
        }
    }
}

/// Reads a manifest: its tail at once, its segments one by one.
final class ManifestReader: Sendable {
    let tail: ManifestTail
    private let file: any VolumeFile

    init(_ volume: any Volume, _ path: String) throws(ManifestFailure) {
        let (headerCount, trailerCount) = (ManifestTail.headerByteCount, ManifestTail.trailerByteCount)
        let file = try Self.reading { () throws(VolumeError) in try volume.open(path, .read) }
        let count = try Self.reading { () throws(VolumeError) in try file.size() }
        guard count >= UInt64(headerCount + trailerCount) else {
            throw .malformed(MalformedBytes("a manifest has a header and a trailer", at: Int(clamping: count)))
        }
        let header = try Self.reading { () throws(VolumeError) in try file.readBytes(at: 0, count: headerCount) }
        let trailer = try Self.reading { () throws(VolumeError) in
            try file.readBytes(at: count - UInt64(trailerCount), count: trailerCount)
        }
        let place = try Self.checking { () throws(MalformedBytes) in
            try ManifestTail.place(trailer: trailer, manifestByteCount: count)
        }
        let body = try Self.reading { () throws(VolumeError) in
            try file.readBytes(at: place.lowerBound, count: place.count)
        }
        tail = try Self.checking { () throws(MalformedBytes) in
            try ManifestTail(header: header, tail: body, trailer: trailer, position: place.lowerBound)
        }
        self.file = file
    }

    private static func reading<Result>(_ body: () throws(VolumeError) -> Result) throws(ManifestFailure) -> Result {
        do throws(VolumeError) { return try body() } catch { throw .volume(error) }
    }

    private static func checking<Result>(
        _ body: () throws(MalformedBytes) -> Result
    ) throws(ManifestFailure) -> Result {
        do throws(MalformedBytes) { return try body() } catch { throw .malformed(error) }
    }

    /// The extents of the segment with this number in the table.
    func extents(ofEntry index: Int) throws(ManifestFailure) -> [SliceExtent] {
        let entry = tail.segments[index]
        let block = try block(ofEntry: index)
        do throws(MalformedBytes) {
            return try ManifestSegment.decode(block, of: entry, in: tail)
        } catch { throw .malformed(error) }
    }

    /// The bytes of a segment's block, unchecked.
    func block(ofEntry index: Int) throws(ManifestFailure) -> [UInt8] {
        let entry = tail.segments[index]
        do throws(VolumeError) {
            return try file.readBytes(at: entry.position, count: Int(entry.byteCount))
        } catch { throw .volume(error) }
    }
}

/// Writes a manifest into a temporary, segment by segment.
final class ManifestWriter {
    private let file: any VolumeFile
    private let slicingVersion: UInt16
    private var buffer: [UInt8]
    private var position: UInt64 = 0
    private var segments: [ManifestTail.Segment] = []
    private static let bufferByteCount = 1 << 20

    init(_ volume: any Volume, _ path: String, slicingVersion: UInt16) throws(VolumeError) {
        if try volume.facts(path) != nil { try volume.unlink(path) }
        file = try volume.open(path, .create)
        self.slicingVersion = slicingVersion
        buffer = ManifestTail.header(slicingVersion: slicingVersion)
    }

    private var end: UInt64 { position + UInt64(buffer.count) }

    /// Adds the block of the next segment.
    func append(block: [UInt8], number: UInt32) throws(VolumeError) {
        segments.append(
            .init(number: number, position: end, byteCount: UInt32(block.count), digest: Digest.sha256(block)))
        buffer += block
        if buffer.count >= Self.bufferByteCount { try flush() }
    }

    /// Writes tail and trailer, makes the file durable and closes it.
    func finish(facts: ImageFacts, guestFacts: [GuestFact], blobs: [Digest]) throws(VolumeError) {
        let tail = ManifestTail(
            facts: facts, guestFacts: guestFacts, slicingVersion: slicingVersion, segments: segments, blobs: blobs)
        buffer += tail.encoded(position: end)
        try flush()
        try file.syncData()
        try file.close()
    }

    private func flush() throws(VolumeError) {
        try file.writeBytes(buffer, at: position)
        position += UInt64(buffer.count)
        buffer.removeAll(keepingCapacity: true)
    }
}
