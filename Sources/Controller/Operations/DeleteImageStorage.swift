import AgentLink
import Inventory
import Model
import Scheduler

/// The arguments of the job.
struct DeleteStorageArguments: Codable, Sendable {
    var imageStorageID: ImageStorageID
    var isForced: Bool
}

extension Operations {
    /// Begins to delete an image storage: removes its agent from the host and forgets it and its images. The data on the
    /// disk stays. With images or running jobs it is refused with their list, unless forced; a forced one is also
    /// forgotten when the host cannot be reached, and the job's notes say so.
    package func deleteImageStorage(
        _ id: ImageStorageID, force: Bool, caller: Caller
    ) async throws(OperationError) -> (JobRecord, ImageStorageRecord) {
        try await allow(caller, .admin, "image-storage.delete", id)
        let scheduler = rooms.scheduler
        let made = try await rooms.change { transaction throws(OperationError) in
            let storage = try transaction.get(ImageStorageRecord.self, id)
            let jobs = try transaction.unfinishedJobs(ofStorage: id)
            if let running = jobs.first(where: { $0.type == DeleteImageStorage.name }) {
                // Asked again: the same answer.
                return Made(job: running, storage: storage)
            }
            if !force { try self.refuse(transaction, storage, jobs) }
            let deleting = try transaction.change(ImageStorageRecord.self, id) { $0.isBeingDeleted = true }
            try transaction.audit(
                caller, "image-storage.delete", storage.reference, .done, storage.name + (force ? " (forced)" : ""))
            let job = try scheduler.insert(
                transaction, type: DeleteImageStorage.name,
                arguments: DeleteStorageArguments(imageStorageID: id, isForced: force),
                resource: storage.reference, requestedBy: caller.username)
            return Made(job: job, storage: deleting)
        }
        await scheduler.enqueue(made.job)
        return (made.job, made.storage)
    }

    private func refuse(
        _ transaction: Transaction<OperationError>, _ storage: ImageStorageRecord, _ jobs: [JobRecord]
    ) throws(OperationError) {
        let images = try transaction.images(ofStorage: storage.id, limit: OperationsLimits.obstaclesMax)
        guard !images.isEmpty || !jobs.isEmpty else { return }
        let count = try transaction.count(ImageRecord.self, where: "imageStorageID", is: storage.id.description)
        let obstacles =
            images.map { Obstacle(id: $0.id.description, name: $0.name, reason: "is an image on it") }
            + jobs.prefix(OperationsLimits.obstaclesMax).map {
                Obstacle(id: $0.id.description, name: $0.type, reason: "is a job that is \($0.state.rawValue)")
            }
        throw .conflict(
            code: "image-storage-in-use",
            detail:
                "'\(storage.name)' has \(count) images and \(jobs.count) running jobs; delete them first, or force it "
                + "(the data on the disk stays)", items: obstacles)
    }

    /// Deletes several; each has its own outcome.
    package func deleteImageStorages(
        _ ids: [ImageStorageID], force: Bool, caller: Caller
    ) async throws(OperationError) -> [BulkResult<ImageStorageKind>] {
        try await bulk(ids, caller, "image-storage.bulk-delete", .admin) { id throws(OperationError) in
            try await self.deleteImageStorage(id, force: force, caller: caller).0
        }
    }

    /// Does something for each id.
    func bulk<Kind>(
        _ ids: [ID<Kind>], _ caller: Caller, _ action: String, _ needed: Role,
        _ body: (ID<Kind>) async throws(OperationError) -> JobRecord
    ) async throws(OperationError) -> [BulkResult<Kind>] {
        try await allow(caller, needed, action)
        guard (1...OperationsLimits.bulkMax).contains(ids.count) else {
            throw .invalid(field: "/ids", detail: "1 to \(OperationsLimits.bulkMax) ids")
        }
        var results: [BulkResult<Kind>] = []
        for id in ids {
            do throws(OperationError) {
                results.append(BulkResult(id: id, outcome: .success(try await body(id))))
            } catch {
                results.append(BulkResult(id: id, outcome: .failure(error)))
            }
        }
        return results
    }
}

/// The job. It goes forward only: a storage whose agent is half removed is deleted again, not repaired.
struct DeleteImageStorage: Sendable {
    static let name = "delete-image-storage"
    let rooms: Rooms

    init(rooms: Rooms) { self.rooms = rooms }

    var type: JobType {
        JobType(
            name: DeleteImageStorage.name,
            steps: [
                JobStepType("stop-jobs", run: stopJobs), JobStepType("remove-agent", run: removeAgent),
                JobStepType("forget", run: forget),
            ], isCancellable: false, ended: ended)
    }

    @Sendable private func stopJobs(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(DeleteStorageArguments.self)
        let jobs = try await rooms.step { transaction throws(OperationError) in
            try transaction.unfinishedJobs(ofStorage: arguments.imageStorageID).filter { $0.id != context.job.id }
        }
        try await rooms.cancelAndWait(jobs)
        return nil
    }

    @Sendable private func removeAgent(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(DeleteStorageArguments.self)
        guard let storage = try await rooms.find(ImageStorageRecord.self, arguments.imageStorageID) else { return nil }
        // Without a scope there was never a first contact: nothing of ours is there.
        guard let scope = storage.hostScope else { return nil }
        let host = HostWork(rooms: rooms)
        do throws(StepFailure) {
            try await host.remove(storage, scope)
            try await host.undoPrepare(storage, scope)
        } catch {
            let why =
                switch error {
                case .failed(let failure), .retry(let failure): failure.detail
                case .wait(let reason): reason
                case .cancelled: "cancelled"
                }
            guard arguments.isForced, error != .cancelled else { throw error }
            context.note(
                "the agent was not removed from \(storage.hostAddress) (\(why)); it was forgotten as you forced it. "
                    + "Its data is still at \(storage.mountPath).")
        }
        return nil
    }

    @Sendable private func forget(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(DeleteStorageArguments.self)
        let storage = try await rooms.find(ImageStorageRecord.self, arguments.imageStorageID)
        try await rooms.step { transaction throws(OperationError) in
            try transaction.forget(storage: arguments.imageStorageID)
        }
        if let agent = storage?.agent { await rooms.agents.forget(agent) }
        return nil
    }

    @Sendable private func ended(
        _ transaction: Transaction<SchedulerError>, _ job: JobRecord
    ) throws(SchedulerError) {
        guard job.state != .succeeded, let id = try? ImageStorageID(parsing: job.resourceID),
            try transaction.find(ImageStorageRecord.self, id) != nil
        else { return }
        try transaction.change(ImageStorageRecord.self, id) { $0.isBeingDeleted = false }
        try transaction.audit(
            .controller, "image-storage.delete", job.resource, .failed, job.error?.code ?? job.state.rawValue)
    }
}
