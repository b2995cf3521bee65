import Inventory
import Model
import Operations

/// A host as an admin gives it.
struct HostBody: Codable, Sendable {
    var address: String
    var sshPort: Int?
    var username: String?
    var password: String?
    var privateKey: String?
    var hostKey: String?

    /// What Operations takes.
    var spec: HostSpec {
        HostSpec(
            address: address, sshPort: sshPort ?? 22, username: username ?? "root",
            credential: HostBody.credential(password, privateKey), hostKey: hostKey)
    }

    /// The schema has seen to it that there is one of the two.
    static func credential(_ password: String?, _ privateKey: String?) -> HostCredential {
        privateKey.map { .privateKey(Secret($0)) } ?? .password(Secret(password ?? ""))
    }

    static let port = Schema.integer(minimum: 1, maximum: 65535)
    static let hostKeySchema = Schema.string(
        .init(countMax: 128, example: "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8"))
    static let password = Schema.Field.secret("password", .text(max: 1024), "The user's password.")
    static let privateKey = Schema.Field.secret(
        "privateKey", .text(max: 64 << 10), "An OpenSSH or PEM private key (ed25519 or ECDSA) without a passphrase.")

    static let schema = Schema.object(
        "Host",
        [
            .required("address", .text(max: 253), "An IP address or a name."),
            .optional("sshPort", port, "The port of its SSH server; 22 when absent."),
            .optional("username", .text(max: 64), "root, or a user with sudo; root when absent."),
            password, privateKey,
            .optional(
                "hostKey", hostKeySchema, "The fingerprint of its SSH key; without it the first one seen is kept."),
        ], oneOf: ["password", "privateKey"])
}

/// A host to look at.
struct ProbeBody: Codable, Sendable {
    var host: HostBody

    static let schema = Schema.object("Probe", [.required("host", HostBody.schema, "The host.")])
}

/// Another password or key.
struct CredentialBody: Codable, Sendable {
    var password: String?
    var privateKey: String?

    static let schema = Schema.object(
        "Credential", [HostBody.password, HostBody.privateKey], oneOf: ["password", "privateKey"])
}

/// A standalone image storage to add. Source: seed, "Add Image Storage".
struct NewImageStorage: Codable, Sendable {
    var type: String
    var name: String
    var description: String?
    var dataCenterId: DataCenterID
    var host: HostBody
    var disk: Disk
    var mountPath: String
    var retrieveExistingImages: Bool?
    var imageSyncNetwork: String?
    var dataNetwork: String?
    var reservedCapacityBytes: UInt64?
    var blobUploadConcurrency: Int?
    var blobDownloadConcurrency: Int?

    struct Disk: Codable, Sendable {
        var method: String
        var device: String?
        var serial: String?
    }

    /// What Operations takes.
    func spec() throws(APIError) -> StandaloneSpec {
        let choice: DiskSpec
        if disk.method == DiskAccess.freeDisk.rawValue {
            guard let device = disk.device else {
                throw .invalid("/disk/device", "name the free disk, such as /dev/vdb")
            }
            choice = .freeDisk(device: device, serial: disk.serial)
        } else {
            guard disk.device == nil, disk.serial == nil else {
                throw .invalid("/disk/device", "a local directory has no device")
            }
            choice = .localDirectory
        }
        return StandaloneSpec(
            name: name, description: description ?? "", dataCenterID: dataCenterId, host: host.spec, disk: choice,
            mountPath: mountPath, retrieveExistingImages: retrieveExistingImages ?? false,
            imageSyncNetwork: imageSyncNetwork, dataNetwork: dataNetwork,
            reservedCapacityBytes: reservedCapacityBytes ?? 1 << 30,
            blobUploadConcurrency: blobUploadConcurrency ?? 1, blobDownloadConcurrency: blobDownloadConcurrency ?? 1)
    }

    static let diskSchema = Schema.object(
        "Disk",
        [
            .required("method", .values("freeDisk", "localDirectory"), "How the disk is chosen."),
            .optional("device", .text(max: 255), "The free disk; it is formatted."),
            .optional("serial", .text(max: 255), "Its serial, to have a disk with data on it formatted all the same."),
        ])

    static let schema = Schema.object(
        "NewImageStorage",
        [
            .required("type", .values("standalone"), "The kind of storage."), .required("name", .name, "Its name."),
            .optional("description", .description, "Its description."),
            .required("dataCenterId", .uuid, "The data center."), .required("host", HostBody.schema, "The host."),
            .required("disk", diskSchema, "The disk."),
            .required("mountPath", .text(max: 4096), "The absolute path at which the images are kept."),
            .optional("retrieveExistingImages", .boolean, "Take over what the mount path holds; false when absent."),
            .optional("imageSyncNetwork", .network, "The network for synchronising images."),
            .optional("dataNetwork", .network, "The network for compute hosts."),
            .optional("reservedCapacityBytes", .byteCount, "Bytes to keep free; 1 GiB when absent."),
            .optional("blobUploadConcurrency", .concurrency, "Blobs written at once; 1 when absent."),
            .optional("blobDownloadConcurrency", .concurrency, "Blobs read at once; 1 when absent."),
        ])
}

/// Changes of an image storage.
struct ImageStoragePatchBody: Codable, Sendable {
    var name: String?
    var description: String?
    var dataCenterId: DataCenterID?
    var host: Host?
    var imageSyncNetwork: Clearable<String>?
    var dataNetwork: Clearable<String>?
    var reservedCapacityBytes: UInt64?
    var blobUploadConcurrency: Int?
    var blobDownloadConcurrency: Int?

    struct Host: Codable, Sendable {
        var address: String?
        var sshPort: Int?
        var username: String?
        var hostKey: Clearable<String>?

        enum CodingKeys: String, CodingKey { case address, sshPort, username, hostKey }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            address = try values.decodeIfPresent(String.self, forKey: .address)
            sshPort = try values.decodeIfPresent(Int.self, forKey: .sshPort)
            username = try values.decodeIfPresent(String.self, forKey: .username)
            hostKey = try values.clearable(.hostKey)
        }
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decodeIfPresent(String.self, forKey: .name)
        description = try values.decodeIfPresent(String.self, forKey: .description)
        dataCenterId = try values.decodeIfPresent(DataCenterID.self, forKey: .dataCenterId)
        host = try values.decodeIfPresent(Host.self, forKey: .host)
        imageSyncNetwork = try values.clearable(.imageSyncNetwork)
        dataNetwork = try values.clearable(.dataNetwork)
        reservedCapacityBytes = try values.decodeIfPresent(UInt64.self, forKey: .reservedCapacityBytes)
        blobUploadConcurrency = try values.decodeIfPresent(Int.self, forKey: .blobUploadConcurrency)
        blobDownloadConcurrency = try values.decodeIfPresent(Int.self, forKey: .blobDownloadConcurrency)
    }

    enum CodingKeys: String, CodingKey {
        case name, description, dataCenterId, host, imageSyncNetwork, dataNetwork, reservedCapacityBytes
        case blobUploadConcurrency, blobDownloadConcurrency
    }

    /// What Operations takes.
    var patch: StoragePatch {
        var patch = StoragePatch()
        patch.name = name
        patch.description = description
        patch.dataCenterID = dataCenterId
        patch.hostAddress = host?.address
        patch.sshPort = host?.sshPort
        patch.username = host?.username
        patch.hostKey = Clearable.change(host?.hostKey)
        patch.imageSyncNetwork = Clearable.change(imageSyncNetwork)
        patch.dataNetwork = Clearable.change(dataNetwork)
        patch.reservedCapacityBytes = reservedCapacityBytes
        patch.blobUploadConcurrency = blobUploadConcurrency
        patch.blobDownloadConcurrency = blobDownloadConcurrency
        return patch
    }

    static let schema = Schema.object(
        "ImageStoragePatch",
        [
            .optional("name", .name, "The new name."), .optional("description", .description, "The new description."),
            .optional("dataCenterId", .uuid, "The new data center."),
            .optional(
                "host",
                .object(
                    "HostPatch",
                    [
                        .optional("address", .text(max: 253), "The new address."),
                        .optional("sshPort", HostBody.port, "The new port."),
                        .optional("username", .text(max: 64), "The new user."),
                        .optional(
                            "hostKey", .nullable(HostBody.hostKeySchema),
                            "The new key; null accepts, at the next reconnect, the one that the host shows."),
                    ]), "Changes of the host; they take effect with a reconnect."),
            .optional("imageSyncNetwork", .nullable(.network), "The new network; null takes it away."),
            .optional("dataNetwork", .nullable(.network), "The new network; null takes it away."),
            .optional("reservedCapacityBytes", .byteCount, "Bytes to keep free."),
            .optional("blobUploadConcurrency", .concurrency, "Blobs written at once."),
            .optional("blobDownloadConcurrency", .concurrency, "Blobs read at once."),
        ])
}

/// A member of a merge patch that may be `null`: there, it has the value nil.
struct Clearable<Value: Codable & Sendable>: Codable, Sendable {
    var value: Value?

    init(_ value: Value?) { self.value = value }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        value = container.decodeNil() ? nil : try container.decode(Value.self)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }

    /// The change that a member asks for.
    static func change(_ member: Clearable?) -> Change<Value> {
        guard let member else { return .keep }
        return member.value.map(Change.set) ?? .clear
    }
}

extension KeyedDecodingContainer {
    /// Tells a missing member from one that is `null`.
    fileprivate func clearable<Value: Codable & Sendable>(_ key: Key) throws -> Clearable<Value>? {
        contains(key) ? try Clearable(decodeNil(forKey: key) ? nil : decode(Value.self, forKey: key)) : nil
    }
}

/// Ids of a bulk request.
struct BulkBody<Kind>: Codable, Sendable {
    var ids: [ID<Kind>]
    var force: Bool?
}

enum BulkBodySchema {
    static let ids = Schema.Field.required("ids", .array(.uuid, countMax: Limits.bulkCountMax), "What to delete.")
    static let images = Schema.object("BulkImages", [ids])
    static let imageStorages = Schema.object(
        "BulkImageStorages", [ids, .optional("force", .boolean, "Also with images on it or jobs under way.")])
}
