import Inventory
import Model
import Operations

/// An image as it is sent.
struct ImageView: Codable, Sendable {
    var id: ImageID
    var imageStorageId: ImageStorageID
    var name: String
    var description: String
    var type: String
    var format: String
    var status: String
    var source: Source
    var virtualSizeBytes: UInt64?
    var storedBytes: UInt64?
    var referencedBytes: UInt64?
    var contentDigest: Digest?
    var sourceDigest: Digest?
    var sourceSizeBytes: UInt64?
    var architecture: String?
    var exported: Bool
    var recycledAt: Timestamp?
    var expungeAt: Timestamp?
    var failure: ImageFailure?
    var notes: [String]
    var createdAt: Timestamp
    var updatedAt: Timestamp

    struct Source: Codable, Sendable {
        var kind: String
        var text: String
    }

    struct ImageFailure: Codable, Sendable {
        var code: String
        var detail: String
    }

    init(_ record: ImageRecord) {
        id = record.id
        imageStorageId = record.imageStorageID
        name = record.name
        description = record.description
        type = record.type.rawValue
        format = record.format.rawValue
        status = record.status.rawValue
        source = Source(kind: record.sourceKind.rawValue, text: record.sourceText)
        virtualSizeBytes = record.virtualSizeBytes
        storedBytes = record.storedBytes
        referencedBytes = record.referencedBytes
        contentDigest = record.contentDigest
        sourceDigest = record.sourceDigest
        sourceSizeBytes = record.sourceSizeBytes
        architecture = record.architecture
        exported = record.exported
        recycledAt = record.recycledAt
        expungeAt = record.expungeAt
        failure = record.failure.map { ImageFailure(code: $0.code, detail: $0.detail) }
        notes = record.notes
        createdAt = record.createdAt
        updatedAt = record.updatedAt
    }

    static let schema = Schema.object(
        "Image",
        [
            .required("id", .uuid, "Its id."), .required("imageStorageId", .uuid, "The storage that has it."),
            .required("name", .name, "Its name."), .required("description", .description, "Its description."),
            .required("type", .oneOf(ImageType.self), "What it is for."),
            .required("format", .oneOf(ImageFormat.self), "The container that it came in."),
            .required(
                "status", .values("creating", "ready", "failed", "recycled", "expunged"), "Where it is in its life."),
            .required(
                "source",
                .object(
                    "ImageOrigin",
                    [
                        .required("kind", .values("url", "hostPath", "upload", "retrieved"), "How it came."),
                        .required("text", .text, "The URL without user info and query, the path, or the upload's id."),
                    ]), "Where it came from."),
            .optional("virtualSizeBytes", .byteCount, "The size of the guest's disk."),
            .optional("storedBytes", .byteCount, "Bytes that it alone added when it was stored."),
            .optional("referencedBytes", .byteCount, "Its bytes before deduplication."),
            .optional("contentDigest", .digest, "Over the guest's content: equal content, equal digest."),
            .optional("sourceDigest", .digest, "SHA-256 of the file as it was given."),
            .optional("sourceSizeBytes", .byteCount, "The size of that file."),
            .optional("architecture", .text, "Of its operating system."),
            .required("exported", .boolean, "Whether it is in the export list."),
            .optional("recycledAt", .dateTime, "When it went to the recycle bin."),
            .optional("expungeAt", .dateTime, "When it is destroyed."),
            .optional(
                "failure",
                .object(
                    "ImageFailure",
                    [
                        .required("code", .text, "A stable code."), .required("detail", .text, "What was wrong."),
                    ]), "Why it could not be made."),
            .required("notes", .array(.text, countMax: nil), "What an admin should know of it."),
            .required("createdAt", .dateTime, "When it was asked for."),
            .required("updatedAt", .dateTime, "When it last changed."),
        ])
}

/// A job and the image that it is about.
struct ImageWork: Encodable, Sendable {
    var job: JobView
    var image: ImageView

    init(_ work: (JobRecord, ImageRecord)) {
        job = JobView(work.0)
        image = ImageView(work.1)
    }

    static let schema = Schema.object(
        "ImageWork",
        [.required("job", JobView.schema, "The job."), .required("image", ImageView.schema, "The image.")])
}

/// An image to add. Source: seed, "Add Image".
struct NewImage: Codable, Sendable {
    var imageStorageId: ImageStorageID
    var name: String
    var description: String?
    var type: ImageType
    var format: ImageFormat
    var source: Source
    var checksum: String?

    struct Source: Codable, Sendable {
        var url: String?
        var hostKey: String?
        var hostPath: String?
        var uploadId: UploadID?
    }

    /// What Operations takes.
    func spec() throws(APIError) -> ImageSpec {
        let origin: ImageSourceSpec
        if let url = source.url {
            origin = .url(Secret(url), hostKey: source.hostKey)
        } else if source.hostKey != nil {
            throw .invalid("/source/hostKey", "only a URL (sftp) has a host key")
        } else if let path = source.hostPath {
            origin = .hostPath(path)
        } else if let upload = source.uploadId {
            origin = .upload(upload)
        } else {
            throw .invalid("/source/url", "give exactly one of: url, hostPath, uploadId")
        }
        return ImageSpec(
            imageStorageID: imageStorageId, name: name, description: description ?? "", type: type, format: format,
            source: origin, checksum: checksum)
    }

    static let schema = Schema.object(
        "NewImage",
        [
            .required("imageStorageId", .uuid, "The storage."), .required("name", .name, "Its name."),
            .optional("description", .description, "Its description."),
            .required("type", .oneOf(ImageType.self), "What it is for; an iso is for a system."),
            .required("format", .oneOf(ImageFormat.self), "The container of the file."),
            .required(
                "source",
                .object(
                    "ImageSource",
                    [
                        .optional("url", .text(max: 4096), "http, https, ftp or sftp."),
                        .optional("hostKey", HostBody.hostKeySchema, "The fingerprint of an sftp server's key."),
                        .optional("hostPath", .text(max: 4096), "An absolute path on the storage's host."),
                        .optional("uploadId", .uuid, "A finished upload."),
                    ], oneOf: ["url", "hostPath", "uploadId"]), "Where the file is."),
            .optional("checksum", .digest, "The SHA-256 that the file must have: sha256:HEX."),
        ])
}
