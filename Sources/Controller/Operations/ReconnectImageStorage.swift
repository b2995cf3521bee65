import Bootstrap
import Inventory
import Model
import Scheduler

extension Operations {
    /// Begins to run the bootstrap again with what is stored now: brings a newer bundle, mounts the disk if it is not,
    /// makes a new certificate, restarts and connects. Nothing is ever wiped by it.
    package func reconnect(
        _ id: ImageStorageID, caller: Caller
    ) async throws(OperationError) -> (JobRecord, ImageStorageRecord) {
        try await allow(caller, .admin, "image-storage.reconnect", id)
        let scheduler = rooms.scheduler
        let made = try await rooms.change { transaction throws(OperationError) in
            let storage = try transaction.get(ImageStorageRecord.self, id)
            guard !storage.isBeingDeleted else { throw .beingDeleted(storage) }
            if let job = try transaction.unfinishedJobs(about: [id.description]).first {
                throw .conflict(
                    code: "job-running", detail: "a job of the image storage '\(storage.name)' is under way",
                    items: [Obstacle(id: job.id.description, name: job.type, reason: "is \(job.state.rawValue)")])
            }
            let connecting = try transaction.change(ImageStorageRecord.self, id, .observation) { storage in
                storage.status = .connecting
                storage.statusReason = nil
            }
            try transaction.audit(caller, "image-storage.reconnect", storage.reference, .done, storage.name)
            let job = try scheduler.insert(
                transaction, type: ReconnectImageStorage.name,
                arguments: AddStorageArguments(imageStorageID: id, confirmedSerial: nil),
                resource: storage.reference, requestedBy: caller.username)
            return Made(job: job, storage: connecting)
        }
        await scheduler.enqueue(made.job)
        return (made.job, made.storage)
    }

    struct Made: Sendable {
        var job: JobRecord
        var storage: ImageStorageRecord
    }
}

/// The job. Its steps leave what was there before in working order, so that there is nothing to undo.
struct ReconnectImageStorage: Sendable {
    static let name = "reconnect-image-storage"
    let rooms: Rooms
    private var host: HostWork { HostWork(rooms: rooms) }
    private var connection: AgentWork { AgentWork(rooms: rooms) }

    init(rooms: Rooms) { self.rooms = rooms }

    var type: JobType {
        JobType(
            name: ReconnectImageStorage.name,
            steps: [
                JobStepType("check", run: check),
                JobStepType("install", run: install),
                JobStepType("prepare", run: prepare),
                JobStepType("enrol", run: enrol),
                JobStepType("start", run: start),
                JobStepType("connect", attemptsMax: OperationsLimits.connectAttemptsMax, run: connect),
                JobStepType("configure", run: configure),
            ], ended: ended)
    }

    private func storage(_ context: StepContext) async throws(StepFailure) -> ImageStorageRecord {
        let arguments = try context.arguments(AddStorageArguments.self)
        guard let storage = try await rooms.find(ImageStorageRecord.self, arguments.imageStorageID) else {
            throw .failed(Failure(code: "image-storage-not-found", detail: "the image storage was deleted meanwhile"))
        }
        return storage
    }

    // The disk is not looked for among the free ones: it is in use, by us.
    @Sendable private func check(_ context: StepContext) async throws(StepFailure) -> String? {
        let before = try await storage(context)
        let report = try await host.probe(try await host.target(before))
        if before.diskMethod == .freeDisk, before.diskChoice == nil {
            throw .failed(Failure(code: "disk-not-found", detail: "the disk of this image storage was never chosen"))
        }
        let storage = try await rooms.step { transaction throws(OperationError) in
            try transaction.change(ImageStorageRecord.self, before.id, .observation) { storage in
                storage.hostKey = report.hostKey
            }
        }
        var decision = try await host.decide(storage, report, confirmedSerial: nil, choosesDisk: false)
        decision.scope = storage.hostScope ?? decision.scope
        decision.disk = storage.diskChoice
        return StepOutput.encode(decision)
    }

    private func output<T: Decodable>(_ context: StepContext, _ step: String, _ type: T.Type) throws(StepFailure) -> T {
        guard let output = try context.output(of: step, as: type) else {
            throw .failed(Failure(code: "internal", detail: "the step '\(step)' left nothing"))
        }
        return output
    }

    @Sendable private func install(_ context: StepContext) async throws(StepFailure) -> String? {
        try await host.install(try await storage(context), try output(context, "check", HostDecision.self))
        return nil
    }

    @Sendable private func prepare(_ context: StepContext) async throws(StepFailure) -> String? {
        let storage = try await storage(context)
        let output = try await host.prepare(
            storage, try output(context, "check", HostDecision.self), mayWipe: false)
        guard output.hasStore || storage.storeID == nil else {
            throw .failed(
                Failure(
                    code: "store-missing",
                    detail: "there is no store at \(storage.mountPath) any more; look at the disk before you go on"))
        }
        return StepOutput.encode(PreparedDisk(fileSystemID: output.fileSystemID, hasStore: output.hasStore))
    }

    @Sendable private func enrol(_ context: StepContext) async throws(StepFailure) -> String? {
        StepOutput.encode(
            try await host.enrol(
                try await storage(context), try output(context, "check", HostDecision.self),
                try output(context, "prepare", PreparedDisk.self)))
    }

    @Sendable private func start(_ context: StepContext) async throws(StepFailure) -> String? {
        try await host.start(try await storage(context), try output(context, "check", HostDecision.self).scope)
        return nil
    }

    @Sendable private func connect(_ context: StepContext) async throws(StepFailure) -> String? {
        try await connection.connect(try await storage(context), try output(context, "enrol", Enrolment.self))
        return nil
    }

    @Sendable private func configure(_ context: StepContext) async throws(StepFailure) -> String? {
        try await connection.configure(try await storage(context))
        return nil
    }

    @Sendable private func ended(
        _ transaction: Transaction<SchedulerError>, _ job: JobRecord
    ) throws(SchedulerError) {
        guard let id = try? ImageStorageID(parsing: job.resourceID),
            try transaction.find(ImageStorageRecord.self, id) != nil
        else { return }
        try transaction.change(ImageStorageRecord.self, id, .observation) { storage in
            if job.state == .succeeded {
                storage.requiresReconnect = false
            } else if storage.status == .connecting {
                // The ping corrects it when the agent is there all the same.
                storage.status = .disconnected
                storage.statusReason = job.error.map { "reconnect failed: \($0.detail)" } ?? "reconnect was cancelled"
            }
        }
    }
}
