import Model

/// Makes room for an upload. Asked again it answers where the upload stands.
package struct CreateUploadVerb: AgentVerb {
    package static let name = "create-upload"
    package typealias Reply = UploadStanding
    /// The upload.
    package var id: UploadID
    /// The file's length.
    package var byteCount: UInt64
    /// Creates the verb.
    package init(id: UploadID, byteCount: UInt64) {
        self.id = id
        self.byteCount = byteCount
    }
}

/// Asks where an upload stands.
package struct UploadStandingVerb: AgentVerb {
    package static let name = "upload-standing"
    package typealias Reply = UploadStanding
    /// The upload.
    package var id: UploadID
    /// Creates the verb.
    package init(id: UploadID) { self.id = id }
}

/// How much of an upload is durable.
package struct UploadStanding: Codable, Sendable, Equatable {
    /// Bytes that are certainly on the disk: where to go on.
    package var durableByteCount: UInt64
    /// The file's length.
    package var byteCount: UInt64
    /// Creates a standing.
    package init(durableByteCount: UInt64, byteCount: UInt64) {
        self.durableByteCount = durableByteCount
        self.byteCount = byteCount
    }
}

/// Appends the data frames that follow, from the durable offset; what arrived is made durable even when the link is cut.
package struct WriteUploadVerb: AgentVerb {
    package static let name = "write-upload"
    package static let bulk = BulkDirection.toAgent
    package typealias Reply = UploadStanding
    /// The upload.
    package var id: UploadID
    /// Must be the durable offset.
    package var offset: UInt64
    /// The SHA-256 of the bytes of this request (tus checksum); when it differs nothing of the request is kept.
    package var checksum: Digest?
    /// Creates the verb.
    package init(id: UploadID, offset: UInt64, checksum: Digest? = nil) {
        self.id = id
        self.offset = offset
        self.checksum = checksum
    }
}

/// Throws an upload away. Twice is once.
package struct RemoveUploadVerb: AgentVerb {
    package static let name = "remove-upload"
    package typealias Reply = Done
    /// The upload.
    package var id: UploadID
    /// Creates the verb.
    package init(id: UploadID) { self.id = id }
}
