import AgentLink
import Inventory
import Logging
import Model
import Scheduler
import Secrets
import Wire

/// The arguments of the job; the URL is sealed beside the image.
struct AddImageArguments: Codable, Sendable {
    var imageID: ImageID
    var checksum: Digest?
    var uploadID: UploadID?
    /// The key of an SFTP server.
    var hostKey: String?
}

extension Operations {
    /// Begins to add an image: the storage's agent fetches, inspects, slices and commits it.
    /// Source: seed, "Add Image".
    package func addImage(_ spec: ImageSpec, caller: Caller) async throws(OperationError) -> (JobRecord, ImageRecord) {
        try await allow(caller, .operator, "image.add")
        // The host's own files are more than images: only an admin may have them read. Source: security.md.
        if case .hostPath = spec.source { try await allow(caller, .admin, "image.add-from-host-path") }
        if spec.format == .iso, spec.type != .system {
            throw .invalid(field: "/type", detail: "an ISO image is of the type 'system'")
        }
        var arguments = AddImageArguments(imageID: rooms.randomness.id())
        if let text = spec.checksum {
            arguments.checksum = try checked("/checksum") { () throws(InvalidValue) in try Digest(parsing: text) }
        }
        let (kind, shown, secret) = try source(spec.source, &arguments)
        let image = ImageRecord(
            id: arguments.imageID, imageStorageID: spec.imageStorageID, name: try Check.name(spec.name),
            description: try Check.description(spec.description), type: spec.type, format: spec.format,
            sourceKind: kind, sourceText: shown, createdAt: rooms.clock.now())
        let scheduler = rooms.scheduler
        let job = try await rooms.change { [arguments] transaction throws(OperationError) in
            _ = try self.usableStorage(transaction, spec.imageStorageID, field: "/imageStorageId")
            if let id = arguments.uploadID { try self.claim(transaction, id, image, caller) }
            try transaction.insert(image)
            if let secret {
                try transaction.seal(Array(secret.reveal.utf8), for: ImageRecord.self, image.id, field: "source")
            }
            try transaction.audit(caller, "image.add", image.reference, .done, "\(image.name) from \(shown)")
            return try scheduler.insert(
                transaction, type: AddImage.name, arguments: arguments, resource: image.reference,
                concurrencyKey: AddImage.key(image.imageStorageID), requestedBy: caller.username)
        }
        await scheduler.enqueue(job)
        return (job, image)
    }

    private func source(
        _ source: ImageSourceSpec, _ arguments: inout AddImageArguments
    ) throws(OperationError) -> (ImageSourceKind, String, Secret?) {
        switch source {
        case .url(let url, let hostKey):
            if let hostKey { try Check.hostKey(hostKey, "/source/hostKey") }
            arguments.hostKey = hostKey
            return (.url, try Check.url(url), url)
        case .hostPath(let path):
            try Check.hostPath(path)
            return (.hostPath, path, nil)
        case .upload(let id):
            arguments.uploadID = id
            return (.upload, id.description, nil)
        }
    }

    private func claim(
        _ transaction: Transaction<OperationError>, _ id: UploadID, _ image: ImageRecord, _ caller: Caller
    ) throws(OperationError) {
        guard let upload = try transaction.find(UploadRecord.self, id), upload.isOf(caller) else {
            throw .invalid(field: "/source/uploadId", detail: "there is no upload \(id)")
        }
        guard upload.imageStorageID == image.imageStorageID else {
            throw .invalid(field: "/source/uploadId", detail: "the upload is on another image storage")
        }
        guard upload.imageID == nil else {
            throw .conflict(code: "upload-in-use", detail: "an image is being made of this upload")
        }
        guard upload.durableByteCount == upload.byteCount else {
            throw .conflict(
                code: "upload-incomplete",
                detail: "\(upload.durableByteCount) of \(upload.byteCount) bytes are there; finish the upload first")
        }
        try transaction.change(UploadRecord.self, id) { $0.imageID = image.id }
    }

    /// A storage that takes new images now.
    func usableStorage(
        _ transaction: Transaction<OperationError>, _ id: ImageStorageID, field: String
    ) throws(OperationError) -> ImageStorageRecord {
        guard let storage = try transaction.find(ImageStorageRecord.self, id) else {
            throw .invalid(field: field, detail: "there is no image storage \(id)")
        }
        guard !storage.isBeingDeleted else { throw .beingDeleted(storage) }
        guard storage.state == .enabled else { throw .storageDisabled(name: storage.name) }
        guard storage.status == .connected else {
            throw .storageNotConnected(name: storage.name, reason: storage.statusReason)
        }
        return storage
    }
}

/// The job.
struct AddImage: Sendable {
    static let name = "add-image"
    let rooms: Rooms

    init(rooms: Rooms) { self.rooms = rooms }

    /// As many run at once on a storage as it may upload blobs at once.
    static func key(_ storage: ImageStorageID) -> String { "upload/\(storage)" }

    var type: JobType {
        JobType(
            name: AddImage.name,
            steps: [
                JobStepType("ingest", run: ingest, undo: undoIngest),
                JobStepType("publish", run: publish),
            ], ended: ended)
    }

    /// The image and its storage. An image that is gone was deleted, which withdraws this job anyway.
    private func subject(_ context: StepContext) async throws(StepFailure) -> (ImageRecord, ImageStorageRecord)? {
        let id = try context.arguments(AddImageArguments.self).imageID
        guard let image = try await rooms.find(ImageRecord.self, id),
            let storage = try await rooms.find(ImageStorageRecord.self, image.imageStorageID)
        else { return nil }
        return (image, storage)
    }

    static func session(_ job: JobID) -> SessionID {
        // 16 bytes make an id, always.
        SessionID(bytes: job.bytes)!
    }

    @Sendable private func ingest(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(AddImageArguments.self)
        guard let (image, storage) = try await subject(context) else {
            throw .failed(Failure(code: "image-not-found", detail: "the image was deleted meanwhile"))
        }
        guard let agent = storage.agent, storage.status != .connecting else {
            throw .wait("the image storage '\(storage.name)' is not connected")
        }
        let verb = IngestVerb(
            session: AddImage.session(context.job.id),
            declaration: ImageDeclaration(
                id: image.id, name: image.name, description: image.description, type: image.type,
                format: image.format, createdAt: image.createdAt),
            source: try await source(image, arguments), checksum: arguments.checksum)
        let share = PhaseShare(fetches: image.sourceKind == .url)
        do throws(AgentLinkError) {
            let reply = try await rooms.agents.call(
                verb, to: agent, silenceMax: OperationsLimits.ingestSilenceMax,
                onProgress: { context.report(share.progress($0)) })
            guard reply.facts.declaration.id == image.id else {
                throw AgentLinkError.protocolViolation("it answered with another image's facts")
            }
            return StepOutput.encode(reply)
        } catch { throw error.stepFailure }
    }

    private func source(_ image: ImageRecord, _ arguments: AddImageArguments) async throws(StepFailure) -> IngestSource
    {
        switch image.sourceKind {
        case .hostPath: return .hostPath(image.sourceText)
        case .upload, .retrieved:
            guard let id = arguments.uploadID else {
                throw .failed(Failure(code: "internal", detail: "the job does not name its upload"))
            }
            return .upload(id)
        case .url:
            let rules = try await rooms.step { transaction throws(OperationError) in
                URLRules(
                    url: try transaction.unseal(ImageRecord.self, image.id, field: "source"),
                    denied: try transaction.systemParameter("url-import.deny")?.value,
                    privateAllowed: try transaction.systemParameter("url-import.allow-private-networks")?.value)
            }
            guard let bytes = rules.url, let url = String(validating: bytes, as: UTF8.self),
                case .networks(let denied) = rules.denied, case .flag(let allowsPrivate) = rules.privateAllowed
            else { throw .failed(Failure(code: "internal", detail: "the URL of the image is not stored")) }
            return .url(
                URLSource(
                    url: url, deniedNetworks: denied, allowsPrivateNetworks: allowsPrivate, hostKey: arguments.hostKey))
        }
    }

    private struct URLRules: Sendable {
        var url: [UInt8]?
        var denied: SystemParameter.Value?
        var privateAllowed: SystemParameter.Value?
    }

    // Also for an ingest that was committed: the image was never shown as ready, so nobody misses it.
    @Sendable private func undoIngest(_ context: StepContext) async throws(StepFailure) {
        guard let (image, storage) = try await subject(context), let agent = storage.agent else { return }
        try await ask(AbandonVerb(session: AddImage.session(context.job.id)), agent, unless: .sessionNotFound)
        try await ask(RemoveImageVerb(id: image.id), agent, unless: .imageNotFound)
    }

    // What is not there need not be removed.
    private func ask(
        _ verb: some AgentVerb, _ agent: AgentAddress, unless gone: AgentFailure.Code
    ) async throws(StepFailure) {
        do throws(AgentLinkError) { _ = try await rooms.agents.call(verb, to: agent) } catch {
            if case .failed(let failure) = error, failure.code == gone { return }
            throw error.stepFailure
        }
    }

    @Sendable private func publish(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(AddImageArguments.self)
        guard let reply = try context.output(of: "ingest", as: IngestVerb.Reply.self) else {
            throw .failed(Failure(code: "internal", detail: "the step 'ingest' left nothing"))
        }
        try await rooms.step { transaction throws(OperationError) in
            try transaction.change(ImageRecord.self, arguments.imageID) { image in
                image.take(reply.facts)
                image.notes = reply.notes
                // One that is being deleted stays so.
                if image.status != .expunged { image.status = .ready }
                image.failure = nil
            }
            try transaction.removeSealed(
                at: SealedPlace(
                    table: ImageRecord.shape.table, row: arguments.imageID.description, field: "source"))
        }
        try await dropUpload(arguments, context)
        return nil
    }

    // The image is there; what the agent keeps of the upload beyond this expires by itself.
    private func dropUpload(_ arguments: AddImageArguments, _ context: StepContext) async throws(StepFailure) {
        guard let upload = arguments.uploadID else { return }
        if let (_, storage) = try await subject(context), let agent = storage.agent {
            do throws(AgentLinkError) { _ = try await rooms.agents.call(RemoveUploadVerb(id: upload), to: agent) } catch
            {
                rooms.log.info(
                    "an upload is left to expire", metadata: ["upload": "\(upload)", "why": "\(error.words)"])
            }
        }
        try await rooms.step { transaction throws(OperationError) in
            try transaction.delete(UploadRecord.self, upload)
        }
    }

    // A failed image stays, with its reason; a cancelled one leaves nothing behind.
    @Sendable private func ended(
        _ transaction: Transaction<SchedulerError>, _ job: JobRecord
    ) throws(SchedulerError) {
        guard job.state != .succeeded, let id = try? ImageID(parsing: job.resourceID) else { return }
        for upload in try transaction.uploads(of: id) {
            try transaction.change(UploadRecord.self, upload.id) { $0.imageID = nil }
        }
        guard try transaction.find(ImageRecord.self, id) != nil else { return }
        // Nothing asks for the URL again, so its secrets go.
        try transaction.removeSealed(
            at: SealedPlace(table: ImageRecord.shape.table, row: id.description, field: "source"))
        if job.state == .cancelled {
            try transaction.delete(ImageRecord.self, id)
        } else {
            try transaction.change(ImageRecord.self, id) { image in
                image.status = image.status == .expunged ? .expunged : .failed
                image.failure = job.error
            }
        }
        try transaction.audit(.controller, "image.add", job.resource, .failed, job.error?.code ?? job.state.rawValue)
    }
}

/// What part of a job's whole each phase is. Rough, but never going back.
struct PhaseShare: Sendable {
    private let ends: [IngestPhase: (from: Double, to: Double)]

    init(fetches: Bool) {
        ends =
            fetches
            ? [.fetch: (0, 0.45), .inspect: (0.45, 0.5), .slice: (0.5, 0.97), .commit: (0.97, 1)]
            : [.fetch: (0, 0.05), .inspect: (0.05, 0.15), .slice: (0.15, 0.97), .commit: (0.97, 1)]
    }

    func progress(_ given: VerbProgress) -> JobProgress {
        let (from, to) = ends[given.phase] ?? (0, 1)
        let total = given.totalBytes ?? 0
        let part = total > 0 ? min(Double(given.doneBytes) / Double(total), 1) : 0
        return JobProgress(
            fraction: from + (to - from) * part, doneBytes: given.doneBytes, totalBytes: given.totalBytes,
            reusedBytes: given.reusedBytes, transferredBytes: given.transferredBytes, phase: given.phase.rawValue)
    }
}
