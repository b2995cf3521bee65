import Inventory
import Model

/// How to log in to a host, as given.
package enum HostCredential: Sendable {
    case password(Secret)
    /// An OpenSSH or PEM private key (ed25519 or ECDSA) without a passphrase.
    case privateKey(Secret)
}

/// A host as an admin typed it; checked by the operation that takes it.
package struct HostSpec: Sendable {
    package var address: String
    package var sshPort: Int
    package var username: String
    package var credential: HostCredential
    /// `SHA256:…` that the admin accepted; nil on first contact.
    package var hostKey: String?

    /// Creates a specification.
    package init(
        address: String, sshPort: Int = 22, username: String = "root", credential: HostCredential,
        hostKey: String? = nil
    ) {
        self.address = address
        self.sshPort = sshPort
        self.username = username
        self.credential = credential
        self.hostKey = hostKey
    }
}

/// What a probe found; nothing on the host was changed. Source: api.md, `probe`.
package struct HostProbe: Sendable, Equatable {
    /// A disk that may not be used, and why.
    package struct RefusedDisk: Sendable, Equatable {
        package var disk: BlockDevice
        package var reason: String
    }
    /// A mount with space of its own.
    package struct Mount: Sendable, Equatable {
        package var path: String
        package var source: String
        package var fileSystem: String
        package var sizeBytes: UInt64
        package var freeBytes: UInt64
    }
    /// An address of the host.
    package struct Address: Sendable, Equatable {
        package var address: String
        package var interface: String
        package var prefixLength: Int
    }
    package var hostKey: String
    package var hostKeyType: String
    package var os: String
    package var architecture: String
    package var kernel: String
    package var hasSystemd: Bool
    /// `root`, `password`, `none` (no password needed) or `denied`.
    package var sudo: String
    package var freeDisks: [BlockDevice]
    package var otherDisks: [RefusedDisk]
    package var mounts: [Mount]
    package var addresses: [Address]
}

/// The disk of a new storage.
package enum DiskSpec: Sendable, Equatable {
    /// The device is wiped. `serial`: typed by the admin to have a disk with data wiped all the same.
    case freeDisk(device: String, serial: String?)
    case localDirectory
}

/// A standalone image storage to add. Source: seed, "Add Image Storage".
package struct StandaloneSpec: Sendable {
    package var name: String
    package var description: String
    package var dataCenterID: DataCenterID
    package var host: HostSpec
    package var disk: DiskSpec
    package var mountPath: String
    package var retrieveExistingImages: Bool
    package var imageSyncNetwork: String?
    package var dataNetwork: String?
    package var reservedCapacityBytes: UInt64
    package var blobUploadConcurrency: Int
    package var blobDownloadConcurrency: Int

    /// Creates a specification with the seed's defaults.
    package init(
        name: String, description: String = "", dataCenterID: DataCenterID, host: HostSpec, disk: DiskSpec,
        mountPath: String, retrieveExistingImages: Bool = false, imageSyncNetwork: String? = nil,
        dataNetwork: String? = nil, reservedCapacityBytes: UInt64 = 1 << 30, blobUploadConcurrency: Int = 1,
        blobDownloadConcurrency: Int = 1
    ) {
        self.name = name
        self.description = description
        self.dataCenterID = dataCenterID
        self.host = host
        self.disk = disk
        self.mountPath = mountPath
        self.retrieveExistingImages = retrieveExistingImages
        self.imageSyncNetwork = imageSyncNetwork
        self.dataNetwork = dataNetwork
        self.reservedCapacityBytes = reservedCapacityBytes
        self.blobUploadConcurrency = blobUploadConcurrency
        self.blobDownloadConcurrency = blobDownloadConcurrency
    }
}

/// Changes to an image storage; nil and `.keep` leave a field as it is.
package struct StoragePatch: Sendable {
    package var name: String?
    package var description: String?
    package var dataCenterID: DataCenterID?
    /// A changed host takes effect at the next reconnect.
    package var hostAddress: String?
    package var sshPort: Int?
    package var username: String?
    /// `.clear`: accept at the next reconnect whatever key the host shows.
    package var hostKey: Change<String>
    package var imageSyncNetwork: Change<String>
    package var dataNetwork: Change<String>
    package var reservedCapacityBytes: UInt64?
    package var blobUploadConcurrency: Int?
    package var blobDownloadConcurrency: Int?

    /// Creates a patch that changes nothing.
    package init() {
        hostKey = .keep
        imageSyncNetwork = .keep
        dataNetwork = .keep
    }
}

/// Changes to what has only a name and a description.
package struct NamePatch: Sendable {
    package var name: String?
    package var description: String?

    /// Creates a patch.
    package init(name: String? = nil, description: String? = nil) {
        self.name = name
        self.description = description
    }
}

/// Where a new image's file is.
package enum ImageSourceSpec: Sendable {
    /// http, https, ftp or sftp; user info is sealed.
    case url(Secret, hostKey: String? = nil)
    case hostPath(String)
    case upload(UploadID)
}

/// An image to add. Source: seed, "Add Image".
package struct ImageSpec: Sendable {
    package var imageStorageID: ImageStorageID
    package var name: String
    package var description: String
    package var type: ImageType
    package var format: ImageFormat
    package var source: ImageSourceSpec
    /// `sha256:HEX` of the file.
    package var checksum: String?

    /// Creates a specification.
    package init(
        imageStorageID: ImageStorageID, name: String, description: String = "", type: ImageType, format: ImageFormat,
        source: ImageSourceSpec, checksum: String? = nil
    ) {
        self.imageStorageID = imageStorageID
        self.name = name
        self.description = description
        self.type = type
        self.format = format
        self.source = source
        self.checksum = checksum
    }
}

/// What came of one id of a bulk operation.
package struct BulkResult<Kind>: Sendable {
    package var id: ID<Kind>
    package var outcome: Result<JobRecord, OperationError>
}

/// An image's bytes in a container, to be read by ranges.
package struct ImageContent: Sendable {
    package var byteCount: UInt64
    /// Strong: changes whenever a byte does. Without quotes.
    package var etag: String
    /// The digest of the whole, when it is known without reading: a raw download of an image that came as raw.
    package var digest: Digest?
    package var suggestedFileName: String
    let reader: @Sendable (UInt64, UInt64, @escaping @Sendable ([UInt8]) async throws -> Void) async -> OperationError?

    /// Reads a range that lies in the content; every piece (at most 1 MiB) was checked against its digest.
    package func read(
        offset: UInt64, byteCount: UInt64, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(OperationError) {
        if let error = await reader(offset, byteCount, onPiece) { throw error }
    }
}

/// What a log-in gives.
package struct LogIn: Sendable {
    /// Shown once.
    package var token: Secret
    package var session: TokenRecord
    package var user: UserRecord
}
