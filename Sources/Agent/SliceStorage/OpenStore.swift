import Blobs
import Model
import Storage
import Volumes

extension SliceStore {
    /// The directory of a store below its mount path.
    package static let directoryName = "lamina"

    /// Makes a new store in the directory `lamina` of `mountPath`. The marker is written last: without it there is no store.
    /// - Parameter fileSystem: the file system's UUID; empty when it is not known.
    /// - Throws: `.wrongStore` when something is there already.
    package static func format(
        mountPath: String, id: StoreID, fileSystem: String, compressionLevel: Int = 3, at time: Timestamp
    ) throws(StorageError) {
        let volume = try during("open the mount path") { () throws(VolumeError) in
            let mount = try PosixVolume(hostPath: mountPath)
            if try mount.facts(directoryName) == nil {
                try mount.makeDirectory(directoryName)
                try mount.syncDirectory("")
            }
            return try PosixVolume(hostPath: mountPath + "/" + directoryName)
        }
        try format(volume, id: id, fileSystem: fileSystem, compressionLevel: compressionLevel, at: time)
    }

    /// Makes a new store at the root of `volume`.
    package static func format(
        _ volume: any Volume, id: StoreID, fileSystem: String, compressionLevel: Int = 3, at time: Timestamp
    ) throws(StorageError) {
        let marker = StoreMarker(
            id: id, fileSystem: fileSystem, slicingVersion: SliceLimits.slicingVersion,
            compressionLevel: compressionLevel, createdAt: time, epoch: 0)
        try refuseToFormat(volume)
        try during("make the store") { () throws(VolumeError) in
            for path in [StorePaths.blobs, StorePaths.images, StorePaths.sessions, StorePaths.exports] {
                try ensureDirectory(volume, path)
            }
            for number in 0..<256 { try ensureDirectory(volume, StorePaths.fanOut(number)) }
            try volume.syncDirectory(StorePaths.blobs)
            try volume.syncDirectory("")
        }
        // A small disk may have no room for it; the store says so when it is opened.
        try? makeReserve(volume)
        try during("write the marker") { () throws(VolumeError) in
            try volume.replace(StorePaths.marker, with: marker.encoded(), temporary: StorePaths.markerTemporary)
        }
    }

    // Formatting again after an interruption is fine; formatting over anything of worth is not.
    private static func refuseToFormat(_ volume: any Volume) throws(StorageError) {
        let found = try during("look at the directory") { () throws(VolumeError) -> String? in
            let names = try volume.list("")
            if names.contains(StorePaths.marker) { return "a store is there already" }
            for directory in [StorePaths.images, StorePaths.sessions, StorePaths.exports]
            where names.contains(directory) {
                if try !volume.list(directory).isEmpty { return "\(directory) is not empty, but the marker is missing" }
            }
            for number in 0..<256 where names.contains(StorePaths.blobs) {
                let path = StorePaths.fanOut(number)
                if try volume.facts(path) != nil, try !volume.list(path).isEmpty {
                    return "\(path) is not empty, but the marker is missing"
                }
            }
            return nil
        }
        if let found { throw .wrongStore(detail: found) }
    }

    private static func ensureDirectory(_ volume: any Volume, _ path: String) throws(VolumeError) {
        if let facts = try volume.facts(path) {
            guard facts.kind == .directory else { throw VolumeError(call: "mkdir", path: path, errno: 20) }
            return
        }
        try volume.makeDirectory(path)
    }

    /// Makes the file whose bytes only cleanup and metadata may use, if it is not there.
    static func makeReserve(_ volume: any Volume) throws(VolumeError) {
        if let facts = try volume.facts(StorePaths.reserve), facts.allocatedBytes >= StoreLimits.reserveByteCount {
            return
        }
        if try volume.facts(StorePaths.reserve) != nil { try volume.unlink(StorePaths.reserve) }
        let file = try volume.open(StorePaths.reserve, .create)
        do throws(VolumeError) {
            try file.allocate(from: 0, count: StoreLimits.reserveByteCount)
            try file.close()
        } catch {
            try? volume.unlink(StorePaths.reserve)
            throw error
        }
    }

    /// Reads and checks the marker, and nothing else: what `retrieve` asks first.
    package static func readMarker(_ volume: any Volume) throws(StorageError) -> StoreMarker {
        let bytes = try during("read the marker") { () throws(VolumeError) -> [UInt8]? in
            guard try volume.facts(StorePaths.marker) != nil else { return nil }
            return try volume.readAll(StorePaths.marker, byteCountMax: StoreLimits.markerByteCountMax)
        }
        guard let bytes else {
            throw .wrongStore(
                detail: "the marker \(volume.hostPath)/\(StorePaths.marker) is missing: is the disk mounted?")
        }
        do throws(StoreMarker.Refusal) {
            return try StoreMarker(decoding: bytes)
        } catch {
            switch error {
            case .tooNew(let format): throw .formatTooNew(found: format, supported: StoreMarker.formatVersion)
            case .malformed(let why): throw .wrongStore(detail: "the marker is damaged: \(why)")
            }
        }
    }

    /// Opens the store in the directory `lamina` of `mountPath`; see `open(_:expecting:fileSystem:options:)`.
    package static func open(
        mountPath: String, expecting id: StoreID?, fileSystem: String?, options: StoreOptions
    ) throws(StorageError) -> SliceStore {
        let root = mountPath + "/" + directoryName
        let volume: PosixVolume
        do throws(VolumeError) {
            volume = try PosixVolume(hostPath: root)
        } catch {
            if error.isNotFound { throw .wrongStore(detail: "\(root) is missing: is the disk mounted?") }
            throw .failed(error, during: "open the store")
        }
        return try open(volume, expecting: id, fileSystem: fileSystem, options: options)
    }

    /// Opens a store: checks its identity before anything is written, takes it for this process, raises the epoch, and
    /// brings what a crash left into order (rules 2, 4, 6, 10, 11, 14).
    /// - Parameters:
    ///   - id: the store that must be here; nil when any store is welcome ("retrieve existing images").
    ///   - fileSystem: the UUID of the file system as it is found now; nil or empty when it is not known.
    /// - Throws: `.wrongStore`, `.formatTooNew`, `.storeInUse`; nothing was written then.
    package static func open(
        _ volume: any Volume, expecting id: StoreID?, fileSystem: String?, options: StoreOptions
    ) throws(StorageError) -> SliceStore {
        _ = try checkedMarker(volume, expecting: id, fileSystem: fileSystem)
        guard let lock = try during("lock the store", { () throws(VolumeError) in try volume.lockRoot() }) else {
            throw .storeInUse(detail: "another process has \(volume.hostPath) open")
        }
        do throws(StorageError) {
            // Again with the lock held: it may have changed hands in between.
            var marker = try checkedMarker(volume, expecting: id, fileSystem: fileSystem)
            marker.epoch += 1
            let raised = marker.encoded()
            try during("raise the epoch") { () throws(VolumeError) in
                try volume.replace(StorePaths.marker, with: raised, temporary: StorePaths.markerTemporary)
            }
            let index = try openIndex(volume, marker, options)
            let shelf = BlobShelf(volume: volume, frameCacheByteCount: options.frameCacheBytes)
            let core = try Recovery(
                volume: volume, index: index, shelf: shelf, epoch: marker.epoch, now: options.monotonicSeconds(),
                reservedBytes: options.reservedBytes
            ).run()
            let store = SliceStore(
                marker: marker, volume: volume, index: index, shelf: shelf, options: options, core: core, lock: lock)
            // On a full disk the store opens without; deletes try again.
            try? makeReserve(volume)
            try? store.sweep()
            return store
        } catch {
            lock.release()
            throw error
        }
    }

    private static func checkedMarker(
        _ volume: any Volume, expecting id: StoreID?, fileSystem: String?
    ) throws(StorageError) -> StoreMarker {
        let marker = try readMarker(volume)
        if let id, marker.id != id {
            throw .wrongStore(detail: "store \(marker.id) is here, \(id) was expected")
        }
        if let fileSystem, !fileSystem.isEmpty, !marker.fileSystem.isEmpty, fileSystem != marker.fileSystem {
            throw .wrongStore(
                detail:
                    "the store was made on file system \(marker.fileSystem), this one is \(fileSystem): is it a copy?")
        }
        guard marker.slicingVersion == SliceLimits.slicingVersion else {
            throw .formatTooNew(found: Int(marker.slicingVersion), supported: Int(SliceLimits.slicingVersion))
        }
        return marker
    }

    // The index is derived: one that is damaged, of another store or of another version is made again.
    private static func openIndex(
        _ volume: any Volume, _ marker: StoreMarker, _ options: StoreOptions
    ) throws(StorageError) -> SliceIndex {
        let path = (options.indexDirectory ?? volume.hostPath) + "/" + StorePaths.index
        do throws(StorageError) {
            return try SliceIndex(path: path, store: marker.id)
        } catch {
            if error.isNoSpace { throw error }
            try removeIndex(volume, options)
            return try SliceIndex(path: path, store: marker.id)
        }
    }

    /// Removes the index's files; the next opening makes them again.
    static func removeIndex(_ volume: any Volume, _ options: StoreOptions) throws(StorageError) {
        try during("remove the index") { () throws(VolumeError) in
            let place: any Volume = try options.indexDirectory.map(PosixVolume.init(hostPath:)) ?? volume
            for suffix in ["", "-wal", "-shm"] where try place.facts(StorePaths.index + suffix) != nil {
                try place.unlink(StorePaths.index + suffix)
            }
        }
    }
}
