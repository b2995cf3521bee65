import Blobs
import DiskImage
import Model
import Storage
import Volumes

extension SliceStore {
    /// Takes a disk in as an image and makes it durable. docs/store.md, "Ingest pipeline"; the order is rule 1.
    package func ingest(
        _ session: SessionID, as declaration: ImageDeclaration, from disk: any GuestDisk, sourceDigest: Digest?,
        sourceSizeBytes: UInt64, control: IngestControl
    ) throws(StorageError) -> ImageFacts {
        try checkOpen()
        let source = Source(declaration: declaration, digest: sourceDigest, byteCount: sourceSizeBytes)
        if let facts = try existing(source) {
            // The earlier call came as far as the manifest, but perhaps not to the end of its session.
            try endIfIdle(session)
            return facts
        }
        guard disk.virtualSizeBytes <= SliceLimits.virtualByteCountMax else {
            throw .source(
                .tooLarge(virtualSizeBytes: disk.virtualSizeBytes, limitBytes: SliceLimits.virtualByteCountMax))
        }
        try ensureSession(session)
        try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            if core.sessions[session]?.isIngesting == true { throw .sessionBusy(session) }
            core.sessions[session]?.isIngesting = true
        }
        running.change { $0 += 1 }
        defer { running.change { $0 -= 1 } }
        let facts: ImageFacts
        do throws(StorageError) {
            facts = try store(session, source, disk, control)
        } catch {
            let now = options.monotonicSeconds()
            core.with { core in
                core.sessions[session]?.isIngesting = false
                core.touch(session, at: now)
            }
            try? volume.unlink(StorePaths.imageTemporary(session))
            throw withFigures(error, needing: 0)
        }
        core.with { $0.sessions[session]?.isIngesting = false }
        // The image is durable: whatever stops the session's end is finished at the next start.
        try? endIfIdle(session)
        return facts
    }

    private struct Source {
        var declaration: ImageDeclaration
        var digest: Digest?
        var byteCount: UInt64
    }

    // The answer for an image that is there already: the same facts, or a refusal.
    private func existing(_ source: Source) throws(StorageError) -> ImageFacts? {
        try core.with { (core) throws(StorageError) in
            let id = source.declaration.id
            if core.unreadable[id.description] != nil { throw .imageExists(id) }
            guard let facts = core.images[id] else { return nil }
            // Name and description may have been changed since; what cannot change tells whether it is the same call.
            let (old, new) = (facts.declaration, source.declaration)
            guard old.type == new.type, old.format == new.format, old.createdAt == new.createdAt,
                facts.sourceDigest == source.digest, facts.sourceSizeBytes == source.byteCount
            else { throw .imageExists(id) }
            return facts
        }
    }

    private func endIfIdle(_ session: SessionID) throws(StorageError) {
        let isThere = core.with { core in
            guard let state = core.sessions[session] else { return false }
            return !state.isIngesting
        }
        if isThere { try endSession(session) }
    }

    private func store(
        _ session: SessionID, _ source: Source, _ disk: any GuestDisk, _ control: IngestControl
    ) throws(StorageError) -> ImageFacts {
        try removeBlobTemporaries(session)
        let temporary = StorePaths.imageTemporary(session)
        let writer = try during("write the manifest") { () throws(VolumeError) in
            try ManifestWriter(volume, temporary, slicingVersion: SliceLimits.slicingVersion)
        }
        let run = IngestRun(self, session: session, disk: disk, manifest: writer, control: control)
        let outcome = try run.run()
        guard let names = run.table.names() else {
            throw .corrupt(source.declaration.id, detail: "a blob of the ingest was not sealed")
        }
        let facts = ImageFacts(
            declaration: source.declaration, virtualSizeBytes: disk.virtualSizeBytes,
            referencedBytes: outcome.figures.referencedBytes, storedBytes: try madeBytes(session, names),
            contentDigest: outcome.contentDigest, sourceDigest: source.digest, sourceSizeBytes: source.byteCount,
            storedAt: options.wallClock.now())
        do throws(VolumeError) {
            try writer.finish(facts: facts, guestFacts: [], blobs: names)
        } catch { throw degrade(.failed(error, during: "write the manifest")) }
        if control.isCancelled() { throw .cancelled }
        try commit(facts, temporary)
        return facts
    }

    // What an earlier run of this session left half written.
    private func removeBlobTemporaries(_ session: SessionID) throws(StorageError) {
        let directory = StorePaths.session(session)
        try during("remove temporaries") { () throws(VolumeError) in
            for name in try volume.list(directory) where name.hasPrefix(".blob-") {
                try volume.unlink(directory + "/" + name)
            }
        }
    }

    // The bytes of the blobs that this session made and the image needs.
    private func madeBytes(_ session: SessionID, _ names: [Digest]) throws(StorageError) -> UInt64 {
        let path = StorePaths.session(session) + "/" + StorePaths.journalName
        let made = try Journal.read(volume, path: path, session: session).blobs
        return core.with { core in
            Set(names).intersection(made).reduce(0) { $0 + (core.rows[$1].flatMap { core.blobs[$0] }?.byteCount ?? 0) }
        }
    }

    // Rule 8, then the last three steps of rule 1.
    private func commit(_ facts: ImageFacts, _ temporary: String) throws(StorageError) {
        let id = facts.declaration.id
        let reader = try readManifest(id, temporary)
        let uses = try checked(reader, facts)
        try mutation.with { (_) throws(StorageError) in
            try checkEpoch()
            // Another session may have committed the same image meanwhile.
            try core.with { (core) throws(StorageError) in
                if core.images[id] != nil { throw .imageExists(id) }
                for row in uses.keys where core.blobs[row] == nil {
                    throw .corrupt(id, detail: "a blob of the image is not live any more: send it again")
                }
            }
            do throws(StorageError) {
                try index.setUses(of: id, content: facts.contentDigest, uses)
                try publish(temporary, id)
            } catch { throw degrade(error) }
            core.with { core in
                core.images[id] = facts
                for row in uses.keys { core.blobs[row]?.users += 1 }
                core.generation += 1
            }
        }
    }

    // When the sync fails, the manifest must not stay: a crash could show an image whose blobs an abandoned session took
    // along. If it cannot be taken back, no blob is removed any more until the store is opened again.
    private func publish(_ temporary: String, _ id: ImageID) throws(StorageError) {
        let path = StorePaths.image(id)
        try during("publish the manifest") { () throws(VolumeError) in
            try volume.rename(temporary, to: path)
            do throws(VolumeError) { try volume.syncDirectory(StorePaths.images) } catch {
                do throws(VolumeError) {
                    try volume.rename(path, to: temporary)
                    try volume.syncDirectory(StorePaths.images)
                } catch {
                    core.with { $0.unreadable[id.description] = "its publication failed: \(error)" }
                }
                throw error
            }
        }
    }

    /// Reads the manifest back as it was written, and compares every slice with the directory of its blob: count, size and
    /// digest are computed again.
    /// - Returns: the frames that the image needs.
    private func checked(_ reader: ManifestReader, _ facts: ImageFacts) throws(StorageError) -> [Int64: FrameSet] {
        let id = facts.declaration.id
        var content = ContentHasher(
            slicingVersion: reader.tail.slicingVersion, virtualSizeBytes: facts.virtualSizeBytes)
        var bytes: UInt64 = 0
        var uses: [Int64: FrameSet] = [:]
        let rows = core.with { core in reader.tail.blobs.map { core.rows[$0] } }
        let suspects = core.with { $0.suspects }
        for entry in reader.tail.segments.indices {
            let extents: [SliceExtent]
            do throws(ManifestFailure) { extents = try reader.extents(ofEntry: entry) } catch {
                throw .corrupt(id, detail: "the manifest that was just written: \(error.words)")
            }
            for extent in extents {
                content.add(extent)
                bytes += UInt64(extent.byteCount)
                let (blob, place) = (Int(extent.blob), Int(extent.place))
                guard let row = rows[blob], !suspects.contains(SlicePlace(blob: row, place: extent.place)) else {
                    throw .corrupt(id, detail: "slice \(extent.slice.hex) is not live any more: send it again")
                }
                let directory: BlobDirectory
                do throws(BlobShelf.Failure) { directory = try shelf.directory(reader.tail.blobs[blob]) } catch {
                    throw .corrupt(id, detail: error.words)
                }
                guard place < directory.slices.count, directory.slices[place].slice == extent.slice,
                    directory.slices[place].byteCount == extent.byteCount, let frame = directory.frame(ofPlace: place)
                else { throw .corrupt(id, detail: "slice \(extent.slice.hex) is not where the manifest says") }
                uses[row, default: FrameSet(frameCount: directory.frames.count)].insert(frame)
            }
        }
        guard content.digest() == facts.contentDigest, bytes == facts.referencedBytes else {
            throw .corrupt(id, detail: "the manifest does not hold what was taken in")
        }
        return uses
    }
}
