import Blobs
import Model
import Storage

/// Where a slice is: the row of its blob in the index, and its number in the blob's directory.
struct SlicePlace: Hashable, Sendable {
    var blob: Int64
    var place: UInt32
}

/// A blob as the index knows it.
struct IndexedBlob: Sendable {
    var row: Int64
    var name: Digest
    var byteCount: UInt64
    /// The stored bytes of each frame.
    var frameByteCounts: [UInt32]
    var sliceCount: Int
    var epoch: UInt64
}

/// The frames of a blob that an image needs, one bit each.
struct FrameSet: Hashable, Sendable {
    private(set) var bytes: [UInt8]
    init(frameCount: Int) { bytes = [UInt8](repeating: 0, count: (frameCount + 7) / 8) }
    init(bytes: [UInt8]) { self.bytes = bytes }
    mutating func insert(_ frame: Int) { bytes[frame >> 3] |= 1 << UInt8(frame & 7) }
    func contains(_ frame: Int) -> Bool { frame >> 3 < bytes.count && bytes[frame >> 3] & (1 << UInt8(frame & 7)) != 0 }
    mutating func formUnion(_ other: FrameSet) {
        if bytes.count < other.bytes.count { bytes += [UInt8](repeating: 0, count: other.bytes.count - bytes.count) }
        for index in other.bytes.indices { bytes[index] |= other.bytes[index] }
    }
}

/// The derived index in SQLite: slice -> blob and place; image -> frames that it needs. Everything in it can be made
/// again from blobs and manifests.
final class SliceIndex: Sendable {
    private let writer: Guarded<Database>
    private let reader: Guarded<Database>

    /// The version of the tables. An index of another version is made again.
    private static let version: Int64 = 1

    private static let schema = """
        CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS blobs(
          row INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL,
          slices INTEGER NOT NULL, frames BLOB NOT NULL, epoch INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS slices(
          prefix INTEGER NOT NULL, blob INTEGER NOT NULL, place INTEGER NOT NULL,
          PRIMARY KEY(prefix, blob, place)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS uses(
          image BLOB NOT NULL, blob INTEGER NOT NULL, frames BLOB NOT NULL, PRIMARY KEY(image, blob)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS images(image BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS suspects(
          blob INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY(blob, place)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS idle(session BLOB PRIMARY KEY, seconds INTEGER NOT NULL) WITHOUT ROWID;
        """

    /// Opens or creates the index at `path` for the store `id`.
    /// - Throws: `.wrongStore` when it is another store's or of another version: remove it and open again.
    init(path: String, store id: StoreID) throws(StorageError) {
        let writer = try Database(path: path)
        try writer.execute("PRAGMA journal_mode=WAL")
        // Set after WAL, and read back: some layers lower it when WAL is switched on.
        try writer.execute("PRAGMA synchronous=FULL")
        var synchronous: Int64 = -1
        try writer.run("PRAGMA synchronous") { (row) throws(StorageError) in synchronous = row.integer(0) }
        guard synchronous == 2 else {
            throw .volume(detail: "SQLite does not keep synchronous=FULL", during: "open the index")
        }
        try writer.execute(
            "PRAGMA cache_size=-8192; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=33554432")
        try writer.execute(Self.schema)
        var known: [String: [UInt8]] = [:]
        try writer.run("SELECT key, value FROM meta") { (row) throws(StorageError) in
            known[String(decoding: row.bytes(0), as: UTF8.self)] = row.bytes(1)
        }
        let wanted = ["store": id.bytes, "version": [UInt8(Self.version)]]
        if known.isEmpty {
            for (key, value) in wanted {
                try writer.run(
                    "INSERT INTO meta(key, value) VALUES(CAST(?1 AS TEXT), ?2)",
                    [.bytes(Array(key.utf8)), .bytes(value)])
            }
        } else if known != wanted {
            throw .wrongStore(detail: "the index belongs to another store or another version")
        }
        let reader = try Database(path: path, readOnly: true)
        try reader.execute("PRAGMA cache_size=-8192")
        self.writer = Guarded(writer)
        self.reader = Guarded(reader)
    }

    // MARK: Reading

    /// Where slices with this prefix may be.
    func places(prefix: UInt64) throws(StorageError) -> [SlicePlace] {
        try reading { (database) throws(StorageError) in
            var places: [SlicePlace] = []
            try database.run(
                "SELECT blob, place FROM slices WHERE prefix=?1", [.integer(Int64(bitPattern: prefix))]
            ) { (row) throws(StorageError) in
                places.append(SlicePlace(blob: row.integer(0), place: UInt32(truncatingIfNeeded: row.integer(1))))
            }
            return places
        }
    }

    /// Every blob.
    func blobs() throws(StorageError) -> [IndexedBlob] {
        try reading { (database) throws(StorageError) in
            var blobs: [IndexedBlob] = []
            try database.run("SELECT row, name, bytes, slices, frames, epoch FROM blobs") {
                (row) throws(StorageError) in
                guard let name = Digest(bytes: row.bytes(1)) else { throw Self.damaged }
                let raw = row.bytes(4)
                let counts = raw.withUnsafeBytes { bytes in
                    (0..<bytes.count / 4).map {
                        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))
                    }
                }
                blobs.append(
                    IndexedBlob(
                        row: row.integer(0), name: name, byteCount: UInt64(row.integer(2)), frameByteCounts: counts,
                        sliceCount: Int(row.integer(3)), epoch: UInt64(row.integer(5))))
            }
            return blobs
        }
    }

    /// Calls `body` with the prefix of every slice.
    func eachPrefix(_ body: (UInt64) -> Void) throws(StorageError) {
        try reading { (database) throws(StorageError) in
            try database.run("SELECT prefix FROM slices") { (row) throws(StorageError) in
                body(UInt64(bitPattern: row.integer(0)))
            }
        }
    }

    /// The images whose needs are known, with their content digests.
    func images() throws(StorageError) -> [ImageID: Digest] {
        try reading { (database) throws(StorageError) in
            var images: [ImageID: Digest] = [:]
            try database.run("SELECT image, content FROM images") { (row) throws(StorageError) in
                guard let id = ImageID(bytes: row.bytes(0)), let content = Digest(bytes: row.bytes(1)) else {
                    throw Self.damaged
                }
                images[id] = content
            }
            return images
        }
    }

    /// Which image needs what, in no order.
    func eachUse(_ body: (ImageID, Int64, FrameSet) -> Void) throws(StorageError) {
        try reading { (database) throws(StorageError) in
            try database.run("SELECT image, blob, frames FROM uses") { (row) throws(StorageError) in
                guard let id = ImageID(bytes: row.bytes(0)) else { throw Self.damaged }
                body(id, row.integer(1), FrameSet(bytes: row.bytes(2)))
            }
        }
    }

    /// The blobs that an image needs.
    func uses(of image: ImageID) throws(StorageError) -> [Int64] {
        try reading { (database) throws(StorageError) in
            var blobs: [Int64] = []
            try database.run("SELECT blob FROM uses WHERE image=?1", [.bytes(image.bytes)]) {
                (row) throws(StorageError) in
                blobs.append(row.integer(0))
            }
            return blobs
        }
    }

    /// The slices that were found rotten.
    func suspects() throws(StorageError) -> Set<SlicePlace> {
        try reading { (database) throws(StorageError) in
            var places: Set<SlicePlace> = []
            try database.run("SELECT blob, place FROM suspects") { (row) throws(StorageError) in
                places.insert(SlicePlace(blob: row.integer(0), place: UInt32(truncatingIfNeeded: row.integer(1))))
            }
            return places
        }
    }

    /// The seconds that sessions were idle in earlier runs of the agent.
    func idleSeconds() throws(StorageError) -> [SessionID: UInt64] {
        try reading { (database) throws(StorageError) in
            var idle: [SessionID: UInt64] = [:]
            try database.run("SELECT session, seconds FROM idle") { (row) throws(StorageError) in
                guard let id = SessionID(bytes: row.bytes(0)) else { throw Self.damaged }
                idle[id] = UInt64(max(0, row.integer(1)))
            }
            return idle
        }
    }

    // MARK: Writing; each call is one durable transaction

    /// Adds a blob whose file is durable, or takes over its new size and epoch.
    func add(_ name: Digest, byteCount: UInt64, epoch: UInt64, directory: BlobDirectory) throws(StorageError)
        -> IndexedBlob
    {
        var counts = ByteWriter(capacity: directory.frames.count * 4)
        for frame in directory.frames { counts.u32(frame.storedByteCount) }
        return try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                // A blob that is written again keeps its row: images count by it.
                try database.run(
                    """
                    INSERT INTO blobs(name, bytes, slices, frames, epoch) VALUES(?1, ?2, ?3, ?4, ?5)
                    ON CONFLICT(name) DO UPDATE SET bytes=?2, slices=?3, frames=?4, epoch=?5
                    """,
                    [
                        .bytes(name.bytes), .integer(Int64(byteCount)), .integer(Int64(directory.slices.count)),
                        .bytes(counts.bytes), .integer(Int64(bitPattern: epoch)),
                    ])
                var row: Int64 = 0
                try database.run("SELECT row FROM blobs WHERE name=?1", [.bytes(name.bytes)]) {
                    (found) throws(StorageError) in row = found.integer(0)
                }
                try database.run("DELETE FROM suspects WHERE blob=?1", [.integer(row)])
                // In the order of the tree, so that its pages are touched once each.
                let order = directory.slices.indices.sorted {
                    Int64(bitPattern: directory.slices[$0].slice.prefix)
                        < Int64(bitPattern: directory.slices[$1].slice.prefix)
                }
                for place in order {
                    try database.run(
                        "INSERT OR IGNORE INTO slices(prefix, blob, place) VALUES(?1, ?2, ?3)",
                        [
                            .integer(Int64(bitPattern: directory.slices[place].slice.prefix)), .integer(row),
                            .integer(Int64(place)),
                        ])
                }
                return IndexedBlob(
                    row: row, name: name, byteCount: byteCount,
                    frameByteCounts: directory.frames.map(\.storedByteCount),
                    sliceCount: directory.slices.count, epoch: epoch)
            }
        }
    }

    /// Forgets a blob. Without its directory every slice of the index is looked at.
    func remove(_ row: Int64, directory: BlobDirectory?) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                if let directory {
                    for (place, entry) in directory.slices.enumerated() {
                        try database.run(
                            "DELETE FROM slices WHERE prefix=?1 AND blob=?2 AND place=?3",
                            [.integer(Int64(bitPattern: entry.slice.prefix)), .integer(row), .integer(Int64(place))])
                    }
                } else {
                    try database.run("DELETE FROM slices WHERE blob=?1", [.integer(row)])
                }
                try database.run("DELETE FROM suspects WHERE blob=?1", [.integer(row)])
                try database.run("DELETE FROM blobs WHERE row=?1", [.integer(row)])
            }
        }
    }

    /// Takes a blob that is lost out of every answer; its row stays.
    func empty(_ row: Int64) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                try database.run("DELETE FROM slices WHERE blob=?1", [.integer(row)])
                try database.run("UPDATE blobs SET bytes=0 WHERE row=?1", [.integer(row)])
            }
        }
    }

    /// Says what an image needs, instead of what was said before.
    func setUses(of image: ImageID, content: Digest, _ uses: [Int64: FrameSet]) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                try database.run("DELETE FROM uses WHERE image=?1", [.bytes(image.bytes)])
                try database.run(
                    "INSERT OR REPLACE INTO images(image, content) VALUES(?1, ?2)",
                    [.bytes(image.bytes), .bytes(content.bytes)])
                for (blob, frames) in uses.sorted(by: { $0.key < $1.key }) {
                    try database.run(
                        "INSERT INTO uses(image, blob, frames) VALUES(?1, ?2, ?3)",
                        [.bytes(image.bytes), .integer(blob), .bytes(frames.bytes)])
                }
            }
        }
    }

    /// Forgets what an image needed.
    func removeUses(of image: ImageID) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                try database.run("DELETE FROM uses WHERE image=?1", [.bytes(image.bytes)])
                try database.run("DELETE FROM images WHERE image=?1", [.bytes(image.bytes)])
            }
        }
    }

    /// Notes that a slice was found rotten.
    func addSuspect(_ place: SlicePlace) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.run(
                "INSERT OR IGNORE INTO suspects(blob, place) VALUES(?1, ?2)",
                [.integer(place.blob), .integer(Int64(place.place))])
        }
    }

    /// Keeps how long sessions have been idle.
    func setIdle(_ seconds: [SessionID: UInt64]) throws(StorageError) {
        try writing { (database) throws(StorageError) in
            try database.transaction { () throws(StorageError) in
                try database.execute("DELETE FROM idle")
                for (session, value) in seconds {
                    try database.run(
                        "INSERT INTO idle(session, seconds) VALUES(?1, ?2)",
                        [.bytes(session.bytes), .integer(Int64(clamping: value))])
                }
            }
        }
    }

    // MARK: Locks

    private static let damaged = StorageError.volume(detail: "the index is damaged", during: "read the index")

    private func reading<Result>(
        _ body: (Database) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try reader.with { (database) throws(StorageError) in try body(database) }
    }

    private func writing<Result>(
        _ body: (Database) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try writer.with { (database) throws(StorageError) in try body(database) }
    }
}
