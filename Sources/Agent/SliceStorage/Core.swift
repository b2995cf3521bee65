import Blobs
import Model
import Storage

/// A blob that is live: sealed, synced, indexed.
struct BlobRecord {
    var name: Digest
    var byteCount: UInt64
    var frameByteCounts: [UInt32]
    /// How many images need it.
    var users = 0
    /// How many sessions and readers hold it.
    var pins = 0
}

/// A session in memory.
struct SessionState {
    /// The blobs it wrote or was told "have it".
    var pins: Set<Int64> = []
    var isStaging = false
    var isIngesting = false
    /// Monotonic seconds of its last activity.
    var activeAt: UInt64
    /// Seconds without activity in earlier runs of the agent.
    var idleBefore: UInt64 = 0
    /// Bytes that were promised to it and are not yet used.
    var reservedBytes: UInt64 = 0
    /// Bytes staged.
    var stagedBytes: UInt64 = 0
}

/// What the store knows while it is open. Guarded by `SliceStore.core`; nothing in here waits for a sync.
struct Core {
    var blobs: [Int64: BlobRecord] = [:]
    var rows: [Digest: Int64] = [:]
    /// How many images need a blob whose file is lost, by its row.
    var usersOfLost: [Int64: Int] = [:]
    var suspects: Set<SlicePlace> = []
    var images: [ImageID: ImageFacts] = [:]
    /// Manifests that cannot be read: the name in `images`, and why. While there is one, no blob is removed (rule 13).
    var unreadable: [String: String] = [:]
    var sessions: [SessionID: SessionState] = [:]
    /// Removed images and ended sessions whose blobs could not all be looked at yet.
    var leftovers: Set<Leftover> = []
    /// Blobs that answer nothing any more and whose bytes or index rows are still there, by row.
    var condemned: [Int64: Digest] = [:]
    var reservedBytes: UInt64
    var isDegraded = false
    var isClosed = false
    /// Changes with every change of what images need; the answer of `usage` is kept until then.
    var generation: UInt64 = 0
    var reclaimable: (generation: UInt64, bytes: UInt64)?

    // What answers "have it": the filter, and the directories of blobs that had a hit.
    private var filter: SliceFilter
    private var known: LeastRecent<Int64, BlobDirectory>
    private var places: [Digest: SlicePlace] = [:]

    init(sliceCount: Int, reservedBytes: UInt64) {
        filter = SliceFilter(capacity: sliceCount * 2)
        known = LeastRecent(costMax: StoreLimits.directorySlicesMax)
        self.reservedBytes = reservedBytes
    }

    // MARK: Have it?

    /// Where a slice is, if some live blob has it and it is not suspect. A claim of durability (rule 7).
    mutating func find(
        _ slice: Digest, in index: SliceIndex, _ shelf: BlobShelf, except: SlicePlace? = nil
    ) throws(StorageError) -> SlicePlace? {
        if let place = places[slice], place != except, isLive(place) { return place }
        guard filter.mayContain(slice.prefix) else { return nil }
        for place in try index.places(prefix: slice.prefix) where place != except && isLive(place) {
            guard let directory = learn(place.blob, shelf), Int(place.place) < directory.slices.count,
                directory.slices[Int(place.place)].slice == slice
            else { continue }
            return place
        }
        return nil
    }

    private func isLive(_ place: SlicePlace) -> Bool { blobs[place.blob] != nil && !suspects.contains(place) }

    // The directory of a blob with a hit; its neighbours will be asked for next.
    private mutating func learn(_ row: Int64, _ shelf: BlobShelf) -> BlobDirectory? {
        if let directory = known.value(row) { return directory }
        guard let record = blobs[row] else { return nil }
        do throws(BlobShelf.Failure) {
            let directory = try shelf.directory(record.name)
            remember(directory, row)
            return directory
        } catch {
            // A blob whose directory does not read is no answer; verify will say more.
            isDegraded = true
            return nil
        }
    }

    /// Keeps a directory to answer from.
    mutating func remember(_ directory: BlobDirectory, _ row: Int64) {
        let dropped = known.insert(directory, for: row, cost: max(1, directory.slices.count))
        for old in dropped { dropPlaces(of: old) }
        for (number, entry) in directory.slices.enumerated() {
            places[entry.slice] = SlicePlace(blob: row, place: UInt32(number))
        }
    }

    private mutating func dropPlaces(of row: Int64) {
        // Dropping is rare; the map is small.
        places = places.filter { $0.value.blob != row }
    }

    /// Puts the slices of a blob into the filter; it is made anew when it is full.
    mutating func note(_ directory: BlobDirectory, in index: SliceIndex) throws(StorageError) {
        for entry in directory.slices { filter.insert(entry.slice.prefix) }
        if filter.isFull { try refill(from: index) }
    }

    /// Makes the filter from the index.
    mutating func refill(from index: SliceIndex) throws(StorageError) {
        var count = 0
        try index.eachPrefix { _ in count += 1 }
        var fresh = SliceFilter(capacity: count * 2)
        try index.eachPrefix { fresh.insert($0) }
        filter = fresh
    }

    // MARK: Blobs

    /// Makes a blob an answer.
    mutating func publish(_ blob: IndexedBlob) {
        var record = BlobRecord(name: blob.name, byteCount: blob.byteCount, frameByteCounts: blob.frameByteCounts)
        record.users = usersOfLost.removeValue(forKey: blob.row) ?? 0
        if let old = blobs[blob.row] { (record.users, record.pins) = (old.users, old.pins) }
        blobs[blob.row] = record
        rows[blob.name] = blob.row
        condemned[blob.row] = nil
        suspects = suspects.filter { $0.blob != blob.row }
        generation += 1
    }

    /// Takes a blob out of every answer, if nothing needs it.
    /// - Returns: false when an image needs it or someone holds it.
    mutating func condemn(_ row: Int64) -> Bool {
        guard let record = blobs[row] else { return true }
        guard record.users == 0, record.pins == 0 else { return false }
        blobs[row] = nil
        rows[record.name] = nil
        condemned[row] = record.name
        known.remove(row)
        dropPlaces(of: row)
        suspects = suspects.filter { $0.blob != row }
        generation += 1
        return true
    }

    /// Holds a blob for a session; twice is once.
    mutating func pin(_ row: Int64, for session: SessionID) {
        guard sessions[session]?.pins.insert(row).inserted == true else { return }
        blobs[row]?.pins += 1
    }

    /// Lets go of all that a session held, and forgets the session.
    mutating func end(_ session: SessionID) {
        guard let state = sessions.removeValue(forKey: session) else { return }
        for row in state.pins { blobs[row]?.pins -= 1 }
    }

    /// True when a slice of the blob was found rotten.
    func hasSuspects(_ row: Int64) -> Bool { suspects.contains { $0.blob == row } }

    /// Marks that a session did something.
    mutating func touch(_ session: SessionID, at seconds: UInt64) {
        sessions[session]?.activeAt = seconds
        sessions[session]?.idleBefore = 0
    }

    /// Promised to all sessions but this one.
    func reservedByOthers(than session: SessionID?) -> UInt64 {
        sessions.reduce(0) { $0 + ($1.key == session ? 0 : $1.value.reservedBytes) }
    }
}

/// Something that ended, and may have blobs that only it needed.
enum Leftover: Hashable {
    /// The number tells several removals of the same id apart.
    case image(ImageID, Int)
    case session(SessionID)
}
