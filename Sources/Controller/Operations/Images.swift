import AgentLink
import Inventory
import Model
import Scheduler
import Wire

/// The arguments of the job.
struct DeleteImageArguments: Codable, Sendable {
    var imageID: ImageID
    /// What the image was before; it is that again when the storage refuses.
    var status: ImageStatus
}

extension Operations {
    /// Changes an image's name and description, in its store as well, so that the store can tell them by itself.
    package func updateImage(
        _ id: ImageID, _ patch: NamePatch, ifMatch: Int?, caller: Caller
    ) async throws(OperationError) -> ImageRecord {
        try await allow(caller, .operator, "image.update", id)
        let patch = try patch.checked()
        let (image, storage) = try await imageAndStorage(id)
        guard ifMatch == nil || ifMatch == image.revision else { throw .preconditionFailed }
        if image.status != .failed {
            guard image.status == .ready else { throw .imageNotReady(image) }
            guard let agent = storage.agent else {
                throw .storageNotConnected(name: storage.name, reason: storage.statusReason)
            }
            let verb = UpdateImageVerb(
                id: id, imageName: patch.name ?? image.name, description: patch.description ?? image.description)
            do throws(AgentLinkError) { _ = try await rooms.agents.call(verb, to: agent) } catch {
                throw error.operationError(storage)
            }
        }
        return try await rooms.change { transaction throws(OperationError) in
            let record = try transaction.change(ImageRecord.self, id, ifMatch: image.revision) { image in
                image.name = patch.name ?? image.name
                image.description = patch.description ?? image.description
            }
            try transaction.audit(caller, "image.update", record.reference, .done, record.name)
            return record
        }
    }

    func imageAndStorage(_ id: ImageID) async throws(OperationError) -> (ImageRecord, ImageStorageRecord) {
        let both = try await rooms.read { transaction throws(OperationError) in
            let image = try transaction.get(ImageRecord.self, id)
            return ImageOnStorage(
                image: image, storage: try transaction.get(ImageStorageRecord.self, image.imageStorageID))
        }
        return (both.image, both.storage)
    }

    private struct ImageOnStorage: Sendable {
        var image: ImageRecord
        var storage: ImageStorageRecord
    }

    /// Begins to delete an image at once; a job that still adds it is withdrawn first.
    package func deleteImage(_ id: ImageID, caller: Caller) async throws(OperationError) -> (JobRecord, ImageRecord) {
        try await allow(caller, .operator, "image.delete", id)
        let scheduler = rooms.scheduler
        let made = try await rooms.change { transaction throws(OperationError) in
            let image = try transaction.get(ImageRecord.self, id)
            let jobs = try transaction.unfinishedJobs(about: [id.description])
            if let running = jobs.first(where: { $0.type == DeleteImage.name }) {
                return MadeForImage(job: running, image: image)
            }
            let storage = try transaction.get(ImageStorageRecord.self, image.imageStorageID)
            guard !storage.isBeingDeleted else { throw .beingDeleted(storage) }
            let deleting = try transaction.change(ImageRecord.self, id) { $0.status = .expunged }
            try transaction.audit(caller, "image.delete", image.reference, .done, image.name)
            let job = try scheduler.insert(
                transaction, type: DeleteImage.name,
                arguments: DeleteImageArguments(imageID: id, status: image.status), resource: image.reference,
                requestedBy: caller.username)
            return MadeForImage(job: job, image: deleting)
        }
        await scheduler.enqueue(made.job)
        return (made.job, made.image)
    }

    private struct MadeForImage: Sendable {
        var job: JobRecord
        var image: ImageRecord
    }

    /// Deletes several; each has its own outcome.
    package func deleteImages(
        _ ids: [ImageID], caller: Caller
    ) async throws(OperationError) -> [BulkResult<ImageKind>] {
        try await bulk(ids, caller, "image.bulk-delete", .operator) { id throws(OperationError) in
            try await self.deleteImage(id, caller: caller).0
        }
    }

    /// An image's content in a container, for reading by ranges.
    package func content(
        _ id: ImageID, format: ImageFormat, caller: Caller
    ) async throws(OperationError) -> ImageContent {
        try await allow(caller, .viewer, "image.content", id)
        let (image, storage) = try await imageAndStorage(id)
        guard image.status == .ready else { throw .imageNotReady(image) }
        guard let agent = storage.agent else {
            throw .storageNotConnected(name: storage.name, reason: storage.statusReason)
        }
        let info: ContentInfoVerb.Reply
        do throws(AgentLinkError) {
            info = try await rooms.agents.call(ContentInfoVerb(id: id, format: format), to: agent)
        } catch { throw error.operationError(storage) }
        let content = info.facts.contentDigest.hex
        let agents = rooms.agents
        // The file as it was given comes back byte for byte only when neither side has a container around it.
        let isVerbatim =
            [.raw, .iso].contains(format) && [.raw, .iso].contains(image.format)
            && info.byteCount == info.facts.sourceSizeBytes
        return ImageContent(
            byteCount: info.byteCount, etag: "\(content.prefix(32))-\(format.rawValue)-\(info.byteCount)",
            digest: isVerbatim ? info.facts.sourceDigest : nil,
            suggestedFileName: "\(image.name).\(format.rawValue)",
            reader: { offset, byteCount, onPiece in
                let verb = ReadContentVerb(id: id, format: format, offset: offset, byteCount: byteCount)
                do throws(AgentLinkError) { _ = try await agents.receive(verb, from: agent, onPiece: onPiece) } catch {
                    return error.operationError(storage)
                }
                return nil
            })
    }
}

extension OperationError {
    static func imageNotReady(_ image: ImageRecord) -> OperationError {
        .conflict(code: "image-not-ready", detail: "the image '\(image.name)' is \(image.status.rawValue)")
    }
}

/// The job.
struct DeleteImage: Sendable {
    static let name = "delete-image"
    let rooms: Rooms

    init(rooms: Rooms) { self.rooms = rooms }

    var type: JobType {
        JobType(
            name: DeleteImage.name,
            steps: [
                JobStepType("stop-jobs", run: stopJobs), JobStepType("remove", run: remove),
                JobStepType("forget", run: forget),
            ], isCancellable: false, ended: ended)
    }

    @Sendable private func stopJobs(_ context: StepContext) async throws(StepFailure) -> String? {
        let id = try context.arguments(DeleteImageArguments.self).imageID
        let jobs = try await rooms.step { transaction throws(OperationError) in
            try transaction.unfinishedJobs(about: [id.description]).filter { $0.id != context.job.id }
        }
        try await rooms.cancelAndWait(jobs)
        return nil
    }

    @Sendable private func remove(_ context: StepContext) async throws(StepFailure) -> String? {
        let id = try context.arguments(DeleteImageArguments.self).imageID
        guard let image = try await rooms.find(ImageRecord.self, id),
            let storage = try await rooms.find(ImageStorageRecord.self, image.imageStorageID),
            let agent = storage.agent
        else { return nil }
        do throws(AgentLinkError) { _ = try await rooms.agents.call(RemoveImageVerb(id: id), to: agent) } catch {
            if case .failed(let failure) = error, failure.code == .imageNotFound { return nil }
            // A forced deletion of the storage waits for this job, and the agent may never come back. The storage is
            // forgotten with all its images; its data stays, as it does for the others.
            if error != .cancelled, storage.isBeingDeleted { return nil }
            throw error.stepFailure
        }
        return nil
    }

    @Sendable private func forget(_ context: StepContext) async throws(StepFailure) -> String? {
        let id = try context.arguments(DeleteImageArguments.self).imageID
        try await rooms.step { transaction throws(OperationError) in try transaction.delete(ImageRecord.self, id) }
        return nil
    }

    @Sendable private func ended(
        _ transaction: Transaction<SchedulerError>, _ job: JobRecord
    ) throws(SchedulerError) {
        guard job.state != .succeeded, let id = try? ImageID(parsing: job.resourceID),
            try transaction.find(ImageRecord.self, id) != nil
        else { return }
        // The job that made it was withdrawn, so it cannot become ready any more.
        let before = StepContext(job: job, report: { _ in }, note: { _ in })
        let status = (try? before.arguments(DeleteImageArguments.self))?.status ?? .failed
        try transaction.change(ImageRecord.self, id) { $0.status = status == .creating ? .failed : status }
        try transaction.audit(
            .controller, "image.delete", job.resource, .failed, job.error?.code ?? job.state.rawValue)
    }
}
