import Inventory
import Model

extension Operations {
    /// Refuses a caller whose role is too weak, and writes that down.
    package func allow(
        _ caller: Caller, _ needed: Role, _ action: String, _ resource: ResourceReference? = nil
    ) async throws(OperationError) {
        guard caller.role < needed else { return }
        try await rooms.change { transaction throws(OperationError) in
            try transaction.audit(caller, action, resource, .denied, "needs \(needed.rawValue)")
        }
        throw .forbidden(needed: needed)
    }

    func allow(
        _ caller: Caller, _ needed: Role, _ action: String, _ id: ImageStorageID
    ) async throws(OperationError) {
        try await allow(
            caller, needed, action, ResourceReference(type: ImageStorageRecord.shape.kind, id: id.description))
    }

    func allow(_ caller: Caller, _ needed: Role, _ action: String, _ id: ImageID) async throws(OperationError) {
        try await allow(caller, needed, action, ResourceReference(type: ImageRecord.shape.kind, id: id.description))
    }

    /// A record that every role may see. Accounts, tokens and uploads have doors of their own.
    package func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>, caller: Caller) async throws(OperationError) -> R {
        try await allow(caller, R.readableBy, "\(R.shape.kind).read")
        do throws(InventoryError) {
            guard let record = try await inventory.find(type, id) else {
                throw InventoryError.notFound(kind: R.shape.kind, id: id.description)
            }
            return record
        } catch { throw OperationError(error) }
    }

    /// A page of records that every role may see. A bad query is `.invalid`.
    package func list<R: Record>(
        _ type: R.Type, _ query: Query, caller: Caller
    ) async throws(OperationError) -> Page<R> {
        try await allow(caller, R.readableBy, "\(R.shape.kind).list")
        do throws(InventoryError) { return try await inventory.list(type, query) } catch { throw OperationError(error) }
    }

    /// Claims an idempotency key for a request; keys belong to the caller and live for 24 hours. After `.fresh` the key
    /// is claimed until `remember` or `forget`. Source: api.md, "Idempotency-Key".
    package func idempotent(
        key: String, caller: Caller, route: String, bodyDigest: Digest
    ) async throws(OperationError) -> IdempotencyOutcome {
        let isPlain = key.utf8.allSatisfy { (0x21...0x7e).contains($0) }
        guard !key.isEmpty, key.utf8.count <= OperationsLimits.idempotencyKeyByteCountMax, isPlain else {
            throw .invalid(field: "", detail: "an Idempotency-Key has 1 to 255 printable ASCII characters")
        }
        return try await rooms.change { transaction throws(OperationError) in
            try transaction.claim(key: key, caller: caller.idempotencyOwner, route: route, bodyDigest: bodyDigest)
        }
    }

    /// Keeps the answer of a claimed key.
    package func remember(key: String, caller: Caller, answer: StoredAnswer) async throws(OperationError) {
        try await rooms.change { transaction throws(OperationError) in
            try transaction.remember(answer, key: key, caller: caller.idempotencyOwner)
        }
    }

    /// The request failed in a way that a repetition may cure: the key is free again.
    package func forget(key: String, caller: Caller) async throws(OperationError) {
        try await rooms.change { transaction throws(OperationError) in
            try transaction.forget(key: key, caller: caller.idempotencyOwner)
        }
    }
}

extension Caller {
    var idempotencyOwner: String { userID?.description ?? "-" }
}

extension Record {
    /// Who may read records of this kind through the general door.
    static var readableBy: Role {
        Self.self == UserRecord.self || Self.self == TokenRecord.self || Self.self == UploadRecord.self
            ? .admin : .viewer
    }
}
