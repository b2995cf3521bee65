import Model
import Storage
import Volumes

/// Which blobs a session made: an append-only file in the session's directory. A blob is named here, durably, before it
/// gets its name among the blobs, so that an abandoned session leaves nothing behind. docs/formats.md, "Journal".
final class Journal {
    private static let magic = Array("LAMIJRNL".utf8)
    private static let version: UInt16 = 1
    static let headerByteCount = 32
    static let recordByteCount = 44

    private let file: any VolumeFile
    private var end: UInt64
    /// The blobs that are named so far.
    private(set) var blobs: Set<Digest>

    /// Opens or creates the journal in the session's directory; a torn record at its end is cut off.
    init(_ volume: any Volume, session: SessionID) throws(StorageError) {
        let directory = StorePaths.session(session)
        let path = directory + "/" + StorePaths.journalName
        (blobs, end) = try Self.read(volume, path: path, session: session)
        let start = end
        file = try during("open the journal") { () throws(VolumeError) in
            if start > 0 {
                let file = try volume.open(path, .update)
                try file.truncate(to: start)
                return file
            }
            if try volume.facts(path) != nil { try volume.unlink(path) }
            let file = try volume.open(path, .create)
            try file.writeBytes(Self.header(session), at: 0)
            try file.syncData()
            try volume.syncDirectory(directory)
            return file
        }
        if end == 0 { end = UInt64(Self.headerByteCount) }
    }

    /// Names a blob; durable on return.
    func append(_ blob: Digest) throws(StorageError) {
        guard !blobs.contains(blob) else { return }
        try during("write the journal") { () throws(VolumeError) in
            try file.writeBytes(Self.record(blob), at: end)
            try file.syncData()
        }
        end += UInt64(Self.recordByteCount)
        blobs.insert(blob)
    }

    /// The bytes a journal begins with.
    static func header(_ session: SessionID) -> [UInt8] {
        var out = ByteWriter(capacity: headerByteCount)
        out.raw(magic)
        out.u16(version)
        out.raw([UInt8](repeating: 0, count: 6))
        out.raw(session.bytes)
        return out.bytes
    }

    /// The bytes of a record: kind 1, the name, the first eight bytes of the SHA-256 of both.
    static func record(_ blob: Digest) -> [UInt8] {
        var out = ByteWriter(capacity: recordByteCount)
        out.u32(1)
        out.digest(blob)
        out.raw(Digest.sha256(out.bytes).bytes.prefix(8))
        return out.bytes
    }

    /// Reads a journal up to its first bad record.
    /// - Returns: no blobs and 0 when there is none, or its header is not whole.
    static func read(
        _ volume: any Volume, path: String, session: SessionID
    ) throws(StorageError) -> (blobs: Set<Digest>, end: UInt64) {
        let bytes = try during("read the journal") { () throws(VolumeError) -> [UInt8] in
            guard try volume.facts(path) != nil else { return [] }
            return try volume.readAll(path, byteCountMax: StoreLimits.journalByteCountMax)
        }
        guard bytes.count >= headerByteCount, bytes.prefix(headerByteCount).elementsEqual(header(session)) else {
            return ([], 0)
        }
        var blobs: Set<Digest> = []
        var end = headerByteCount
        while end + recordByteCount <= bytes.count {
            guard let blob = Digest(bytes: bytes[end + 4..<end + 36]),
                bytes[end..<end + recordByteCount].elementsEqual(record(blob))
            else { break }
            blobs.insert(blob)
            end += recordByteCount
        }
        return (blobs, UInt64(end))
    }
}
