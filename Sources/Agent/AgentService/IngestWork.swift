import DiskImage
import Fetch
import Model
import Storage
import Volumes
import Wire

/// Takes an image in, on a thread of its own: fetch, inspect, slice, commit. Run again with the same session it goes
/// on from what is durable.
struct IngestWork {
    /// A file that is on the host as a whole.
    private struct Whole {
        var source: any ByteSource
        var digest: Digest
    }

    let run: IngestRun
    let store: any ImageStore
    let settings: AgentSettings
    let runs: IngestRuns

    private var verb: IngestVerb { run.verb }

    func perform() throws(AgentFailure) -> IngestVerb.Reply {
        if let facts = try storedImage() {
            // The answer of an earlier run was lost. What the run was about to put away is put away now.
            try endSource()
            return IngestVerb.Reply(facts: facts, notes: [])
        }
        let whole = try wholeFile()
        if let expected = verb.checksum, expected != whole.digest {
            try dropFetched()
            throw AgentFailure(StorageError.checksumMismatch(expected: expected, found: whole.digest))
        }
        try stopIfCancelled()
        run.report(
            VerbProgress(phase: .inspect, doneBytes: whole.source.byteCount, totalBytes: whole.source.byteCount))
        let declaration = verb.declaration
        let inspection: Inspection
        let disk: any GuestDisk
        do throws(DiskImageError) {
            inspection = try DiskImage.inspect(
                whole.source, declared: declaration.format, type: declaration.type, limits: .standard)
            disk = try DiskImage.open(whole.source, format: declaration.format, limits: .standard)
        } catch { throw AgentFailure(error) }
        let notes = inspection.notes + GuestNotes.sentences(of: disk, declared: declaration)
        let facts = try runs.sliceInTurn(run) { () throws(AgentFailure) in try slice(disk, of: whole) }
        try endSource()
        return IngestVerb.Reply(facts: facts, notes: notes)
    }

    private func slice(_ disk: any GuestDisk, of whole: Whole) throws(AgentFailure) -> ImageFacts {
        let run = run
        let control = IngestControl(
            onProgress: { progress in
                let isDone = progress.doneBytes >= progress.totalBytes
                run.report(
                    VerbProgress(
                        phase: isDone ? .commit : .slice, doneBytes: progress.doneBytes,
                        totalBytes: progress.totalBytes, reusedBytes: progress.reusedBytes))
            }, isCancelled: { run.isCancelled })
        run.report(VerbProgress(phase: .slice, doneBytes: 0, totalBytes: disk.virtualSizeBytes))
        do throws(StorageError) {
            return try store.ingest(
                verb.session, as: verb.declaration, from: disk, sourceDigest: whole.digest,
                sourceSizeBytes: whole.source.byteCount, control: control)
        } catch { throw AgentFailure(error) }
    }

    /// The image, when an earlier run stored it.
    private func storedImage() throws(AgentFailure) -> ImageFacts? {
        let declared = verb.declaration
        do throws(StorageError) {
            let facts = try store.image(declared.id)
            // Name and description may have been changed since.
            guard facts.declaration.type == declared.type, facts.declaration.format == declared.format,
                facts.declaration.createdAt == declared.createdAt
            else { throw .imageExists(declared.id) }
            return facts
        } catch {
            if case .imageNotFound = error { return nil }
            throw AgentFailure(error)
        }
    }

    private func wholeFile() throws(AgentFailure) -> Whole {
        switch verb.source {
        case .url(let source):
            let fetch = FetchStep(run: run, store: store, settings: settings, source: source)
            let (bytes, digest) = try fetch.perform()
            return Whole(source: bytes, digest: digest)
        case .hostPath(let path):
            let place = HostPath(directories: try settings.importDirectories(), mountPath: settings.mountPath)
            let file = try place.open(path)
            return Whole(source: file, digest: try digest(of: file))
        case .upload(let id):
            let (file, byteCount) = try Uploads(store: store).open(id)
            defer { file.close() }
            guard file.durableByteCount == byteCount else {
                throw AgentFailure(
                    code: .uploadIncomplete,
                    detail: "\(file.durableByteCount) of \(byteCount) bytes were uploaded; upload the rest first")
            }
            do throws(StorageError) { return Whole(source: try file.source(), digest: try file.digest()) } catch {
                throw AgentFailure(error)
            }
        }
    }

    /// Reads a file of the host once, for its digest.
    private func digest(of file: FileSource) throws(AgentFailure) -> Digest {
        var hash = ResumableSHA256()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: ServiceLimits.hashByteCount, alignment: 4096)
        defer { buffer.deallocate() }
        var place: UInt64 = 0
        while place < file.byteCount {
            try stopIfCancelled()
            let count: Int
            do throws(VolumeError) { count = try file.read(into: buffer, at: place) } catch {
                throw AgentFailure(code: .hostPathRefused, detail: "the file cannot be read: \(error)")
            }
            guard count > 0 else {
                throw AgentFailure(code: .sourceChanged, detail: "the file became shorter while it was read; try again")
            }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            place += UInt64(count)
            run.report(VerbProgress(phase: .inspect, doneBytes: place, totalBytes: file.byteCount))
        }
        return hash.current()
    }

    /// A download that is not what it should be is of no use for the next try.
    private func dropFetched() throws(AgentFailure) {
        guard case .url = verb.source else { return }
        do throws(StorageError) {
            let file = try store.stage(verb.session, expectedBytes: nil)
            defer { file.close() }
            try file.reset()
            try file.setNotes([])
        } catch { throw AgentFailure(error) }
    }

    /// An upload that was taken in is not needed any more.
    private func endSource() throws(AgentFailure) {
        guard case .upload(let id) = verb.source else { return }
        do throws(StorageError) { try store.abandon(Uploads.session(id)) } catch { throw AgentFailure(error) }
    }

    private func stopIfCancelled() throws(AgentFailure) {
        if run.isCancelled { throw AgentFailure(StorageError.cancelled) }
    }
}
