import Inventory
import Model
import Operations

/// An account as it is sent.
struct UserView: Codable, Sendable {
    var id: UserID
    var name: String
    var description: String
    var role: String
    var enabled: Bool
    var createdAt: Timestamp
    var updatedAt: Timestamp

    init(_ record: UserRecord) {
        id = record.id
        name = record.name
        description = record.description
        role = record.role.rawValue
        enabled = record.isEnabled
        createdAt = record.createdAt
        updatedAt = record.updatedAt
    }

    static let schema = Schema.object(
        "User",
        [
            .required("id", .uuid, "Its id."), .required("name", .name, "Its name."),
            .required("description", .description, "Its description."),
            .required("role", .oneOf(Role.self), "What it may do."),
            .required("enabled", .boolean, "Whether it may log in."),
            .required("createdAt", .dateTime, "When it was made."),
            .required("updatedAt", .dateTime, "When it last changed."),
        ])
}

/// An account to make.
struct NewUser: Codable, Sendable {
    var name: String
    var description: String?
    var role: Role
    var password: String

    static let schema = Schema.object(
        "NewUser",
        [
            .required("name", .text(max: 256), "Its name."), .optional("description", .description, "Its description."),
            .required("role", .oneOf(Role.self), "What it may do."),
            .secret("password", .text(max: 1024), "Its password.", isRequired: true),
        ])
}

/// Changes of an account.
struct UserPatchBody: Codable, Sendable {
    var description: String?
    var role: Role?
    var enabled: Bool?
    var password: String?

    static let schema = Schema.object(
        "UserPatch",
        [
            .optional("description", .description, "The new description."),
            .optional("role", .oneOf(Role.self), "The new role."),
            .optional("enabled", .boolean, "Whether it may log in."),
            .secret("password", .text(max: 1024), "The new password."),
        ])
}

/// An API token as it is sent.
struct APITokenView: Codable, Sendable {
    var id: TokenID
    var name: String
    var description: String
    var role: String
    var userId: UserID
    var token: String?
    var expiresAt: Timestamp?
    var lastUsedAt: Timestamp
    var createdAt: Timestamp
    var updatedAt: Timestamp

    init(_ record: TokenRecord, token: Secret? = nil) {
        id = record.id
        name = record.name
        description = record.description
        role = record.role.rawValue
        userId = record.userID
        self.token = token?.reveal
        expiresAt = record.expiresAt
        lastUsedAt = record.lastUsedAt
        createdAt = record.createdAt
        updatedAt = record.updatedAt
    }

    static let schema = Schema.object(
        "APIToken",
        [
            .required("id", .uuid, "Its id."), .required("name", .name, "Its name."),
            .required("description", .description, "Its description."),
            .required("role", .oneOf(Role.self), "What it allows."), .required("userId", .uuid, "Whose it is."),
            .optional("token", .text, "The token itself; shown once, when it is made."),
            .optional("expiresAt", .dateTime, "When it ends; absent: never."),
            .required("lastUsedAt", .dateTime, "When it was last used, to the minute."),
            .required("createdAt", .dateTime, "When it was made."),
            .required("updatedAt", .dateTime, "When it last changed."),
        ])
}

/// An API token to make.
struct NewAPIToken: Codable, Sendable {
    var name: String
    var description: String?
    var role: Role?
    var expiresAt: Timestamp?

    static let schema = Schema.object(
        "NewAPIToken",
        [
            .required("name", .name, "Its name."), .optional("description", .description, "Its description."),
            .optional(
                "role", .oneOf(Role.self), "What it allows, at most what its maker may; the maker's role when absent."),
            .optional("expiresAt", .dateTime, "When it ends; never when absent."),
        ])
}

/// A line of the audit log as it is sent.
struct AuditView: Codable, Sendable {
    var sequence: Int64
    var createdAt: Timestamp
    var userId: UserID?
    var username: String
    var address: String
    var action: String
    var resource: Resource?
    var outcome: String
    var detail: String
    var hash: Digest

    struct Resource: Codable, Sendable {
        var type: String
        var id: String?
    }

    init(_ record: AuditRecord) {
        sequence = record.sequence
        createdAt = record.at
        userId = record.userID
        username = record.username
        address = record.address
        action = record.action
        resource = record.resourceType.map { Resource(type: $0, id: record.resourceID) }
        outcome = record.outcome.rawValue
        detail = record.detail
        hash = record.hash
    }

    static let schema = Schema.object(
        "AuditRecord",
        [
            .required("sequence", .count, "Counts from 1 without gaps."), .required("createdAt", .dateTime, "When."),
            .optional("userId", .uuid, "Who, when known."), .required("username", .text, "Who, as given."),
            .required("address", .text, "From where."), .required("action", .text, "What, such as image.add."),
            .optional(
                "resource",
                .object(
                    "AuditResource",
                    [.required("type", .text, "Such as image."), .optional("id", .text, "Its id.")]), "About what."),
            .required("outcome", .values("done", "denied", "failed"), "What came of it."),
            .required("detail", .text, "More, in words."),
            .required("hash", .digest, "Over this line and the one before: the chain."),
        ])
}
