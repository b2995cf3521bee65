import AgentLink
import Inventory
import Model
import Secrets
import Wire

extension UploadRecord {
    /// Whether a caller may see it: their own, or an admin.
    func isOf(_ caller: Caller) -> Bool { caller.role == .admin || userID == caller.userID }
}

extension Operations {
    /// Makes room for an upload on a storage. Source: api.md, `/v1/uploads`.
    package func createUpload(
        imageStorageID: ImageStorageID, byteCount: UInt64, fileName: String?, caller: Caller
    ) async throws(OperationError) -> UploadRecord {
        try await allow(caller, .operator, "upload.create")
        guard byteCount <= OperationsLimits.uploadByteCountMax else {
            throw .invalid(
                field: "/byteCount", detail: "an upload has at most \(OperationsLimits.uploadByteCountMax) bytes")
        }
        let name = fileName.flatMap { (try? ResourceName(String($0.prefix(128))))?.text }
        let id: UploadID = rooms.randomness.id()
        let made = try await rooms.change { transaction throws(OperationError) in
            let storage = try self.usableStorage(transaction, imageStorageID, field: "/imageStorageId")
            let hours = try transaction.count("upload.expiry-hours")
            let upload = UploadRecord(
                id: id, imageStorageID: imageStorageID, byteCount: byteCount, fileName: name, userID: caller.userID,
                expiresAt: transaction.now.adding(seconds: Int64(hours) * 3600), createdAt: transaction.now)
            try transaction.insert(upload)
            try transaction.audit(caller, "upload.create", upload.reference, .done, "\(byteCount) bytes")
            return UploadOnStorage(upload: upload, storage: storage)
        }
        do throws(OperationError) {
            _ = try await ask(CreateUploadVerb(id: id, byteCount: byteCount), made)
        } catch {
            try await rooms.change { transaction throws(OperationError) in
                try transaction.delete(UploadRecord.self, id)
            }
            throw error
        }
        return made.upload
    }

    private struct UploadOnStorage: Sendable {
        var upload: UploadRecord
        var storage: ImageStorageRecord
    }

    private func ask<V: AgentVerb>(_ verb: V, _ place: UploadOnStorage) async throws(OperationError) -> V.Reply {
        guard let agent = place.storage.agent else {
            throw .storageNotConnected(name: place.storage.name, reason: place.storage.statusReason)
        }
        do throws(AgentLinkError) { return try await rooms.agents.call(verb, to: agent) } catch {
            throw error.operationError(place.storage)
        }
    }

    // Somebody else's upload does not exist.
    private func find(_ id: UploadID, _ caller: Caller) async throws(OperationError) -> UploadOnStorage {
        try await rooms.read { transaction throws(OperationError) in
            let upload = try transaction.get(UploadRecord.self, id)
            guard upload.isOf(caller) else { throw .notFound(kind: "upload", id: id.description) }
            return UploadOnStorage(
                upload: upload, storage: try transaction.get(ImageStorageRecord.self, upload.imageStorageID))
        }
    }

    private func note(_ standing: UploadStanding, of id: UploadID) async throws(OperationError) -> UploadRecord {
        try await rooms.change { transaction throws(OperationError) in
            let hours = try transaction.count("upload.expiry-hours")
            return try transaction.change(UploadRecord.self, id) { upload in
                upload.durableByteCount = min(standing.durableByteCount, upload.byteCount)
                upload.expiresAt = transaction.now.adding(seconds: Int64(hours) * 3600)
            }
        }
    }

    /// An upload with the standing that the agent reports now.
    package func upload(_ id: UploadID, caller: Caller) async throws(OperationError) -> UploadRecord {
        try await allow(caller, .operator, "upload.read")
        let place = try await find(id, caller)
        guard place.upload.imageID == nil, place.upload.durableByteCount < place.upload.byteCount else {
            return place.upload
        }
        return try await note(try await ask(UploadStandingVerb(id: id), place), of: id)
    }

    /// Appends to an upload from its durable offset. `nextPiece` answers at most 1 MiB at a time and nil at the end; what
    /// arrived before it throws is kept, and the next `upload` tells how much that is.
    /// - Throws: `.conflict` with `upload-busy` or `upload-in-use`; `.agent` with `upload-offset-mismatch` or
    ///   `checksum-mismatch`.
    package func writeUpload(
        _ id: UploadID, offset: UInt64, checksum: Digest?, caller: Caller,
        nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(OperationError) -> UploadRecord {
        try await allow(caller, .operator, "upload.write")
        let place = try await find(id, caller)
        guard place.upload.imageID == nil else {
            throw .conflict(code: "upload-in-use", detail: "an image is being made of this upload")
        }
        guard let agent = place.storage.agent else {
            throw .storageNotConnected(name: place.storage.name, reason: place.storage.statusReason)
        }
        guard uploadsBeingWritten.withLock({ $0.insert(id).inserted }) else {
            throw .conflict(
                code: "upload-busy", detail: "another request is writing to this upload; ask where it stands")
        }
        defer { uploadsBeingWritten.withLock { _ = $0.remove(id) } }
        let verb = WriteUploadVerb(id: id, offset: offset, checksum: checksum)
        let standing: UploadStanding
        do throws(AgentLinkError) {
            standing = try await rooms.agents.send(verb, to: agent, nextPiece: nextPiece)
        } catch { throw error.operationError(place.storage) }
        return try await note(standing, of: id)
    }

    /// Throws an upload away. One that an image is being made of goes with its job.
    package func deleteUpload(_ id: UploadID, caller: Caller) async throws(OperationError) {
        try await allow(caller, .operator, "upload.delete")
        let place = try await find(id, caller)
        guard place.upload.imageID == nil else {
            throw .conflict(code: "upload-in-use", detail: "an image is being made of this upload; cancel its job")
        }
        _ = try await ask(RemoveUploadVerb(id: id), place)
        try await rooms.change { transaction throws(OperationError) in
            try transaction.delete(UploadRecord.self, id)
            try transaction.audit(caller, "upload.delete", place.upload.reference)
        }
    }
}
