/// What an image is for. Source: seed, "Image Type".
package enum ImageType: String, Codable, Sendable, CaseIterable {
    /// Has an operating system, or installs one.
    case system
    /// A data disk.
    case disk
}

/// The container of an image file. Source: seed, "Image Format".
package enum ImageFormat: String, Codable, Sendable, CaseIterable {
    /// QEMU copy-on-write, versions 2 and 3.
    case qcow2
    /// The guest's disk, byte for byte.
    case raw
    /// ISO 9660.
    case iso
    /// VMware virtual disk.
    case vmdk
    /// Microsoft virtual hard disk, of fixed size or dynamic.
    case vhd
    /// Microsoft virtual hard disk, version 2.
    case vhdx
}

/// How many blobs are moved at once: 1 to 16, default 1. Source: seed, "Image Blob Upload/Download Concurrency".
package struct BlobConcurrency: Hashable, Sendable, Codable {
    /// The allowed values.
    package static let range = 1...16
    /// The value when none is given.
    package static let standard = BlobConcurrency(checked: 1)
    /// The number of blobs.
    package let count: Int

    private init(checked count: Int) { self.count = count }

    /// Checks that `count` is 1 to 16.
    package init(_ count: Int) throws(InvalidValue) {
        guard BlobConcurrency.range.contains(count) else { throw InvalidValue("a blob concurrency is 1 to 16") }
        self.count = count
    }

    /// Reads a number.
    package init(from decoder: any Decoder) throws {
        let count = try decoder.singleValueContainer().decode(Int.self)
        do { try self.init(count) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes a number.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(count)
    }
}

/// What an admin declared of an image; kept in its manifest, so that the store can tell it without a controller.
package struct ImageDeclaration: Hashable, Sendable, Codable {
    /// The image's id.
    package var id: ImageID
    /// Its name.
    package var name: String
    /// Its description.
    package var description: String
    /// What it is for.
    package var type: ImageType
    /// The container that the file came in.
    package var format: ImageFormat
    /// When the admin asked for it.
    package var createdAt: Timestamp

    /// Creates a declaration.
    package init(
        id: ImageID, name: String, description: String, type: ImageType, format: ImageFormat, createdAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.type = type
        self.format = format
        self.createdAt = createdAt
    }
}

/// What is known of an image once it is stored.
package struct ImageFacts: Hashable, Sendable, Codable {
    /// What was declared.
    package var declaration: ImageDeclaration
    /// The size of the guest's disk.
    package var virtualSizeBytes: UInt64
    /// Guest bytes that are kept (not holes), before deduplication and compression.
    package var referencedBytes: UInt64
    /// Bytes of blobs that this image alone added when it was stored.
    package var storedBytes: UInt64
    /// The digest over the guest's content: equal content gives an equal digest, whatever file it came in.
    package var contentDigest: Digest
    /// The SHA-256 of the file as it was given; nil when it was not read as a whole.
    package var sourceDigest: Digest?
    /// The size of the file as it was given.
    package var sourceSizeBytes: UInt64
    /// When the image was committed.
    package var storedAt: Timestamp

    /// Creates the facts.
    package init(
        declaration: ImageDeclaration, virtualSizeBytes: UInt64, referencedBytes: UInt64, storedBytes: UInt64,
        contentDigest: Digest, sourceDigest: Digest?, sourceSizeBytes: UInt64, storedAt: Timestamp
    ) {
        self.declaration = declaration
        self.virtualSizeBytes = virtualSizeBytes
        self.referencedBytes = referencedBytes
        self.storedBytes = storedBytes
        self.contentDigest = contentDigest
        self.sourceDigest = sourceDigest
        self.sourceSizeBytes = sourceSizeBytes
        self.storedAt = storedAt
    }
}

/// How full a storage is, in bytes. Source: seed, "View Image Storage Usage"; api.md, `usage`.
package struct StorageUsage: Hashable, Sendable, Codable {
    /// The file system's size.
    package var totalBytes: UInt64
    /// The file system's used bytes, whoever uses them.
    package var usedBytes: UInt64
    /// What an ingest may still take: free bytes less the reserved ones.
    package var availableBytes: UInt64
    /// Reserved by the admin.
    package var reservedBytes: UInt64
    /// The number of images.
    package var images: Int
    /// The guest-visible sizes of all images.
    package var logicalBytes: UInt64
    /// Their kept bytes before deduplication and compression.
    package var referencedBytes: UInt64
    /// Bytes of blobs on disk.
    package var storedBytes: UInt64
    /// Bytes of blobs that no image needs any more; exact for whole frames.
    package var reclaimableBytes: UInt64
    /// Staged uploads and downloads of open sessions.
    package var temporaryBytes: UInt64

    /// Creates a usage.
    package init(
        totalBytes: UInt64, usedBytes: UInt64, availableBytes: UInt64, reservedBytes: UInt64, images: Int,
        logicalBytes: UInt64, referencedBytes: UInt64, storedBytes: UInt64, reclaimableBytes: UInt64,
        temporaryBytes: UInt64
    ) {
        self.totalBytes = totalBytes
        self.usedBytes = usedBytes
        self.availableBytes = availableBytes
        self.reservedBytes = reservedBytes
        self.images = images
        self.logicalBytes = logicalBytes
        self.referencedBytes = referencedBytes
        self.storedBytes = storedBytes
        self.reclaimableBytes = reclaimableBytes
        self.temporaryBytes = temporaryBytes
    }
}
