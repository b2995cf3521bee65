import AgentLink
import Inventory
import Model
import Scheduler
import Wire

/// What adding and reconnecting ask of a started agent.
struct AgentWork: Sendable {
    let rooms: Rooms

    /// Waits until the agent answers, and takes down who it is. A store that is known already is refused: the same disk
    /// must not be two storages.
    func connect(_ storage: ImageStorageRecord, _ enrolment: Enrolment) async throws(StepFailure) {
        let agent = AgentAddress(identity: storage.id, host: storage.hostAddress, port: enrolment.port)
        await rooms.agents.forget(agent)
        let status: StatusVerb.Reply
        do throws(AgentLinkError) { status = try await rooms.agents.call(StatusVerb(), to: agent) } catch {
            throw error.boundedStepFailure
        }
        try await rooms.step { transaction throws(OperationError) in
            for other in try transaction.all(ImageStorageRecord.self, where: "type", is: ["standalone"])
            where other.id != storage.id && other.storeID == status.storeID {
                throw .conflict(
                    code: "image-storage-known",
                    detail: "this store is the image storage '\(other.name)' already",
                    items: [Obstacle(id: other.id.description, name: other.name, reason: "has the same store")])
            }
            try transaction.change(ImageStorageRecord.self, storage.id, .observation) {
                storage throws(OperationError) in
                if let known = storage.storeID, known != status.storeID {
                    throw .conflict(
                        code: "wrong-store",
                        detail: "the store at the mount path is \(status.storeID); this image storage's is \(known)")
                }
                storage.storeID = status.storeID
                storage.agentPort = enrolment.port
                storage.agentVersion = status.agentVersion
                storage.certificateIssuedAt = enrolment.issuedAt
                storage.certificateExpiresAt = enrolment.expiresAt
                storage.usage = status.usage
                storage.lastSeenAt = transaction.now
            }
        }
    }

    /// Tells the agent its settings and takes the storage as connected.
    func configure(_ storage: ImageStorageRecord) async throws(StepFailure) {
        guard let agent = storage.agent else {
            throw .failed(Failure(code: "internal", detail: "the step 'connect' left no address of the agent"))
        }
        let verb: ConfigureVerb
        do throws(OperationError) { verb = try await settings(of: storage) } catch {
            throw .retry(Failure(code: error.code, detail: error.detail))
        }
        do throws(AgentLinkError) { _ = try await rooms.agents.call(verb, to: agent) } catch {
            throw error.boundedStepFailure
        }
        try await rooms.step { transaction throws(OperationError) in
            try transaction.change(ImageStorageRecord.self, storage.id, .observation) { storage in
                storage.status = .connected
                storage.statusReason = nil
            }
        }
    }

    /// Tells the agent its settings.
    func tellSettings(_ storage: ImageStorageRecord) async throws(OperationError) {
        guard let agent = storage.agent else { throw .storageNotConnected(name: storage.name, reason: nil) }
        let verb = try await settings(of: storage)
        do throws(AgentLinkError) { _ = try await rooms.agents.call(verb, to: agent) } catch {
            throw error.operationError(storage)
        }
    }

    private func settings(of storage: ImageStorageRecord) async throws(OperationError) -> ConfigureVerb {
        let hours = try await rooms.read { transaction throws(OperationError) in
            try transaction.count("upload.expiry-hours")
        }
        do throws(InvalidValue) { return try storage.settings(expiryHours: hours) } catch {
            throw .internal(detail: error.reason)
        }
    }
}
