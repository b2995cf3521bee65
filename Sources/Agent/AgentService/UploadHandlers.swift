import Model
import Storage
import Synchronization
import Wire

/// Uploads: staged files of sessions that bear the upload's id.
final class Uploads: Sendable {
    /// What is kept with the staged file.
    private struct Notes: Codable {
        var uploadByteCount: UInt64
    }

    private let store: any ImageStore

    init(store: any ImageStore) { self.store = store }

    static func session(_ id: UploadID) -> SessionID {
        // 16 bytes make an id, always.
        SessionID(bytes: id.bytes)!
    }

    /// Makes the upload, or says where it stands. Blocks.
    func create(_ id: UploadID, byteCount: UInt64) throws(AgentFailure) -> UploadStanding {
        guard byteCount <= ServiceLimits.fileByteCountMax else {
            throw AgentFailure(
                code: .imageTooLarge,
                detail: "the file has \(byteCount) bytes, at most \(ServiceLimits.fileByteCountMax) are taken")
        }
        let file = try stage(id, expectedBytes: byteCount)
        defer { file.close() }
        if let known = try total(file) {
            guard known == byteCount else {
                throw AgentFailure(
                    code: .badRequest, detail: "the upload \(id) was begun with \(known) bytes, not \(byteCount)")
            }
        } else {
            let notes: [UInt8]
            do throws(WireError) { notes = try Messages.encode(Notes(uploadByteCount: byteCount)) } catch {
                throw AgentFailure(code: .internal, detail: "\(error)")
            }
            do throws(StorageError) { try file.setNotes(notes) } catch { throw AgentFailure(error) }
        }
        return UploadStanding(durableByteCount: file.durableByteCount, byteCount: byteCount)
    }

    /// Opens an upload that was made before. Blocks.
    func open(_ id: UploadID) throws(AgentFailure) -> (file: any StagedFile, byteCount: UInt64) {
        let isThere: Bool
        do throws(StorageError) { isThere = try store.sessions().contains { $0.id == Uploads.session(id) } } catch {
            throw AgentFailure(error)
        }
        guard isThere else { throw notFound(id) }
        let file = try stage(id, expectedBytes: nil)
        guard let byteCount = try total(file) else {
            file.close()
            throw notFound(id)
        }
        return (file, byteCount)
    }

    private func stage(_ id: UploadID, expectedBytes: UInt64?) throws(AgentFailure) -> any StagedFile {
        do throws(StorageError) { return try store.stage(Uploads.session(id), expectedBytes: expectedBytes) } catch {
            throw AgentFailure(error)
        }
    }

    private func total(_ file: any StagedFile) throws(AgentFailure) -> UInt64? {
        do throws(StorageError) {
            let bytes = try file.notes()
            if bytes.isEmpty { return nil }
            do throws(WireError) { return try Messages.decode(Notes.self, from: bytes).uploadByteCount } catch {
                return nil
            }
        } catch { throw AgentFailure(error) }
    }

    private func notFound(_ id: UploadID) -> AgentFailure {
        AgentFailure(
            code: .uploadNotFound, detail: "the upload \(id) is not there: it has ended or expired; begin again")
    }
}

extension AgentService {
    func createUpload(_ verb: CreateUploadVerb) async throws(AgentFailure) -> UploadStanding {
        let uploads = uploads
        return try await onBulkThread { () throws(AgentFailure) in
            try uploads.create(verb.id, byteCount: verb.byteCount)
        }
    }

    func uploadStanding(_ verb: UploadStandingVerb) async throws(AgentFailure) -> UploadStanding {
        let uploads = uploads
        return try await onBulkThread { () throws(AgentFailure) in
            let (file, byteCount) = try uploads.open(verb.id)
            defer { file.close() }
            return UploadStanding(durableByteCount: file.durableByteCount, byteCount: byteCount)
        }
    }

    func removeUpload(_ verb: RemoveUploadVerb) async throws(AgentFailure) -> Done {
        let store = store
        try await onThread { () throws(StorageError) in try store.abandon(Uploads.session(verb.id)) }
        return Done()
    }

    func writeUpload(_ verb: WriteUploadVerb, _ request: IncomingRequest) async throws(AgentFailure) -> UploadStanding {
        let uploads = uploads
        let (file, byteCount) = try await onBulkThread { () throws(AgentFailure) in try uploads.open(verb.id) }
        let writing = UploadWriting(file: file, byteCount: byteCount, verb: verb)
        do throws(AgentFailure) {
            try writing.begin()
            while true {
                let piece: [UInt8]?
                do throws(RequestEnd) { piece = try await request.nextPiece() } catch {
                    // The asker went away: what came is kept, unless it was to be checked as a whole.
                    try await onBulkThread { () throws(AgentFailure) in try writing.cutShort() }
                    throw AgentFailure(
                        code: .cancelled, detail: "the sender went away after \(file.durableByteCount) bytes",
                        isRetryable: true)
                }
                guard let piece else { break }
                try await onBulkThread { () throws(AgentFailure) in try writing.append(piece) }
            }
            let standing = try await onBulkThread { () throws(AgentFailure) in try writing.finish() }
            file.close()
            return standing
        } catch {
            // Closing drops what was not made durable.
            await bulkThreads.run { file.close() }
            throw error
        }
    }

    func onBulkThread<T: Sendable>(
        _ body: @escaping @Sendable () throws(AgentFailure) -> T
    ) async throws(AgentFailure) -> T {
        let result = await bulkThreads.run { () -> Result<T, AgentFailure> in
            do throws(AgentFailure) { return .success(try body()) } catch { return .failure(error) }
        }
        return try result.get()
    }
}

/// One request's bytes on their way into an upload.
private final class UploadWriting: Sendable {
    private struct State {
        var hash = ResumableSHA256()
        var unsynced: UInt64 = 0
    }

    private let file: any StagedFile
    private let byteCount: UInt64
    private let verb: WriteUploadVerb
    private let state = Mutex(State())

    init(file: any StagedFile, byteCount: UInt64, verb: WriteUploadVerb) {
        self.file = file
        self.byteCount = byteCount
        self.verb = verb
    }

    func begin() throws(AgentFailure) {
        guard verb.offset == file.durableByteCount else {
            throw AgentFailure(
                code: .uploadOffsetMismatch,
                detail: "the upload stands at \(file.durableByteCount), not at \(verb.offset); go on from there")
        }
    }

    func append(_ piece: [UInt8]) throws(AgentFailure) {
        guard UInt64(piece.count) <= byteCount - min(byteCount, file.byteCount) else {
            throw AgentFailure(
                code: .badRequest, detail: "more bytes than the \(byteCount) that the upload was begun with")
        }
        let isChecked = verb.checksum != nil
        let mustSync = state.withLock { state in
            if isChecked { piece.withUnsafeBytes { state.hash.update($0) } }
            state.unsynced += UInt64(piece.count)
            // What is checked as a whole is made durable as a whole.
            guard !isChecked, state.unsynced >= ServiceLimits.syncByteCount else { return false }
            state.unsynced = 0
            return true
        }
        var failure: StorageError?
        piece.withUnsafeBytes { bytes in
            do throws(StorageError) {
                try file.append(bytes)
                if mustSync { try file.sync() }
            } catch { failure = error }
        }
        if let failure { throw AgentFailure(failure) }
    }

    func cutShort() throws(AgentFailure) {
        guard verb.checksum == nil else { return }
        do throws(StorageError) { try file.sync() } catch { throw AgentFailure(error) }
    }

    func finish() throws(AgentFailure) -> UploadStanding {
        if let expected = verb.checksum {
            let found = state.withLock { $0.hash.current() }
            guard found == expected else {
                throw AgentFailure(StorageError.checksumMismatch(expected: expected, found: found))
            }
        }
        do throws(StorageError) { try file.sync() } catch { throw AgentFailure(error) }
        return UploadStanding(durableByteCount: file.durableByteCount, byteCount: byteCount)
    }
}
