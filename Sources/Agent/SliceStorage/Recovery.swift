import Blobs
import Model
import Storage
import Volumes

/// Brings a store into order when it is opened: reads the manifests, then makes the index agree with manifests and blobs
/// (rule 2), and removes temporaries (rule 4). Its work is bounded by the number of images, blobs and open sessions;
/// slices are only read for blobs that the index does not know. Doing it twice is doing it once (rule 14).
struct Recovery {
    let volume: any Volume
    let index: SliceIndex
    let shelf: BlobShelf
    let epoch: UInt64
    let now: UInt64
    let reservedBytes: UInt64

    func run() throws(StorageError) -> Core {
        let known = try index.blobs()
        var core = Core(sliceCount: known.reduce(0) { $0 + $1.sliceCount }, reservedBytes: reservedBytes)
        try readImages(&core)
        try readBlobs(known, &core)
        try core.refill(from: index)
        core.suspects = try index.suspects().filter { core.blobs[$0.blob] != nil }
        try readUses(&core)
        try readSessions(&core)
        return core
    }

    // Manifests first: they alone say which images exist.
    private func readImages(_ core: inout Core) throws(StorageError) {
        let names = try during("list the images") { () throws(VolumeError) in try volume.list(StorePaths.images) }
        for name in names {
            let path = StorePaths.images + "/" + name
            if name.hasSuffix(StorePaths.temporarySuffix) {
                try during("remove a temporary") { () throws(VolumeError) in try volume.unlink(path) }
            } else if name.hasSuffix(StorePaths.removedSuffix) {
                if let (id, number) = StorePaths.removedImage(parsing: name) {
                    core.leftovers.insert(.image(id, number))
                }
            } else if let id = try? ImageID(parsing: name) {
                do throws(ManifestFailure) {
                    let facts = try ManifestReader(volume, path).tail.facts
                    guard facts.declaration.id == id else {
                        throw .malformed(MalformedBytes("the manifest is that of image \(facts.declaration.id)", at: 0))
                    }
                    core.images[id] = facts
                } catch { core.unreadable[name] = error.words }
            } else {
                // A name that we never give: someone put it there. It is not ours to read or remove.
                continue
            }
        }
    }

    // Then the blobs: files without a row are indexed, rows without their file are dropped.
    private func readBlobs(_ known: [IndexedBlob], _ core: inout Core) throws(StorageError) {
        var missing = Dictionary(known.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for number in 0..<256 {
            let directory = StorePaths.fanOut(number)
            let names = try during("list the blobs") { () throws(VolumeError) -> [String] in
                try volume.facts(directory) == nil ? [] : try volume.list(directory)
            }
            for text in names {
                guard let raw = Hex.decode(text), let name = Digest(bytes: raw), text == name.hex else { continue }
                let size = try during("look at a blob") { () throws(VolumeError) in
                    try volume.facts(directory + "/" + text)?.byteCount ?? 0
                }
                if let row = missing[name], row.byteCount == size {
                    missing[name] = nil
                    core.publish(row)
                    if row.epoch > epoch { throw Self.later(name, row.epoch) }
                } else if let row = try adopt(name) {
                    missing[name] = nil
                    core.publish(row)
                } else {
                    core.isDegraded = true
                }
            }
        }
        // A blob that is lost keeps its row: images count by it, and the blob may come back.
        for row in missing.values where row.byteCount > 0 {
            try index.empty(row.row)
            core.isDegraded = true
        }
    }

    // A blob that the index does not know: sealed right before a crash, or the index was lost.
    private func adopt(_ name: Digest) throws(StorageError) -> IndexedBlob? {
        let loaded: BlobShelf.Loaded
        do throws(BlobShelf.Failure) { loaded = try shelf.load(name) } catch {
            // It is left for verify to report; nothing is answered from it.
            return nil
        }
        guard loaded.trailer.epoch <= epoch else { throw Self.later(name, loaded.trailer.epoch) }
        return try index.add(
            name, byteCount: loaded.byteCount, epoch: loaded.trailer.epoch, directory: loaded.directory)
    }

    private static func later(_ name: Digest, _ epoch: UInt64) -> StorageError {
        .storeInUse(detail: "blob \(name.hex) was written in epoch \(epoch), which is later than the marker's")
    }

    // Then what each image needs: manifests decide, the index follows.
    private func readUses(_ core: inout Core) throws(StorageError) {
        let known = try index.images()
        for (id, _) in known where core.images[id] == nil && core.unreadable[id.description] == nil {
            // Neither removed nor there: an ingest that did not come to its rename. A removed one is swept later.
            let isRemoved = core.leftovers.contains {
                if case .image(id, _) = $0 { true } else { false }
            }
            if !isRemoved { try index.removeUses(of: id) }
        }
        for (id, facts) in core.images where known[id] != facts.contentDigest {
            do throws(ManifestFailure) {
                let reader = try ManifestReader(volume, StorePaths.image(id))
                let uses = try ImageUses(reader, shelf: shelf, rows: core.rows)
                if !uses.missing.isEmpty { core.isDegraded = true }
                try Self.set(uses, of: id, content: facts.contentDigest, in: index)
            } catch {
                core.images[id] = nil
                core.unreadable[id.description] = error.words
            }
        }
        var counts: [Int64: Int] = [:]
        let living = Set(core.images.keys)
        let unreadable = Set(core.unreadable.keys)
        try index.eachUse { id, row, _ in
            if living.contains(id) || unreadable.contains(id.description) { counts[row, default: 0] += 1 }
        }
        for (row, count) in counts {
            if core.blobs[row] == nil {
                core.isDegraded = true
                core.usersOfLost[row] = count
            } else {
                core.blobs[row]?.users = count
            }
        }
    }

    private static func set(
        _ uses: ImageUses, of id: ImageID, content: Digest, in index: SliceIndex
    ) throws(ManifestFailure) {
        do throws(StorageError) {
            try index.setUses(of: id, content: content, uses.frames)
        } catch { throw .malformed(MalformedBytes("the index takes what the image needs: \(error)", at: 0)) }
    }

    // Then the sessions: their blobs stay pinned, their half-written blobs go.
    private func readSessions(_ core: inout Core) throws(StorageError) {
        let idle = try index.idleSeconds()
        let names = try during("list the sessions") { () throws(VolumeError) in try volume.list(StorePaths.sessions) }
        for name in names {
            if name.hasSuffix(StorePaths.endedSuffix) {
                let stem = String(name.dropLast(StorePaths.endedSuffix.utf8.count))
                if let id = try? SessionID(parsing: stem) { core.leftovers.insert(.session(id)) }
                continue
            }
            guard let id = try? SessionID(parsing: name) else { continue }
            let directory = StorePaths.session(id)
            var state = SessionState(activeAt: now, idleBefore: idle[id] ?? 0)
            try during("read a session") { () throws(VolumeError) in
                for entry in try volume.list(directory) where entry.hasSuffix(StorePaths.temporarySuffix) {
                    try volume.unlink(directory + "/" + entry)
                }
                state.stagedBytes = try volume.facts(directory + "/" + StorePaths.stagedName)?.allocatedBytes ?? 0
            }
            core.sessions[id] = state
            let journal = try Journal.read(volume, path: directory + "/" + StorePaths.journalName, session: id)
            for blob in journal.blobs {
                if let row = core.rows[blob] { core.pin(row, for: id) }
            }
        }
    }
}

/// Which frames of which blobs an image needs.
struct ImageUses {
    var frames: [Int64: FrameSet] = [:]
    /// Blobs that are named but not here, or whose directories do not have the slices.
    var missing: Set<Digest> = []

    init(_ reader: ManifestReader, shelf: BlobShelf, rows: [Digest: Int64]) throws(ManifestFailure) {
        for entry in reader.tail.segments.indices {
            for extent in try reader.extents(ofEntry: entry) {
                let name = reader.tail.blobs[Int(extent.blob)]
                guard !missing.contains(name) else { continue }
                guard let row = rows[name], let directory = try? shelf.directory(name),
                    let frame = directory.frame(ofPlace: Int(extent.place))
                else {
                    missing.insert(name)
                    continue
                }
                frames[row, default: FrameSet(frameCount: directory.frames.count)].insert(frame)
            }
        }
    }
}
