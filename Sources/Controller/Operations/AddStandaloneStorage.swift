import AgentLink
import Bootstrap
import Inventory
import Model
import Scheduler
import Secrets

/// The arguments of the job.
struct AddStorageArguments: Codable, Sendable {
    var imageStorageID: ImageStorageID
    /// Typed by the admin to have a disk with data on it wiped.
    var confirmedSerial: String?
}

extension Operations {
    /// Begins to add a standalone image storage: looks at the host, brings the agent there, makes its disk ready, enrols
    /// and starts it, and takes over what images are there if asked. Undone wholly when a step fails.
    /// Source: seed, "Add Image Storage".
    package func addStandalone(
        _ spec: StandaloneSpec, caller: Caller
    ) async throws(OperationError) -> (JobRecord, ImageStorageRecord) {
        try await allow(caller, .admin, "image-storage.add")
        let (storage, serial) = try record(of: spec)
        let secret = Array(spec.host.credential.secret.reveal.utf8)
        let scheduler = rooms.scheduler
        let job = try await rooms.change { transaction throws(OperationError) in
            guard try transaction.find(DataCenterRecord.self, storage.dataCenterID) != nil else {
                throw .invalid(field: "/dataCenterId", detail: "there is no data center \(storage.dataCenterID)")
            }
            try checkMountPath(transaction, storage, hostKey: storage.hostKey)
            try transaction.insert(storage)
            try transaction.seal(secret, for: ImageStorageRecord.self, storage.id, field: "credential")
            try transaction.audit(caller, "image-storage.add", storage.reference, .done, storage.name)
            return try scheduler.insert(
                transaction, type: AddStandaloneStorage.name,
                arguments: AddStorageArguments(imageStorageID: storage.id, confirmedSerial: serial),
                resource: storage.reference, requestedBy: caller.username)
        }
        await scheduler.enqueue(job)
        return (job, storage)
    }

    private func record(of spec: StandaloneSpec) throws(OperationError) -> (ImageStorageRecord, String?) {
        let target = try spec.host.target()
        try Check.capacity(spec.reservedCapacityBytes)
        let mountPath = try checked("/mountPath") { () throws(InvalidValue) in try MountPath(spec.mountPath) }
        var device: String?
        var serial: String?
        if case .freeDisk(let given, let typed) = spec.disk {
            let isPath = given.hasPrefix("/dev/") && !given.contains("..") && given.utf8.count <= 255
            guard isPath, given.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
                throw .invalid(field: "/disk/device", detail: "a device is a path such as /dev/vdb")
            }
            (device, serial) = (given, typed)
        }
        let storage = ImageStorageRecord(
            id: rooms.randomness.id(), name: try Check.name(spec.name),
            description: try Check.description(spec.description), type: .standalone, dataCenterID: spec.dataCenterID,
            hostAddress: target.address.text, sshPort: target.port, username: target.user.text,
            hostKey: target.expectedHostKey, credentialKind: spec.host.credential.kind,
            diskMethod: device == nil ? .localDirectory : .freeDisk, diskDevice: device, mountPath: mountPath.text,
            retrieveExistingImages: spec.retrieveExistingImages,
            imageSyncNetwork: try Check.network(spec.imageSyncNetwork, "/imageSyncNetwork"),
            dataNetwork: try Check.network(spec.dataNetwork, "/dataNetwork"),
            reservedCapacityBytes: spec.reservedCapacityBytes,
            blobUploadConcurrency: try Check.concurrency(spec.blobUploadConcurrency, "/blobUploadConcurrency"),
            blobDownloadConcurrency: try Check.concurrency(spec.blobDownloadConcurrency, "/blobDownloadConcurrency"),
            createdAt: rooms.clock.now())
        return (storage, serial)
    }
}

/// Throws when another storage of the same host is at, above or below the mount path. The same host is one with the same
/// address or the same host key.
func checkMountPath(
    _ transaction: Transaction<OperationError>, _ storage: ImageStorageRecord, hostKey: String?
) throws(OperationError) {
    for other in try transaction.all(ImageStorageRecord.self, where: "type", is: ["standalone"])
    where other.id != storage.id {
        let isSameHost = other.hostAddress == storage.hostAddress || (hostKey != nil && other.hostKey == hostKey)
        let (a, b) = (other.mountPath + "/", storage.mountPath + "/")
        guard isSameHost, a.hasPrefix(b) || b.hasPrefix(a) else { continue }
        let obstacle = Obstacle(
            id: other.id.description, name: other.name, reason: "is at \(other.mountPath) of this host")
        throw .conflict(
            code: a == b ? "image-storage-exists" : "mount-path-in-use",
            detail: "the image storage '\(other.name)' \(obstacle.reason)", items: [obstacle])
    }
}

/// The job.
struct AddStandaloneStorage: Sendable {
    static let name = "add-image-storage"
    let rooms: Rooms
    private var host: HostWork { HostWork(rooms: rooms) }
    private var connection: AgentWork { AgentWork(rooms: rooms) }

    init(rooms: Rooms) { self.rooms = rooms }

    var type: JobType {
        JobType(
            name: AddStandaloneStorage.name,
            steps: [
                JobStepType("check", run: check),
                JobStepType("install", run: install),
                JobStepType("prepare", run: prepare, undo: undoPrepare),
                JobStepType("enrol", run: enrol, undo: undoEnrol),
                JobStepType("start", run: start),
                JobStepType(
                    "connect", attemptsMax: OperationsLimits.connectAttemptsMax, run: connect, undo: undoConnect),
                JobStepType("configure", run: configure),
                JobStepType("retrieve", run: retrieve, undo: undoRetrieve),
            ], ended: ended)
    }

    private func storage(_ context: StepContext) async throws(StepFailure) -> ImageStorageRecord {
        let arguments = try context.arguments(AddStorageArguments.self)
        guard let storage = try await rooms.find(ImageStorageRecord.self, arguments.imageStorageID) else {
            throw .failed(Failure(code: "image-storage-not-found", detail: "the image storage was deleted meanwhile"))
        }
        return storage
    }

    @Sendable private func check(_ context: StepContext) async throws(StepFailure) -> String? {
        let arguments = try context.arguments(AddStorageArguments.self)
        let storage = try await storage(context)
        let report = try await host.probe(try await host.target(storage))
        let decision = try await host.decide(storage, report, confirmedSerial: arguments.confirmedSerial)
        if storage.diskMethod == .localDirectory { try checkSpace(storage, report) }
        // The key that was shown on first contact is the host's from now on.
        try await rooms.step { transaction throws(OperationError) in
            try checkMountPath(transaction, storage, hostKey: decision.hostKey)
            try transaction.change(ImageStorageRecord.self, storage.id) { storage in
                storage.hostKey = decision.hostKey
                storage.hostScope = decision.scope
                storage.diskChoice = decision.disk
            }
        }
        return StepOutput.encode(decision)
    }

    private func checkSpace(_ storage: ImageStorageRecord, _ report: ProbeReport) throws(StepFailure) {
        let holding = report.mounts.filter {
            storage.mountPath == $0.path || storage.mountPath.hasPrefix($0.path == "/" ? "/" : $0.path + "/")
        }
        guard let mount = holding.max(by: { $0.path.utf8.count < $1.path.utf8.count }) else { return }
        let (needed, overflow) = storage.reservedCapacityBytes.addingReportingOverflow(OperationsLimits.freeBytesMin)
        guard !overflow, mount.freeBytes >= needed else {
            throw .failed(
                Failure(
                    code: "no-space",
                    detail:
                        "\(mount.path) has \(mount.freeBytes) free bytes; \(storage.reservedCapacityBytes) are to be "
                        + "reserved and \(OperationsLimits.freeBytesMin) are needed beside them",
                    field: "/reservedCapacityBytes"))
        }
    }

    private func decision(_ context: StepContext) throws(StepFailure) -> HostDecision {
        guard let decision = try context.output(of: "check", as: HostDecision.self) else {
            throw .failed(Failure(code: "internal", detail: "the step 'check' left nothing"))
        }
        return decision
    }

    @Sendable private func install(_ context: StepContext) async throws(StepFailure) -> String? {
        try await host.install(try await storage(context), try decision(context))
        return nil
    }

    @Sendable private func prepare(_ context: StepContext) async throws(StepFailure) -> String? {
        let output = try await host.prepare(try await storage(context), try decision(context), mayWipe: true)
        return StepOutput.encode(PreparedDisk(fileSystemID: output.fileSystemID, hasStore: output.hasStore))
    }

    @Sendable private func undoPrepare(_ context: StepContext) async throws(StepFailure) {
        guard let storage = try await gone(context) else { return }
        try await host.undoPrepare(storage, try decision(context).scope)
    }

    @Sendable private func enrol(_ context: StepContext) async throws(StepFailure) -> String? {
        guard let disk = try context.output(of: "prepare", as: PreparedDisk.self) else {
            throw .failed(Failure(code: "internal", detail: "the step 'prepare' left nothing"))
        }
        return StepOutput.encode(try await host.enrol(try await storage(context), try decision(context), disk))
    }

    // Takes back `start` as well: an instance that is removed is stopped first.
    @Sendable private func undoEnrol(_ context: StepContext) async throws(StepFailure) {
        guard let storage = try await gone(context) else { return }
        try await host.remove(storage, try decision(context).scope)
    }

    @Sendable private func start(_ context: StepContext) async throws(StepFailure) -> String? {
        try await host.start(try await storage(context), try decision(context).scope)
        return nil
    }

    @Sendable private func connect(_ context: StepContext) async throws(StepFailure) -> String? {
        guard let enrolment = try context.output(of: "enrol", as: Enrolment.self) else {
            throw .failed(Failure(code: "internal", detail: "the step 'enrol' left nothing"))
        }
        try await connection.connect(try await storage(context), enrolment)
        return nil
    }

    @Sendable private func undoConnect(_ context: StepContext) async throws(StepFailure) {
        guard let storage = try await gone(context) else { return }
        if let agent = storage.agent { await rooms.agents.forget(agent) }
        try await rooms.step { transaction throws(OperationError) in
            try transaction.change(ImageStorageRecord.self, storage.id, .observation) { storage in
                storage.agentPort = nil
                storage.storeID = nil
                storage.status = .connecting
            }
        }
    }

    @Sendable private func configure(_ context: StepContext) async throws(StepFailure) -> String? {
        try await connection.configure(try await storage(context))
        return nil
    }

    @Sendable private func retrieve(_ context: StepContext) async throws(StepFailure) -> String? {
        let storage = try await storage(context)
        guard storage.retrieveExistingImages else { return nil }
        try await RetrieveImages(rooms: rooms).run(storage, context)
        return nil
    }

    @Sendable private func undoRetrieve(_ context: StepContext) async throws(StepFailure) {
        guard let storage = try await gone(context) else { return }
        try await RetrieveImages(rooms: rooms).undo(storage)
    }

    // What is undone for a storage that is no longer known needs its credential, which went with it.
    private func gone(_ context: StepContext) async throws(StepFailure) -> ImageStorageRecord? {
        try await rooms.find(
            ImageStorageRecord.self, try context.arguments(AddStorageArguments.self).imageStorageID)
    }

    @Sendable private func ended(
        _ transaction: Transaction<SchedulerError>, _ job: JobRecord
    ) throws(SchedulerError) {
        guard job.state != .succeeded, let id = try? ImageStorageID(parsing: job.resourceID) else { return }
        try transaction.forget(storage: id)
        try transaction.audit(
            .controller, "image-storage.add", job.resource, .failed, job.error?.code ?? job.state.rawValue)
    }
}

extension Transaction {
    /// Removes a storage and all that hangs on it. Twice is once.
    func forget(storage id: ImageStorageID) throws(Failure) {
        while true {
            let images = try images(ofStorage: id)
            if images.isEmpty { break }
            for image in images { try delete(ImageRecord.self, image.id) }
        }
        for upload in try all(UploadRecord.self, where: "imageStorageID", is: [id.description]) {
            try delete(UploadRecord.self, upload.id)
        }
        try delete(ImageStorageRecord.self, id)
    }
}
