import AgentLink
import Inventory
import Logging
import Model
import Wire

/// Asks every agent how it is, again and again. Source: seed, "status"; issue: "disconnected within three pings and comes
/// back by itself".
final class Pings: Sendable {
    private let rooms: Rooms
    private let allMustBeTold: Shared<Bool>
    private let misses = Shared<[ImageStorageID: Int]>([:])

    init(rooms: Rooms, allMustBeTold: Shared<Bool>) {
        self.rooms = rooms
        self.allMustBeTold = allMustBeTold
    }

    /// Until the task is cancelled. A round and the pause after it begin together, so that slow agents do not make the
    /// rounds rarer.
    func run() async {
        while !Task.isCancelled {
            var seconds = 5
            do throws(OperationError) {
                seconds = try await rooms.read { transaction throws(OperationError) in
                    try transaction.count("agent.ping-seconds")
                }
            } catch { rooms.log.error("the ping interval cannot be read", metadata: ["error": "\(error.detail)"]) }
            let bound = seconds
            await withTaskGroup { group in
                group.addTask { await self.round(within: .seconds(bound)) }
                group.addTask {
                    // A cancelled pause ends the loop above.
                    do { try await self.rooms.sleep(.seconds(bound)) } catch { return }
                }
            }
        }
    }

    private struct Sight: Sendable {
        var storage: ImageStorageRecord
        var outcome: Result<StatusVerb.Reply, AgentLinkError>
    }

    /// Asks every agent once.
    func round(within bound: Duration) async {
        do throws(OperationError) {
            let storages = try await rooms.read { transaction throws(OperationError) in
                try transaction.all(ImageStorageRecord.self, where: "type", is: ["standalone"])
            }
            if allMustBeTold.withLock({ flag in
                defer { flag = false }
                return flag
            }) {
                rooms.unconfigured.withLock { set in for storage in storages { set.insert(storage.id) } }
            }
            let sights = await look(at: storages.filter { $0.agent != nil && !$0.isBeingDeleted }, within: bound)
            try await take(sights)
            for sight in sights {
                guard case .success(let reply) = sight.outcome else { continue }
                await follow(sight.storage, reply)
            }
        } catch { rooms.log.error("a round of pings failed", metadata: ["error": "\(error.detail)"]) }
    }

    private func look(at storages: [ImageStorageRecord], within bound: Duration) async -> [Sight] {
        await withTaskGroup(of: Sight.self) { group in
            var sights: [Sight] = []
            for (index, storage) in storages.enumerated() {
                if index >= OperationsLimits.pingsAtOnce, let sight = await group.next() { sights.append(sight) }
                group.addTask { await self.ping(storage, within: bound) }
            }
            for await sight in group { sights.append(sight) }
            return sights
        }
    }

    private func ping(_ storage: ImageStorageRecord, within bound: Duration) async -> Sight {
        guard let agent = storage.agent else {
            return Sight(storage: storage, outcome: .failure(.unreachable("it was never started")))
        }
        do throws(AgentLinkError) {
            let reply = try await rooms.agents.call(StatusVerb(), to: agent, silenceMax: bound, onProgress: { _ in })
            guard storage.storeID == nil || reply.storeID == storage.storeID else {
                throw AgentLinkError.wrongIdentity("it serves the store \(reply.storeID)")
            }
            return Sight(storage: storage, outcome: .success(reply))
        } catch { return Sight(storage: storage, outcome: .failure(error)) }
    }

    // One transaction for the whole round, and none when nothing is new.
    private func take(_ sights: [Sight]) async throws(OperationError) {
        let now = rooms.clock.now()
        var changes: [(ImageStorageID, @Sendable (inout ImageStorageRecord) -> Void, ChangeKind)] = []
        for sight in sights {
            let storage = sight.storage
            switch sight.outcome {
            case .success(let reply):
                misses.withLock { $0[storage.id] = 0 }
                let isOld = storage.lastSeenAt.map { now >= $0.adding(seconds: OperationsLimits.seenSeconds) } ?? true
                let isNews =
                    storage.status != .connected || storage.statusReason != reply.degradedReason
                    || storage.agentVersion != reply.agentVersion
                guard isNews || isOld || storage.usage != reply.usage else { continue }
                if storage.status == .disconnected { rooms.unconfigured.withLock { _ = $0.insert(storage.id) } }
                changes.append(
                    (
                        storage.id,
                        { storage in
                            // While a job connects it, the job says when it is connected.
                            if storage.status == .disconnected { storage.status = .connected }
                            if storage.status == .connected { storage.statusReason = reply.degradedReason }
                            storage.agentVersion = reply.agentVersion
                            storage.usage = reply.usage
                            storage.lastSeenAt = now
                            storage.certificateExpiresAt = reply.certificateExpiresAt ?? storage.certificateExpiresAt
                        }, isNews ? .observation : .quiet
                    ))
            case .failure(let error):
                let count = misses.withLock { misses -> Int in
                    misses[storage.id, default: 0] += 1
                    return misses[storage.id, default: 0]
                }
                guard !error.isPassing || count >= OperationsLimits.missesMax, storage.status == .connected else {
                    continue
                }
                changes.append(
                    (
                        storage.id,
                        { storage in
                            guard storage.status == .connected else { return }
                            storage.status = .disconnected
                            storage.statusReason = error.words
                        }, .observation
                    ))
            }
        }
        guard !changes.isEmpty else { return }
        let known = changes
        try await rooms.change { transaction throws(OperationError) in
            for (id, change, kind) in known where try transaction.find(ImageStorageRecord.self, id) != nil {
                try transaction.change(ImageStorageRecord.self, id, kind) { change(&$0) }
            }
        }
    }

    // What an agent that answers is due: its settings, a new certificate.
    private func follow(_ storage: ImageStorageRecord, _ reply: StatusVerb.Reply) async {
        do throws(OperationError) {
            if rooms.unconfigured.value.contains(storage.id) {
                let fresh = try await rooms.read { transaction throws(OperationError) in
                    try transaction.find(ImageStorageRecord.self, storage.id)
                }
                rooms.unconfigured.withLock { _ = $0.remove(storage.id) }
                if let fresh {
                    do throws(OperationError) { try await AgentWork(rooms: rooms).tellSettings(fresh) } catch {
                        rooms.unconfigured.withLock { _ = $0.insert(storage.id) }
                        throw error
                    }
                }
            }
            try await RenewCertificates(rooms: rooms).renewIfDue(storage, reply)
        } catch {
            rooms.log.warning(
                "an agent could not be brought up to date",
                metadata: ["storage": "\(storage.id)", "error": "\(error.detail)"])
        }
    }
}

extension AgentLinkError {
    /// Whether a single miss says nothing yet.
    fileprivate var isPassing: Bool {
        switch self {
        case .unreachable, .timeout, .cancelled, .failed: true
        case .wrongIdentity, .noCommonVersion, .protocolViolation: false
        }
    }
}

/// Gives agents new certificates over the live link at two thirds of their lives. Source: docs/security.md, "Identity".
struct RenewCertificates: Sendable {
    let rooms: Rooms

    func renewIfDue(_ storage: ImageStorageRecord, _ reply: StatusVerb.Reply) async throws(OperationError) {
        guard let agent = storage.agent, let issued = storage.certificateIssuedAt,
            let expires = reply.certificateExpiresAt ?? storage.certificateExpiresAt
        else { return }
        let life = expires.milliseconds - issued.milliseconds
        guard rooms.clock.now().milliseconds >= issued.milliseconds + life / 3 * 2 else { return }
        let signed: SignedCertificate
        do throws(AgentLinkError) {
            let request = try await rooms.agents.call(CertificateRequestVerb(), to: agent)
            do throws(OperationError) { signed = try rooms.sign(request.requestPEM, for: storage.id) } catch {
                throw AgentLinkError.protocolViolation(error.detail)
            }
            _ = try await rooms.agents.call(
                InstallCertificateVerb(certificatePEM: signed.certificatePEM, authorityPEM: signed.authorityPEM),
                to: agent)
        } catch { throw error.operationError(storage) }
        try await rooms.change { transaction throws(OperationError) in
            guard try transaction.find(ImageStorageRecord.self, storage.id) != nil else { return }
            try transaction.change(ImageStorageRecord.self, storage.id, .quiet) { storage in
                storage.certificateIssuedAt = signed.issuedAt
                storage.certificateExpiresAt = signed.expiresAt
            }
            try transaction.audit(.controller, "certificate.renew", storage.reference, .done, storage.name)
        }
    }
}
