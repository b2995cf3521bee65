import Inventory
import Model
import Operations

/// An image storage as it is sent. Secrets are not in it.
struct ImageStorageView: Codable, Sendable {
    var id: ImageStorageID
    var name: String
    var description: String
    var type: String
    var dataCenterId: DataCenterID
    var host: Host
    var disk: Disk
    var mountPath: String
    var retrieveExistingImages: Bool
    var imageSyncNetwork: String?
    var dataNetwork: String?
    var reservedCapacityBytes: UInt64
    var blobUploadConcurrency: Int
    var blobDownloadConcurrency: Int
    var state: String
    var status: String
    var statusReason: String?
    var requiresReconnect: Bool
    var agentVersion: String?
    var storeId: StoreID?
    var capacity: StorageUsage?
    var lastSeenAt: Timestamp?
    var createdAt: Timestamp
    var updatedAt: Timestamp

    struct Host: Codable, Sendable {
        var address: String
        var sshPort: Int
        var username: String
        var hostKey: String?
        var credential: String
    }

    struct Disk: Codable, Sendable {
        var method: String
        var device: String?
    }

    init(_ record: ImageStorageRecord) {
        id = record.id
        name = record.name
        description = record.description
        type = record.type.rawValue
        dataCenterId = record.dataCenterID
        host = Host(
            address: record.hostAddress, sshPort: record.sshPort, username: record.username, hostKey: record.hostKey,
            credential: record.credentialKind.rawValue)
        disk = Disk(method: record.diskMethod.rawValue, device: record.diskDevice)
        mountPath = record.mountPath
        retrieveExistingImages = record.retrieveExistingImages
        imageSyncNetwork = record.imageSyncNetwork
        dataNetwork = record.dataNetwork
        reservedCapacityBytes = record.reservedCapacityBytes
        blobUploadConcurrency = record.blobUploadConcurrency
        blobDownloadConcurrency = record.blobDownloadConcurrency
        state = record.state.rawValue
        status = record.status.rawValue
        statusReason = record.statusReason
        requiresReconnect = record.requiresReconnect
        agentVersion = record.agentVersion
        storeId = record.storeID
        capacity = record.usage
        lastSeenAt = record.lastSeenAt
        createdAt = record.createdAt
        updatedAt = record.updatedAt
    }

    static let schema = Schema.object(
        "ImageStorage",
        [
            .required("id", .uuid, "Its id."), .required("name", .name, "Its name."),
            .required("description", .description, "Its description."),
            .required("type", .values("standalone", "distributed"), "The kind of storage."),
            .required("dataCenterId", .uuid, "Its data center."), .required("host", hostSchema, "Its host."),
            .required(
                "disk",
                .object(
                    "DiskChoice",
                    [
                        .required("method", .values("freeDisk", "localDirectory"), "How the disk was chosen."),
                        .optional("device", .text, "The disk as it was named."),
                    ]), "Its disk."),
            .required("mountPath", .text, "Where the images are kept."),
            .required("retrieveExistingImages", .boolean, "Whether the mount path's images were taken over."),
            .optional("imageSyncNetwork", .network, "The network for synchronising images."),
            .optional("dataNetwork", .network, "The network for compute hosts."),
            .required("reservedCapacityBytes", .byteCount, "Bytes to keep free."),
            .required("blobUploadConcurrency", .concurrency, "Blobs written at once."),
            .required("blobDownloadConcurrency", .concurrency, "Blobs read at once."),
            .required("state", .values("enabled", "disabled"), "Whether it takes work."),
            .required("status", .values("connecting", "connected", "disconnected"), "Whether its agent answers."),
            .optional("statusReason", .text, "Why it is not connected, or what is wrong."),
            .required("requiresReconnect", .boolean, "A changed host or password waits for a reconnect."),
            .optional("agentVersion", .text, "The version of its agent."),
            .optional("storeId", .uuid, "The store on its disk."),
            .optional("capacity", UsageView.schema, "How full it was when last seen."),
            .optional("lastSeenAt", .dateTime, "When its agent last answered."),
            .required("createdAt", .dateTime, "When it was added."),
            .required("updatedAt", .dateTime, "When it last changed."),
        ])

    private static let hostSchema = Schema.object(
        "HostOfStorage",
        [
            .required("address", .text, "Its address."), .required("sshPort", HostBody.port, "Its SSH port."),
            .required("username", .text, "The user."),
            .optional("hostKey", HostBody.hostKeySchema, "The fingerprint of its SSH key."),
            .required("credential", .values("password", "privateKey"), "How the user logs in."),
        ])
}

/// How full a storage is; the model's own type is what is sent.
enum UsageView {
    static let schema = Schema.object(
        "Usage",
        [
            .required("totalBytes", .byteCount, "The file system's size."),
            .required("usedBytes", .byteCount, "Its used bytes, whoever uses them."),
            .required("availableBytes", .byteCount, "What images may still take."),
            .required("reservedBytes", .byteCount, "What is kept free."),
            .required("images", .count, "The number of images."),
            .required("logicalBytes", .byteCount, "The guest-visible sizes of all images."),
            .required("referencedBytes", .byteCount, "Their bytes before deduplication."),
            .required("storedBytes", .byteCount, "Bytes of blobs on disk."),
            .required("reclaimableBytes", .byteCount, "Bytes that no image needs any more."),
            .required("temporaryBytes", .byteCount, "Bytes of unfinished work."),
        ])
}

/// A job and the storage that it is about.
struct ImageStorageWork: Encodable, Sendable {
    var job: JobView
    var imageStorage: ImageStorageView

    init(_ work: (JobRecord, ImageStorageRecord)) {
        job = JobView(work.0)
        imageStorage = ImageStorageView(work.1)
    }

    static let schema = Schema.object(
        "ImageStorageWork",
        [
            .required("job", JobView.schema, "The job."),
            .required("imageStorage", ImageStorageView.schema, "The image storage."),
        ])
}

/// What came of one id of a bulk request.
struct BulkItemView: Encodable, Sendable {
    var id: String
    var job: JobView?
    var error: ProblemView?

    init<Kind>(_ result: BulkResult<Kind>) {
        id = String(describing: result.id)
        switch result.outcome {
        case .success(let record): job = JobView(record)
        case .failure(let failure): error = ProblemView(failure)
        }
    }

    static let answer = Schema.object(
        "BulkAnswer",
        [
            .required(
                "items",
                .array(
                    .object(
                        "BulkItem",
                        [
                            .required("id", .uuid, "The id."),
                            .optional("job", JobView.schema, "The job that does it."),
                            .optional("error", ProblemView.schema, "Why it is not done."),
                        ]), countMax: nil), "One entry for each id, in their order.")
        ])
}

/// The answer to a bulk request.
struct BulkAnswer: Encodable, Sendable {
    var items: [BulkItemView]
}
