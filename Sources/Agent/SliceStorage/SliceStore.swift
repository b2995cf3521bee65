// SliceStorage: a store of images as slices on a disk.
//
// Hides: slices, blobs, the index, the journal of sessions, and every path below the mount.
// Invariants: an image that was acknowledged is durable and reads back exactly; what was not is invisible; no error of a
// sync is ever retried on the same file; the store never begins anew by itself. docs/store.md has the rules by number.
// Is not: aware of the wire, of jobs, of URLs or of image formats. All calls block.
import DiskImage
import Model
import Storage
import Volumes

/// What an agent decides about a store that it opens.
package struct StoreOptions: Sendable {
    /// Tells the time for `storedAt`.
    package var wallClock: WallClock
    /// Seconds that only pass while the host runs; sessions are idle in these.
    package var monotonicSeconds: @Sendable () -> UInt64
    /// Bytes that stay free for the admin.
    package var reservedBytes: UInt64
    /// How many threads an ingest uses: 1 to 32; the cores of the host, usually.
    package var workerCount: Int
    /// The host's directory for the index; nil: beside the blobs, as it should be.
    package var indexDirectory: String?
    /// Bytes of decoded frames that are kept for readers.
    package var frameCacheBytes: Int

    /// Creates options.
    package init(
        wallClock: WallClock, monotonicSeconds: @escaping @Sendable () -> UInt64, reservedBytes: UInt64 = 0,
        workerCount: Int, indexDirectory: String? = nil, frameCacheBytes: Int = 64 << 20
    ) {
        self.wallClock = wallClock
        self.monotonicSeconds = monotonicSeconds
        self.reservedBytes = reservedBytes
        self.workerCount = min(max(workerCount, 1), StoreLimits.workerCountMax)
        self.indexDirectory = indexDirectory
        self.frameCacheBytes = frameCacheBytes
    }
}

/// The store on a disk of this host. Made by `open`; see `Storage.ImageStore` for what it does.
package final class SliceStore: ImageStore, Sendable {
    /// The id in the store's marker.
    package var id: StoreID { marker.id }
    /// The marker as this agent wrote it: its epoch is ours.
    package let marker: StoreMarker
    let volume: any Volume
    let index: SliceIndex
    let shelf: BlobShelf
    let options: StoreOptions
    let core: Guarded<Core>
    /// Held while names of blobs, manifests and sessions change, so that a removal and a seal never meet.
    let mutation = Guarded(())
    /// Calls that `close` waits for.
    let running = Monitor(0)
    private let lock: any VolumeLock

    init(
        marker: StoreMarker, volume: any Volume, index: SliceIndex, shelf: BlobShelf, options: StoreOptions, core: Core,
        lock: any VolumeLock
    ) {
        self.marker = marker
        self.volume = volume
        self.index = index
        self.shelf = shelf
        self.options = options
        self.core = Guarded(core)
        self.lock = lock
    }

    /// True once a file system call failed in a way that calls for an admin's eye; reads and retries go on.
    package var isDegraded: Bool { core.with { $0.isDegraded } }

    // MARK: Images

    /// Every image, by id.
    package func images() throws(StorageError) -> [ImageFacts] {
        try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            if let (name, why) = core.unreadable.min(by: { $0.key < $1.key }) {
                throw .corrupt(try? ImageID(parsing: name), detail: "the manifest images/\(name): \(why)")
            }
            return core.images.values.sorted { $0.declaration.id < $1.declaration.id }
        }
    }

    /// One image.
    package func image(_ id: ImageID) throws(StorageError) -> ImageFacts {
        try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            if let facts = core.images[id] { return facts }
            if let why = core.unreadable[id.description] { throw .corrupt(id, detail: "the manifest: \(why)") }
            throw .imageNotFound(id)
        }
    }

    /// The guest's disk of an image. While it is held, its bytes stay, even when the image is removed.
    package func open(_ id: ImageID) throws(StorageError) -> any GuestDisk { try openDisk(id) }

    func openDisk(_ id: ImageID) throws(StorageError) -> StoredDisk {
        _ = try image(id)
        let reader = try readManifest(id, StorePaths.image(id))
        let rows = core.with { core in
            let rows = Set(reader.tail.blobs.compactMap { core.rows[$0] })
            for row in rows { core.blobs[row]?.pins += 1 }
            return rows
        }
        return StoredDisk(
            image: id, manifest: reader, shelf: shelf,
            another: { [weak self] slice, name, place in self?.another(slice, after: name, place) },
            onClose: { [weak self] in self?.release(rows) })
    }

    private func release(_ rows: Set<Int64>) {
        let hasLeftovers = core.with { core in
            for row in rows { core.blobs[row]?.pins -= 1 }
            return !core.leftovers.isEmpty && !core.isClosed
        }
        // What cannot go now goes at the next removal or the next start.
        if hasLeftovers { try? sweep() }
    }

    // A slice was found rotten: it is no answer any more; perhaps another blob has it, too.
    private func another(_ slice: Digest, after name: Digest, _ place: Int) -> (blob: Digest, place: Int)? {
        let found: (SlicePlace, (Digest, Int)?)? = core.with { core in
            guard let row = core.rows[name] else { return nil }
            let bad = SlicePlace(blob: row, place: UInt32(place))
            core.suspects.insert(bad)
            core.isDegraded = true
            guard let other = try? core.find(slice, in: index, shelf, except: bad), let record = core.blobs[other.blob]
            else { return (bad, nil) }
            return (bad, (record.name, Int(other.place)))
        }
        guard let found else { return nil }
        // The suspicion is found again by the next read if it cannot be written now.
        try? index.addSuspect(found.0)
        return found.1.map { (blob: $0.0, place: $0.1) }
    }

    /// Changes name and description.
    package func update(_ id: ImageID, name: String, description: String) throws(StorageError) -> ImageFacts {
        try mutation.with { (_) throws(StorageError) in
            var facts = try image(id)
            guard facts.declaration.name != name || facts.declaration.description != description else { return facts }
            try checkEpoch()
            let reader = try readManifest(id, StorePaths.image(id))
            facts.declaration.name = name
            facts.declaration.description = description
            let temporary = StorePaths.updateTemporary(id)
            do throws(StorageError) {
                try copy(reader, with: facts, to: temporary)
                try during("publish the manifest") { () throws(VolumeError) in
                    try volume.rename(temporary, to: StorePaths.image(id))
                    try volume.syncDirectory(StorePaths.images)
                }
            } catch {
                try? volume.unlink(temporary)
                throw degrade(error)
            }
            let changed = facts
            core.with { $0.images[id] = changed }
            return changed
        }
    }

    private func copy(_ reader: ManifestReader, with facts: ImageFacts, to path: String) throws(StorageError) {
        let writer = try during("write the manifest") { () throws(VolumeError) in
            try ManifestWriter(volume, path, slicingVersion: reader.tail.slicingVersion)
        }
        for (number, entry) in reader.tail.segments.enumerated() {
            let block: [UInt8]
            do throws(ManifestFailure) {
                block = try reader.block(ofEntry: number)
            } catch { throw .corrupt(facts.declaration.id, detail: "the manifest: \(error.words)") }
            guard Digest.sha256(block) == entry.digest else {
                throw .corrupt(facts.declaration.id, detail: "segment \(entry.number) of the manifest is damaged")
            }
            try during("write the manifest") { () throws(VolumeError) in
                try writer.append(block: block, number: entry.number)
            }
        }
        try during("write the manifest") { () throws(VolumeError) in
            try writer.finish(facts: facts, guestFacts: reader.tail.guestFacts, blobs: reader.tail.blobs)
        }
    }

    // MARK: What all calls share

    func readManifest(_ id: ImageID, _ path: String) throws(StorageError) -> ManifestReader {
        do throws(ManifestFailure) {
            return try ManifestReader(volume, path)
        } catch { throw .corrupt(id, detail: "the manifest: \(error.words)") }
    }

    static func checkOpen(_ core: Core) throws(StorageError) {
        if core.isClosed { throw .volume(detail: "the store is closed", during: "use the store") }
    }

    func checkOpen() throws(StorageError) { try core.with { (core) throws(StorageError) in try Self.checkOpen(core) } }

    /// Remembers that the file system failed (rule 5), and hands the error on.
    func degrade(_ error: StorageError) -> StorageError {
        if case .volume = error { core.with { $0.isDegraded = true } }
        return error
    }

    /// Rules 10 and 11: the marker is still ours, and no other agent raised the epoch.
    func checkEpoch() throws(StorageError) {
        let found = try SliceStore.readMarker(volume)
        guard found.id == marker.id else {
            throw .wrongStore(detail: "the marker now names store \(found.id) instead of \(marker.id)")
        }
        guard found.epoch == marker.epoch else {
            core.with { $0.isDegraded = true }
            throw .storeInUse(detail: "another agent opened the store: epoch \(found.epoch), ours is \(marker.epoch)")
        }
    }

    /// Bytes that stay free for the admin.
    package func setReserved(bytes: UInt64) throws(StorageError) {
        try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            core.reservedBytes = bytes
        }
    }

    /// Checks that `bytes` more can be taken (rule 12).
    /// - Parameter session: its own promise does not count against it.
    func admit(_ bytes: UInt64, for session: SessionID?) throws(StorageError) {
        let space = try during("ask for space") { () throws(VolumeError) in try volume.space() }
        let kept = core.with { $0.reservedBytes &+ $0.reservedByOthers(than: session) }
        let available = space.availableBytes > kept ? space.availableBytes - kept : 0
        guard bytes <= available else { throw .noSpace(neededBytes: bytes, availableBytes: available) }
    }

    /// Fills in the figures of a full disk.
    func withFigures(_ error: StorageError, needing bytes: UInt64) -> StorageError {
        guard case .noSpace(0, _) = error, let space = try? volume.space() else { return error }
        let kept = core.with { $0.reservedBytes }
        return .noSpace(
            neededBytes: bytes, availableBytes: space.availableBytes > kept ? space.availableBytes - kept : 0)
    }

    /// Finishes what runs and closes; later calls fail.
    package func close() {
        let wasOpen = core.with { core in
            defer { core.isClosed = true }
            return !core.isClosed
        }
        running.wait { $0 == 0 ? () : nil }
        guard wasOpen else { return }
        keepIdle()
        lock.release()
    }
}
