import Model

/// Where an image's file comes from.
package enum IngestSource: Codable, Sendable, Equatable {
    /// A URL with its rules. Source: seed, "Image Path: URL".
    case url(URLSource)
    /// An absolute path on the storage's host. Source: seed, "an absolute path on a single-node image repository".
    case hostPath(String)
    /// A finished upload.
    case upload(UploadID)
}

/// A URL to fetch and what may be fetched. Source: docs/security.md, "SSRF".
package struct URLSource: Codable, Sendable, Equatable {
    /// http, https, ftp or sftp; may carry user info, which is never logged.
    package var url: String
    /// Networks that must not be reached.
    package var deniedNetworks: [CIDR]
    /// Whether private networks may be reached.
    package var allowsPrivateNetworks: Bool
    /// The SHA-256 fingerprint of an SFTP server's key (`SHA256:…`).
    package var hostKey: String?

    /// Creates a source.
    package init(url: String, deniedNetworks: [CIDR], allowsPrivateNetworks: Bool, hostKey: String? = nil) {
        self.url = url
        self.deniedNetworks = deniedNetworks
        self.allowsPrivateNetworks = allowsPrivateNetworks
        self.hostKey = hostKey
    }
}

/// Brings a file in as an image: fetch, inspect, slice, commit. Progress is streamed. Asked again with the same session
/// it joins the run that is under way, goes on from what is durable, or answers the facts of the finished image.
/// When the asker goes away the agent goes on; `AbandonVerb` is how to stop it.
package struct IngestVerb: AgentVerb {
    package static let name = "ingest"
    /// The session: the job's id.
    package var session: SessionID
    /// What was declared.
    package var declaration: ImageDeclaration
    /// Where the file is.
    package var source: IngestSource
    /// The SHA-256 that the file must have.
    package var checksum: Digest?

    /// Creates the verb.
    package init(session: SessionID, declaration: ImageDeclaration, source: IngestSource, checksum: Digest?) {
        self.session = session
        self.declaration = declaration
        self.source = source
        self.checksum = checksum
    }

    /// The image as stored.
    package struct Reply: Codable, Sendable, Equatable {
        /// Its facts.
        package var facts: ImageFacts
        /// What the admin should know ("internal snapshots are not carried over").
        package var notes: [String]

        /// Creates a reply.
        package init(facts: ImageFacts, notes: [String]) {
            self.facts = facts
            self.notes = notes
        }
    }
}

/// Ends a session and removes all that only it made; stops its run if one is under way. Twice is once.
package struct AbandonVerb: AgentVerb {
    package static let name = "abandon"
    package typealias Reply = Done
    /// The session.
    package var session: SessionID
    /// Creates the verb.
    package init(session: SessionID) { self.session = session }
}

/// Asks for every image of the store. Source: seed, "Retrieve Existing Images".
package struct ListImagesVerb: AgentVerb {
    package static let name = "list-images"
    /// Continue after this id; nil begins.
    package var after: ImageID?
    /// Creates the verb.
    package init(after: ImageID? = nil) { self.after = after }

    /// A page of images, by id.
    package struct Reply: Codable, Sendable, Equatable {
        /// At most 500 images.
        package var images: [ImageFacts]
        /// Whether more follow.
        package var hasMore: Bool
        /// Creates a reply.
        package init(images: [ImageFacts], hasMore: Bool) {
            self.images = images
            self.hasMore = hasMore
        }
    }
}

/// Asks for loose image files directly in the mount path. Source: seed, "Retrieve Existing Images".
package struct ListLooseFilesVerb: AgentVerb {
    package static let name = "list-loose-files"
    /// Creates the verb.
    package init() {}

    /// A loose file.
    package struct File: Codable, Sendable, Equatable {
        /// Its absolute path.
        package var path: String
        /// By its ending.
        package var format: ImageFormat
        /// Its size.
        package var sizeBytes: UInt64
        /// Creates a record.
        package init(path: String, format: ImageFormat, sizeBytes: UInt64) {
            self.path = path
            self.format = format
            self.sizeBytes = sizeBytes
        }
    }

    /// The loose files, by name, at most 1,000.
    package struct Reply: Codable, Sendable, Equatable {
        /// The files.
        package var files: [File]
        /// Creates a reply.
        package init(files: [File]) { self.files = files }
    }
}

/// Changes an image's name and description in its manifest.
package struct UpdateImageVerb: AgentVerb {
    package static let name = "update-image"
    package typealias Reply = ImageFacts
    /// The image.
    package var id: ImageID
    /// The new name.
    package var imageName: String
    /// The new description.
    package var description: String
    /// Creates the verb.
    package init(id: ImageID, imageName: String, description: String) {
        self.id = id
        self.imageName = imageName
        self.description = description
    }
}

/// Removes an image. Twice is once.
package struct RemoveImageVerb: AgentVerb {
    package static let name = "remove-image"
    package typealias Reply = Done
    /// The image.
    package var id: ImageID
    /// Creates the verb.
    package init(id: ImageID) { self.id = id }
}

/// Asks how long an image's content is in a container, without reading it.
package struct ContentInfoVerb: AgentVerb {
    package static let name = "content-info"
    /// The image.
    package var id: ImageID
    /// The container.
    package var format: ImageFormat
    /// Creates the verb.
    package init(id: ImageID, format: ImageFormat) {
        self.id = id
        self.format = format
    }

    /// The content.
    package struct Reply: Codable, Sendable, Equatable {
        /// Its length.
        package var byteCount: UInt64
        /// The image's facts.
        package var facts: ImageFacts
        /// Creates a reply.
        package init(byteCount: UInt64, facts: ImageFacts) {
            self.byteCount = byteCount
            self.facts = facts
        }
    }
}

/// Reads a range of an image's content in a container; data frames, in order, then the reply. Every byte was
/// checked against its digest before it was sent.
package struct ReadContentVerb: AgentVerb {
    package static let name = "read-content"
    package static let bulk = BulkDirection.fromAgent
    package typealias Reply = Done
    /// The image.
    package var id: ImageID
    /// The container.
    package var format: ImageFormat
    /// The first byte.
    package var offset: UInt64
    /// How many bytes; the range must lie in the content.
    package var byteCount: UInt64
    /// Creates the verb.
    package init(id: ImageID, format: ImageFormat, offset: UInt64, byteCount: UInt64) {
        self.id = id
        self.format = format
        self.offset = offset
        self.byteCount = byteCount
    }
}
