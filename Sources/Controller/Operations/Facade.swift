import AgentLink
import Bootstrap
import Inventory
import Logging
import Model
import Secrets
import Wire

private let later = OperationError.internal(detail: "not built yet")

/// What an admin can ask for.
package final class Operations: Sendable {
    /// The records, for reading.
    package let inventory: Inventory

    /// Introduces the rooms to each other; nothing runs before `start`.
    package init(
        inventory: Inventory, agents: any AgentCalls, hosts: any HostBootstrap, authority: any CertificateSigning,
        bundles: [BundleFile], clock: WallClock, randomness: Randomness, log: Logger
    ) { self.inventory = inventory }

    /// Resumes every unfinished job and runs the loops (ping, expiry, retention) until the task is cancelled; running jobs
    /// are left as they are and go on at the next start.
    package func run() async throws(OperationError) { throw later }
}

/// The CA, as Operations needs it.
package protocol CertificateSigning: Sendable {
    /// Signs an agent's request: the certificate names the storage in its SAN. Throws words for people.
    func sign(requestPEM: String, for storage: ImageStorageID) throws(CertificateRefusal) -> SignedCertificate
}

/// A signed certificate and the roots that vouch for it.
package struct SignedCertificate: Sendable {
    package var certificatePEM: String
    package var authorityPEM: String
    package var issuedAt: Timestamp
    package var expiresAt: Timestamp
    /// Creates it from its parts.
    package init(certificatePEM: String, authorityPEM: String, issuedAt: Timestamp, expiresAt: Timestamp) {
        self.certificatePEM = certificatePEM
        self.authorityPEM = authorityPEM
        self.issuedAt = issuedAt
        self.expiresAt = expiresAt
    }
}

/// Why a request was not signed.
package struct CertificateRefusal: Error, Sendable, Equatable {
    package var detail: String
    /// Creates the error.
    package init(_ detail: String) { self.detail = detail }
}

extension Operations {
    // Data centers
    package func createDataCenter(name: String, description: String, caller: Caller) async throws(OperationError) -> DataCenterRecord { throw later }
    package func updateDataCenter(_ id: DataCenterID, _ patch: NamePatch, ifMatch: Int?, caller: Caller) async throws(OperationError) -> DataCenterRecord { throw later }
    package func deleteDataCenter(_ id: DataCenterID, caller: Caller) async throws(OperationError) { throw later }

    // Image storages
    package func probe(_ host: HostSpec, caller: Caller) async throws(OperationError) -> HostProbe { throw later }
    package func addStandalone(_ spec: StandaloneSpec, caller: Caller) async throws(OperationError) -> (JobRecord, ImageStorageRecord) { throw later }
    package func updateImageStorage(_ id: ImageStorageID, _ patch: StoragePatch, ifMatch: Int?, caller: Caller) async throws(OperationError) -> ImageStorageRecord { throw later }
    /// The record's `requiresReconnect` is true afterwards.
    package func setCredential(_ id: ImageStorageID, _ credential: HostCredential, caller: Caller) async throws(OperationError) -> ImageStorageRecord { throw later }
    package func reconnect(_ id: ImageStorageID, caller: Caller) async throws(OperationError) -> (JobRecord, ImageStorageRecord) { throw later }
    package func enableImageStorage(_ id: ImageStorageID, caller: Caller) async throws(OperationError) -> ImageStorageRecord { throw later }
    package func disableImageStorage(_ id: ImageStorageID, caller: Caller) async throws(OperationError) -> ImageStorageRecord { throw later }
    package func deleteImageStorage(_ id: ImageStorageID, force: Bool, caller: Caller) async throws(OperationError) -> (JobRecord, ImageStorageRecord) { throw later }
    package func deleteImageStorages(_ ids: [ImageStorageID], force: Bool, caller: Caller) async throws(OperationError) -> [BulkResult<ImageStorageKind>] { throw later }
    package func usage(_ id: ImageStorageID, caller: Caller) async throws(OperationError) -> StorageUsage { throw later }

    // Images
    package func addImage(_ spec: ImageSpec, caller: Caller) async throws(OperationError) -> (JobRecord, ImageRecord) { throw later }
    package func updateImage(_ id: ImageID, _ patch: NamePatch, ifMatch: Int?, caller: Caller) async throws(OperationError) -> ImageRecord { throw later }
    package func deleteImage(_ id: ImageID, caller: Caller) async throws(OperationError) -> (JobRecord, ImageRecord) { throw later }
    package func deleteImages(_ ids: [ImageID], caller: Caller) async throws(OperationError) -> [BulkResult<ImageKind>] { throw later }
    package func content(_ id: ImageID, format: ImageFormat, caller: Caller) async throws(OperationError) -> ImageContent { throw later }

    // Uploads (tus)
    package func createUpload(imageStorageID: ImageStorageID, byteCount: UInt64, fileName: String?, caller: Caller) async throws(OperationError) -> UploadRecord { throw later }
    /// With the standing that the agent reports now.
    package func upload(_ id: UploadID, caller: Caller) async throws(OperationError) -> UploadRecord { throw later }
    /// `nextPiece` answers at most 1 MiB at a time, nil at the end; what arrived before it throws is kept. Codes: `upload-offset-mismatch`, `checksum-mismatch`, `upload-busy`.
    package func writeUpload(_ id: UploadID, offset: UInt64, checksum: Digest?, caller: Caller, nextPiece: @escaping @Sendable () async throws -> [UInt8]?) async throws(OperationError) -> UploadRecord { throw later }
    package func deleteUpload(_ id: UploadID, caller: Caller) async throws(OperationError) { throw later }

    // Jobs
    package func cancelJob(_ id: JobID, caller: Caller) async throws(OperationError) -> JobRecord { throw later }

    // Accounts
    /// Makes the account `admin` when there is no account at all; false: there was one.
    package func firstAdmin(password: Secret) async throws(OperationError) -> Bool { throw later }
    package func logIn(username: String, password: Secret, address: String) async throws(OperationError) -> LogIn { throw later }
    package func logOut(caller: Caller) async throws(OperationError) { throw later }
    package func authenticate(bearerToken: String, address: String) async throws(OperationError) -> Caller { throw later }
    package func createAPIToken(name: String, description: String, role: Role?, expiresAt: Timestamp?, caller: Caller) async throws(OperationError) -> (Secret, TokenRecord) { throw later }
    package func listAPITokens(_ query: Query, caller: Caller) async throws(OperationError) -> Page<TokenRecord> { throw later }
    package func deleteAPIToken(_ id: TokenID, caller: Caller) async throws(OperationError) { throw later }
    package func changeOwnPassword(current: Secret, new: Secret, caller: Caller) async throws(OperationError) { throw later }
    package func listUsers(_ query: Query, caller: Caller) async throws(OperationError) -> Page<UserRecord> { throw later }
    package func createUser(name: String, description: String, role: Role, password: Secret, caller: Caller) async throws(OperationError) -> UserRecord { throw later }
    package func updateUser(_ id: UserID, description: String?, role: Role?, isEnabled: Bool?, password: Secret?, ifMatch: Int?, caller: Caller) async throws(OperationError) -> UserRecord { throw later }
    package func deleteUser(_ id: UserID, caller: Caller) async throws(OperationError) { throw later }

    // System parameters
    package func listSystemParameters(caller: Caller) async throws(OperationError) -> [SystemParameter] { throw later }
    package func systemParameter(_ name: String, caller: Caller) async throws(OperationError) -> SystemParameter { throw later }
    package func setSystemParameter(_ name: String, _ value: SystemParameter.Value, ifMatch: Int?, caller: Caller) async throws(OperationError) -> SystemParameter { throw later }

    // Audit
    /// Newest first, and whether the whole chain of hashes is intact (`brokenAt`: the first line that is not).
    package func auditLog(limit: Int, cursor: String?, caller: Caller) async throws(OperationError) -> (page: Page<AuditRecord>, brokenAt: Int64?) { throw later }

    /// Reads: checks that the caller may see (viewer), then asks the inventory.
    package func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>, caller: Caller) async throws(OperationError) -> R { throw later }
    /// Reads a page: checks that the caller may see (viewer; users, tokens: not here), then asks the inventory. A bad query is `.invalid`.
    package func list<R: Record>(_ type: R.Type, _ query: Query, caller: Caller) async throws(OperationError) -> Page<R> { throw later }

    // Idempotency (24 hours; keys belong to the caller)
    package func idempotent(key: String, caller: Caller, route: String, bodyDigest: Digest) async throws(OperationError) -> IdempotencyOutcome { throw later }
    package func remember(key: String, caller: Caller, answer: StoredAnswer) async throws(OperationError) { throw later }
    /// The request failed in a way that a repetition may cure: the key is free again.
    package func forget(key: String, caller: Caller) async throws(OperationError) { throw later }
}
