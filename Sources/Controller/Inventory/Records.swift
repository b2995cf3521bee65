import Model

/// What every row of the inventory that people see has in common.
package protocol Record: Codable, Sendable {
    /// What its id names.
    associatedtype Kind
    /// How it is stored and listed.
    static var shape: RecordShape { get }
    /// Its id.
    var id: ID<Kind> { get }
    /// When it was made.
    var createdAt: Timestamp { get }
    /// When it was last changed.
    var updatedAt: Timestamp { get set }
    /// Counts the changes; the ETag of the API.
    var revision: Int { get set }
    /// The record with what is newer in memory than on disk: a running job's progress.
    func showing(_ progress: (JobID) -> JobProgress?) -> Self
}

extension Record {
    /// Most records are on the disk as they are.
    package func showing(_ progress: (JobID) -> JobProgress?) -> Self { self }
}

/// How a kind of record is stored and listed.
package struct RecordShape: Sendable {
    /// The table.
    package let table: String
    /// The word of errors and audit records, such as `image-storage`.
    package let kind: String
    /// Columns that a list may be filtered by.
    package let filters: Set<String>
    /// Columns that a list may be sorted by; each has an index that ends with the id.
    package let sorts: Set<String>
    /// Columns that `search` looks into.
    package let searches: [String]
    /// Filter columns whose values are `true` and `false`.
    package var flags: Set<String> = []
}

/// A data center. Source: seed, "Data Center".
package struct DataCenterRecord: Record, Equatable {
    package typealias Kind = DataCenterKind
    package static let shape = RecordShape(
        table: "dataCenter", kind: "data-center", filters: ["name"], sorts: ["name", "createdAt", "updatedAt"],
        searches: ["name", "description"])
    package let id: DataCenterID
    package var name: String
    package var description: String
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision.
    package init(id: DataCenterID, name: String, description: String, createdAt: Timestamp) {
        self.id = id
        self.name = name
        self.description = description
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}

/// How an SSH log-in is proved.
package enum CredentialKind: String, Codable, Sendable {
    case password, privateKey
}

/// How a storage's disk was chosen. Source: seed, "Disk Access Method".
package enum DiskAccess: String, Codable, Sendable {
    case freeDisk, localDirectory
}

/// The kinds of image storages.
package enum ImageStorageType: String, Codable, Sendable {
    case standalone, distributed
}

/// Whether an admin lets a storage be used.
package enum ImageStorageState: String, Codable, Sendable {
    case enabled, disabled
}

/// Whether a storage's agent answers.
package enum ImageStorageStatus: String, Codable, Sendable {
    case connecting, connected, disconnected
}

/// An image storage as the admin configured it and as it was last seen.
package struct ImageStorageRecord: Record, Equatable {
    package typealias Kind = ImageStorageKind
    package static let shape = RecordShape(
        table: "imageStorage", kind: "image-storage",
        filters: ["name", "type", "dataCenterID", "state", "status", "hostAddress"],
        sorts: ["name", "createdAt", "updatedAt"], searches: ["name", "description"])
    package let id: ImageStorageID
    package var name: String
    package var description: String
    package let type: ImageStorageType
    package var dataCenterID: DataCenterID
    /// The host's management address; also where the agent is reached.
    package var hostAddress: String
    package var sshPort: Int
    package var username: String
    /// The pinned SSH host key's fingerprint (`SHA256:…`); nil until the first contact.
    package var hostKey: String?
    package var credentialKind: CredentialKind
    /// With whose rights the bundle works on the host; nil until the first contact.
    package var hostScope: HostScope?
    package let diskMethod: DiskAccess
    /// The device as the admin named it (free disk only).
    package let diskDevice: String?
    /// The disk as it was found at the first contact; compared again before anything is done to it.
    package var diskChoice: DiskChoice?
    package let mountPath: String
    package let retrieveExistingImages: Bool
    package var imageSyncNetwork: String?
    package var dataNetwork: String?
    package var reservedCapacityBytes: UInt64
    package var blobUploadConcurrency: Int
    package var blobDownloadConcurrency: Int
    package var state: ImageStorageState
    package var status: ImageStorageStatus
    /// Why it is not connected, or what is degraded; for people.
    package var statusReason: String?
    package var agentVersion: String?
    package var storeID: StoreID?
    package var agentPort: Int?
    package var certificateIssuedAt: Timestamp?
    package var certificateExpiresAt: Timestamp?
    /// As last reported.
    package var usage: StorageUsage?
    package var lastSeenAt: Timestamp?
    /// True when a changed host or credential waits for a reconnect.
    package var requiresReconnect: Bool
    /// A job is deleting it; nothing else may begin.
    package var isBeingDeleted: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision: enabled and connecting.
    package init(
        id: ImageStorageID, name: String, description: String, type: ImageStorageType, dataCenterID: DataCenterID,
        hostAddress: String, sshPort: Int, username: String, hostKey: String?, credentialKind: CredentialKind,
        diskMethod: DiskAccess, diskDevice: String?, mountPath: String, retrieveExistingImages: Bool,
        imageSyncNetwork: String?, dataNetwork: String?, reservedCapacityBytes: UInt64, blobUploadConcurrency: Int,
        blobDownloadConcurrency: Int, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.type = type
        self.dataCenterID = dataCenterID
        self.hostAddress = hostAddress
        self.sshPort = sshPort
        self.username = username
        self.hostKey = hostKey
        self.credentialKind = credentialKind
        self.diskMethod = diskMethod
        self.diskDevice = diskDevice
        self.mountPath = mountPath
        self.retrieveExistingImages = retrieveExistingImages
        self.imageSyncNetwork = imageSyncNetwork
        self.dataNetwork = dataNetwork
        self.reservedCapacityBytes = reservedCapacityBytes
        self.blobUploadConcurrency = blobUploadConcurrency
        self.blobDownloadConcurrency = blobDownloadConcurrency
        state = .enabled
        status = .connecting
        requiresReconnect = false
        isBeingDeleted = false
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}

/// The life of an image, as in the API.
package enum ImageStatus: String, Codable, Sendable {
    case creating, ready, failed, recycled, expunged
}

/// Where an image came from.
package enum ImageSourceKind: String, Codable, Sendable {
    case url, hostPath, upload
    /// Found in a store that was added with "retrieve existing images".
    case retrieved
}

/// A stable code and words for people.
package struct Failure: Codable, Sendable, Equatable {
    /// Stable, kebab-case.
    package var code: String
    /// What was wrong and what to do.
    package var detail: String
    /// A JSON pointer into the request that is to blame.
    package var field: String?

    /// Creates a failure.
    package init(code: String, detail: String, field: String? = nil) {
        self.code = code
        self.detail = detail
        self.field = field
    }
}

/// An image.
package struct ImageRecord: Record, Equatable {
    package typealias Kind = ImageKind
    package static let shape = RecordShape(
        table: "image", kind: "image",
        filters: ["name", "imageStorageID", "type", "format", "status", "contentDigest", "exported"],
        sorts: ["name", "createdAt", "updatedAt"], searches: ["name", "description"], flags: ["exported"])
    package let id: ImageID
    package let imageStorageID: ImageStorageID
    package var name: String
    package var description: String
    package let type: ImageType
    package let format: ImageFormat
    package var status: ImageStatus
    package var virtualSizeBytes: UInt64?
    package var storedBytes: UInt64?
    package var referencedBytes: UInt64?
    package var contentDigest: Digest?
    package var sourceDigest: Digest?
    package var sourceSizeBytes: UInt64?
    package let sourceKind: ImageSourceKind
    /// The URL without user info and query, the path, or the upload's id.
    package let sourceText: String
    package var architecture: String?
    package var exported: Bool
    package var recycledAt: Timestamp?
    package var expungeAt: Timestamp?
    package var failure: Failure?
    package var notes: [String]
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision: creating.
    package init(
        id: ImageID, imageStorageID: ImageStorageID, name: String, description: String, type: ImageType,
        format: ImageFormat, sourceKind: ImageSourceKind, sourceText: String, createdAt: Timestamp
    ) {
        self.id = id
        self.imageStorageID = imageStorageID
        self.name = name
        self.description = description
        self.type = type
        self.format = format
        status = .creating
        self.sourceKind = sourceKind
        self.sourceText = sourceText
        exported = false
        notes = []
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }

    /// Takes over what the storage knows. Counts are capped to what the inventory can hold.
    package mutating func take(_ facts: ImageFacts) {
        func capped(_ count: UInt64) -> UInt64 { min(count, UInt64(Int64.max)) }
        virtualSizeBytes = capped(facts.virtualSizeBytes)
        storedBytes = capped(facts.storedBytes)
        referencedBytes = capped(facts.referencedBytes)
        sourceSizeBytes = capped(facts.sourceSizeBytes)
        contentDigest = facts.contentDigest
        sourceDigest = facts.sourceDigest
    }
}

/// An upload that a client is making (tus).
package struct UploadRecord: Record, Equatable {
    package typealias Kind = UploadKind
    package static let shape = RecordShape(
        table: "upload", kind: "upload", filters: ["imageStorageID"], sorts: ["createdAt", "updatedAt"], searches: [])
    package let id: UploadID
    package let imageStorageID: ImageStorageID
    package let byteCount: UInt64
    /// Durable on the storage's host, as last reported.
    package var durableByteCount: UInt64
    package let fileName: String?
    package let userID: UserID?
    /// The image made of it; it is no longer the client's then.
    package var imageID: ImageID?
    package var expiresAt: Timestamp
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision.
    package init(
        id: UploadID, imageStorageID: ImageStorageID, byteCount: UInt64, fileName: String?, userID: UserID?,
        expiresAt: Timestamp, createdAt: Timestamp
    ) {
        self.id = id
        self.imageStorageID = imageStorageID
        self.byteCount = byteCount
        durableByteCount = 0
        self.fileName = fileName
        self.userID = userID
        self.expiresAt = expiresAt
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}
