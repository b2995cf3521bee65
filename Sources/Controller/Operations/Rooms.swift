import AgentLink
import Bootstrap
import Identity
import Inventory
import Logging
import Model
import Scheduler
import Secrets
import Synchronization
import Wire

/// What operations and the steps of their jobs work with.
struct Rooms: Sendable {
    let inventory: Inventory
    let agents: any AgentCalls
    let hosts: any HostBootstrap
    let authority: Authority
    let bundles: [BundleFile]
    let clock: WallClock
    let randomness: Randomness
    let sleep: Scheduler.Sleep
    let resolve: @Sendable (String) async -> [IPAddress]
    let log: Logger
    /// Storages whose agents must be told their settings again.
    let unconfigured = Shared<Set<ImageStorageID>>([])
    /// Set once, right after the scheduler was made with the job types that need it.
    let schedulerBox = Shared<Scheduler?>(nil)

    var scheduler: Scheduler {
        guard let scheduler = schedulerBox.value else { preconditionFailure("set in Operations.init") }
        return scheduler
    }

    /// Changes the inventory in a transaction of this room.
    @discardableResult
    func change<T: Sendable>(
        _ body: @escaping @Sendable (Transaction<OperationError>) throws(OperationError) -> T
    ) async throws(OperationError) -> T { try await inventory.write(body) }

    /// Reads a snapshot.
    func read<T: Sendable>(
        _ body: @escaping @Sendable (Transaction<OperationError>) throws(OperationError) -> T
    ) async throws(OperationError) -> T { try await inventory.read(body) }

    /// Changes the inventory from a step. The inventory's failures pass; all else is final.
    @discardableResult
    func step<T: Sendable>(
        _ body: @escaping @Sendable (Transaction<OperationError>) throws(OperationError) -> T
    ) async throws(StepFailure) -> T {
        do throws(OperationError) { return try await inventory.write(body) } catch {
            let failure = Failure(code: error.code, detail: error.detail, field: error.field)
            if case .internal = error { throw .retry(failure) }
            throw .failed(failure)
        }
    }

    /// A record, for a step; nil when it is gone.
    func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) async throws(StepFailure) -> R? {
        try await step { transaction throws(OperationError) in try transaction.find(type, id) }
    }
}

/// A value that several tasks touch without waiting.
final class Shared<Value: Sendable>: Sendable {
    private let lock: Mutex<Value>

    init(_ value: Value) { lock = Mutex(value) }

    var value: Value { lock.withLock { $0 } }

    func withLock<T: Sendable>(_ body: @Sendable (inout Value) -> T) -> T { lock.withLock { body(&$0) } }
}

extension ImageStorageRecord {
    /// Where its agent is; nil before the agent was started for the first time.
    var agent: AgentAddress? {
        agentPort.map { AgentAddress(identity: id, host: hostAddress, port: $0) }
    }
    /// What its agent is to be told.
    func settings(expiryHours: Int) throws(InvalidValue) -> ConfigureVerb {
        ConfigureVerb(
            reservedCapacityBytes: reservedCapacityBytes,
            blobUploadConcurrency: try BlobConcurrency(blobUploadConcurrency),
            blobDownloadConcurrency: try BlobConcurrency(blobDownloadConcurrency), sessionExpiryHours: expiryHours)
    }
}

extension Record {
    /// For jobs and audit lines.
    var reference: ResourceReference { ResourceReference(type: Self.shape.kind, id: id.description) }
}

extension Transaction {
    /// Writes the audit line of something that `caller` did.
    func audit(
        _ caller: Caller, _ action: String, _ resource: ResourceReference?, _ outcome: AuditOutcome = .done,
        _ detail: String = ""
    ) throws(Failure) {
        try audit(
            AuditEntry(
                userID: caller.userID, username: caller.username, address: caller.address, action: action,
                resource: resource, outcome: outcome, detail: detail))
    }
}
