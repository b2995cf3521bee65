import AgentLink
import Bootstrap
import Inventory
import Logging
import Model
import Scheduler
import Wire

extension Operations {
    /// Changes an image storage. New networks are checked on the host; the agent is told what it must know; what only a
    /// reconnect brings about makes `requiresReconnect` true.
    package func updateImageStorage(
        _ id: ImageStorageID, _ patch: StoragePatch, ifMatch: Int?, caller: Caller
    ) async throws(OperationError) -> ImageStorageRecord {
        try await allow(caller, .admin, "image-storage.update", id)
        let patch = try patch.checked()
        let before = try await rooms.read { transaction throws(OperationError) in
            try transaction.get(ImageStorageRecord.self, id)
        }
        guard ifMatch == nil || ifMatch == before.revision else { throw .preconditionFailed }
        var wanted = before
        patch.apply(to: &wanted)
        if wanted.imageSyncNetwork != before.imageSyncNetwork || wanted.dataNetwork != before.dataNetwork {
            try await checkNetworks(wanted)
        }
        let record = try await rooms.change { transaction throws(OperationError) in
            // The revision that the networks were checked for.
            let record = try transaction.change(ImageStorageRecord.self, id, ifMatch: before.revision) {
                record throws(OperationError) in
                guard !record.isBeingDeleted else { throw .beingDeleted(record) }
                patch.apply(to: &record)
                guard try transaction.find(DataCenterRecord.self, record.dataCenterID) != nil else {
                    throw .invalid(
                        field: "/dataCenterId", detail: "there is no data center \(record.dataCenterID)")
                }
                try checkMountPath(transaction, record, hostKey: record.hostKey)
            }
            try transaction.audit(caller, "image-storage.update", record.reference, .done, record.name)
            return record
        }
        await pushSettings(record)
        await rooms.scheduler.limitChanged(AddImage.key(id))
        return record
    }

    private func checkNetworks(_ storage: ImageStorageRecord) async throws(OperationError) {
        let host = HostWork(rooms: rooms)
        do throws(StepFailure) {
            let target = try await host.target(storage)
            try host.checkNetworks(storage, try await host.probe(target))
        } catch {
            switch error {
            case .failed(let failure), .retry(let failure):
                if let field = failure.field { throw .invalid(field: field, detail: failure.detail) }
                throw .host(code: failure.code, detail: failure.detail)
            case .wait(let reason): throw .host(code: "host-unreachable", detail: reason)
            case .cancelled: throw .internal(detail: "cancelled")
            }
        }
    }

    // An agent that cannot be told now is told when it is back.
    private func pushSettings(_ storage: ImageStorageRecord) async {
        guard storage.agent != nil else { return }
        do throws(OperationError) { try await AgentWork(rooms: rooms).tellSettings(storage) } catch {
            rooms.unconfigured.withLock { _ = $0.insert(storage.id) }
            rooms.log.warning("an agent was not told its settings", metadata: ["storage": "\(storage.id)"])
        }
    }

    /// Stores another password or key. It takes effect at the next reconnect, and the record says so.
    /// Source: issue, "update password".
    package func setCredential(
        _ id: ImageStorageID, _ credential: HostCredential, caller: Caller
    ) async throws(OperationError) -> ImageStorageRecord {
        try await allow(caller, .admin, "image-storage.set-credential", id)
        try Check.credential(credential, "")
        return try await rooms.change { transaction throws(OperationError) in
            let record = try transaction.change(ImageStorageRecord.self, id) { record throws(OperationError) in
                guard !record.isBeingDeleted else { throw .beingDeleted(record) }
                record.credentialKind = credential.kind
                record.requiresReconnect = true
            }
            try transaction.seal(
                Array(credential.secret.reveal.utf8), for: ImageStorageRecord.self, id, field: "credential")
            try transaction.audit(caller, "image-storage.set-credential", record.reference)
            return record
        }
    }

    /// Lets a storage take images again. Twice is once.
    package func enableImageStorage(
        _ id: ImageStorageID, caller: Caller
    ) async throws(OperationError) -> ImageStorageRecord {
        try await setState(id, .enabled, "image-storage.enable", caller)
    }

    /// No new images or uploads; what is there can be read, and what runs goes on. Twice is once.
    package func disableImageStorage(
        _ id: ImageStorageID, caller: Caller
    ) async throws(OperationError) -> ImageStorageRecord {
        try await setState(id, .disabled, "image-storage.disable", caller)
    }

    private func setState(
        _ id: ImageStorageID, _ state: ImageStorageState, _ action: String, _ caller: Caller
    ) async throws(OperationError) -> ImageStorageRecord {
        try await allow(caller, .admin, action, id)
        return try await rooms.change { transaction throws(OperationError) in
            var record = try transaction.get(ImageStorageRecord.self, id)
            if record.state != state {
                record = try transaction.change(ImageStorageRecord.self, id) { $0.state = state }
            }
            try transaction.audit(caller, action, record.reference, .done, record.name)
            return record
        }
    }

    /// How full a storage is: asked now, or as last known when its agent is away.
    package func usage(_ id: ImageStorageID, caller: Caller) async throws(OperationError) -> StorageUsage {
        try await allow(caller, .viewer, "image-storage.usage", id)
        let storage = try await rooms.read { transaction throws(OperationError) in
            try transaction.get(ImageStorageRecord.self, id)
        }
        guard let agent = storage.agent else {
            throw .storageNotConnected(name: storage.name, reason: storage.statusReason)
        }
        do throws(AgentLinkError) { return try await rooms.agents.call(StatusVerb(), to: agent).usage } catch {
            guard let known = storage.usage else { throw error.operationError(storage) }
            return known
        }
    }
}

extension OperationError {
    static func beingDeleted(_ storage: ImageStorageRecord) -> OperationError {
        .conflict(code: "image-storage-being-deleted", detail: "the image storage '\(storage.name)' is being deleted")
    }
}

extension StoragePatch {
    func checked() throws(OperationError) -> StoragePatch {
        var patch = self
        if let name { patch.name = try Check.name(name) }
        if let description { patch.description = try Check.description(description) }
        if let hostAddress {
            patch.hostAddress =
                try checked("/host/address") { () throws(InvalidValue) in try HostAddress(hostAddress) }.text
        }
        if let sshPort { try Check.port(sshPort, "/host/sshPort") }
        if let username {
            patch.username = try checked("/host/username") { () throws(InvalidValue) in try UserName(username) }.text
        }
        if case .set(let key) = hostKey { try Check.hostKey(key, "/host/hostKey") }
        if case .set(let text) = imageSyncNetwork {
            patch.imageSyncNetwork = try Check.network(text, "/imageSyncNetwork").map { .set($0) } ?? .clear
        }
        if case .set(let text) = dataNetwork {
            patch.dataNetwork = try Check.network(text, "/dataNetwork").map { .set($0) } ?? .clear
        }
        if let reservedCapacityBytes { try Check.capacity(reservedCapacityBytes) }
        if let count = blobUploadConcurrency { _ = try Check.concurrency(count, "/blobUploadConcurrency") }
        if let count = blobDownloadConcurrency { _ = try Check.concurrency(count, "/blobDownloadConcurrency") }
        return patch
    }

    private func checked<T>(_ field: String, _ make: () throws(InvalidValue) -> T) throws(OperationError) -> T {
        do throws(InvalidValue) { return try make() } catch { throw .invalid(field: field, detail: error.reason) }
    }

    func apply(to storage: inout ImageStorageRecord) {
        let before = storage
        storage.name = name ?? storage.name
        storage.description = description ?? storage.description
        storage.dataCenterID = dataCenterID ?? storage.dataCenterID
        storage.hostAddress = hostAddress ?? storage.hostAddress
        storage.sshPort = sshPort ?? storage.sshPort
        storage.username = username ?? storage.username
        storage.hostKey = hostKey.applied(to: storage.hostKey)
        storage.imageSyncNetwork = imageSyncNetwork.applied(to: storage.imageSyncNetwork)
        storage.dataNetwork = dataNetwork.applied(to: storage.dataNetwork)
        storage.reservedCapacityBytes = reservedCapacityBytes ?? storage.reservedCapacityBytes
        storage.blobUploadConcurrency = blobUploadConcurrency ?? storage.blobUploadConcurrency
        storage.blobDownloadConcurrency = blobDownloadConcurrency ?? storage.blobDownloadConcurrency
        // The addresses that the agent listens on, and the door into the host, change only with a reconnect.
        let isSameDoor =
            before.hostAddress == storage.hostAddress && before.sshPort == storage.sshPort
            && before.username == storage.username && before.hostKey == storage.hostKey
        let isSameNetworks =
            before.imageSyncNetwork == storage.imageSyncNetwork && before.dataNetwork == storage.dataNetwork
        if !isSameDoor || !isSameNetworks { storage.requiresReconnect = true }
    }
}

extension Change {
    /// The field after the patch.
    func applied(to value: Value?) -> Value? {
        switch self {
        case .keep: value
        case .clear: nil
        case .set(let new): new
        }
    }
}
