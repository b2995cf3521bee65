import Model

/// What an account may do; each role may do all that a lesser one may. Source: api.md, "Auth".
package enum Role: String, Codable, Sendable, CaseIterable, Comparable {
    case viewer, `operator`, admin

    private var rank: Int { self == .viewer ? 0 : self == .operator ? 1 : 2 }
    /// Orders by power.
    package static func < (a: Role, b: Role) -> Bool { a.rank < b.rank }
}

/// An account. Its password's hash is no part of the record.
package struct UserRecord: Record, Equatable {
    package typealias Kind = UserKind
    package static let shape = RecordShape(
        table: "user", kind: "user", filters: ["name", "role"], sorts: ["name", "createdAt", "updatedAt"],
        searches: ["name", "description"])
    package let id: UserID
    package let name: String
    package var description: String
    package var role: Role
    package var isEnabled: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision.
    package init(id: UserID, name: String, description: String, role: Role, createdAt: Timestamp) {
        self.id = id
        self.name = name
        self.description = description
        self.role = role
        isEnabled = true
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}

/// What a bearer token was made by.
package enum TokenType: String, Codable, Sendable {
    /// A log-in: ends when idle.
    case session
    /// Named and long-lived.
    case api
}

/// A bearer token without its secret.
package struct TokenRecord: Record, Equatable {
    package typealias Kind = TokenKind
    package static let shape = RecordShape(
        table: "token", kind: "api-token", filters: ["name", "type", "userID"],
        sorts: ["name", "createdAt", "updatedAt"], searches: ["name", "description"])
    package let id: TokenID
    package let type: TokenType
    package let userID: UserID
    package var name: String
    package var description: String
    package let role: Role
    /// Nil: never.
    package let expiresAt: Timestamp?
    /// To the minute.
    package var lastUsedAt: Timestamp
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// Creates a record in its first revision.
    package init(
        id: TokenID, type: TokenType, userID: UserID, name: String, description: String, role: Role,
        expiresAt: Timestamp?, createdAt: Timestamp
    ) {
        self.id = id
        self.type = type
        self.userID = userID
        self.name = name
        self.description = description
        self.role = role
        self.expiresAt = expiresAt
        lastUsedAt = createdAt
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}

/// One line of the audit log.
package struct AuditRecord: Codable, Sendable, Equatable {
    /// Counts from 1 without gaps.
    package var sequence: Int64
    package var at: Timestamp
    /// Nil: nobody was known (a failed log-in) or the controller itself.
    package var userID: UserID?
    /// The name as given; `-` for the controller itself.
    package var username: String
    /// Where the request came from.
    package var address: String
    /// The operation, such as `image.add`.
    package var action: String
    package var resourceType: String?
    package var resourceID: String?
    package var outcome: AuditOutcome
    /// Words for people; never a secret.
    package var detail: String
    /// The hash of the line before; 32 zero bytes for the first.
    package var previousHash: Digest
    /// SHA-256 over the previous hash and all fields of this line.
    package var hash: Digest
}

/// What came of what is audited.
package enum AuditOutcome: String, Codable, Sendable {
    case done, denied, failed
}

/// Something changed. Source: api.md, `/v1/events`.
package struct EventRecord: Sendable, Equatable {
    /// What an event can be about.
    package enum ResourceType: String, Codable, Sendable {
        case job, image
        case imageStorage = "image-storage"
    }
    /// What happened to it.
    package enum Change: String, Codable, Sendable {
        case created, updated, deleted
        /// Only the progress of a job moved; not durable.
        case progressed
    }
    /// The place in the durable sequence (`Last-Event-ID`); nil for progress.
    package var sequence: Int64?
    package var type: ResourceType
    package var change: Change
    /// The resource's id; read it for what it is now.
    package var id: String
    package var at: Timestamp
    /// Only with `.progressed`.
    package var progress: JobProgress?
}

/// A setting of the whole system.
package struct SystemParameter: Codable, Sendable, Equatable {
    /// What a value may be.
    package enum Value: Codable, Sendable, Equatable {
        case text(String)
        case count(Int)
        case flag(Bool)
        case networks([CIDR])
    }
    /// Such as `agent.ping-seconds`.
    package var name: String
    package var value: Value
    package var standard: Value
    /// One sentence for people.
    package var description: String
    /// When it was last set; nil while it is the standard.
    package var updatedAt: Timestamp?
    /// Counts the changes from 1.
    package var revision: Int
}
