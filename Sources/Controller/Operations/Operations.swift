// Operations: what an admin can ask for, one file each.
//
// Hides: the order of things, the agents, hosts, jobs and rows that an operation needs.
// Invariants: every operation checks the caller's role before it looks at anything and leaves an audit line before it
// returns; what takes long is a job whose steps can be repeated and undone.
// Is not: aware of HTTP.
import Inventory
import Model

/// Who asks.
package struct Caller: Sendable, Equatable {
    /// Nil only for the controller itself.
    package var userID: UserID?
    package var username: String
    package var role: Role
    /// Where the request came from.
    package var address: String
    /// The token that was shown.
    package var tokenID: TokenID?

    /// Creates a caller.
    package init(userID: UserID?, username: String, role: Role, address: String, tokenID: TokenID?) {
        self.userID = userID
        self.username = username
        self.role = role
        self.address = address
        self.tokenID = tokenID
    }

    /// The controller itself: its loops and jobs.
    package static let controller = Caller(
        userID: nil, username: "-", role: .admin, address: "-", tokenID: nil)
}

/// One thing that stands in the way, for lists in errors.
package struct Obstacle: Sendable, Equatable, Codable {
    package var id: String
    package var name: String
    package var reason: String

    /// Creates an obstacle.
    package init(id: String, name: String, reason: String) {
        self.id = id
        self.name = name
        self.reason = reason
    }
}

/// Why an operation was not done. Every case has a stable code; words are for the person who asked.
package enum OperationError: Error, Sendable, Equatable {
    /// A value is wrong; `field` is a JSON pointer.
    case invalid(field: String, detail: String)
    case notFound(kind: String, id: String)
    /// The state of things does not allow it.
    case conflict(code: String, detail: String, items: [Obstacle] = [])
    /// The role is too weak.
    case forbidden(needed: Role)
    /// `If-Match` names another revision.
    case preconditionFailed
    /// No token, a wrong one, or a wrong password.
    case unauthenticated
    case tooManyAttempts(retryAfterSeconds: Int)
    /// The host could not be reached, entered or made ready.
    case host(code: String, detail: String)
    /// The agent answered that it did not do it.
    case agent(code: String, detail: String)
    case storageNotConnected(name: String, reason: String?)
    case storageDisabled(name: String)
    /// A bound of the system is reached.
    case limit(detail: String)
    /// A fault of ours or of our disk.
    case `internal`(detail: String)

    /// The stable code of the API.
    package var code: String {
        switch self {
        case .invalid: "invalid-value"
        case .notFound(let kind, _): "\(kind)-not-found"
        case .conflict(let code, _, _), .host(let code, _), .agent(let code, _): code
        case .forbidden: "forbidden"
        case .preconditionFailed: "precondition-failed"
        case .unauthenticated: "unauthenticated"
        case .tooManyAttempts: "too-many-attempts"
        case .storageNotConnected: "image-storage-not-connected"
        case .storageDisabled: "image-storage-disabled"
        case .limit: "limit-reached"
        case .internal: "internal"
        }
    }

    /// What was wrong and what to do next.
    package var detail: String {
        switch self {
        case .invalid(_, let detail), .conflict(_, let detail, _), .host(_, let detail), .agent(_, let detail),
            .limit(let detail), .internal(let detail):
            detail
        case .notFound(let kind, let id): "there is no \(kind) \(id)"
        case .forbidden(let needed): "this needs the role '\(needed.rawValue)'"
        case .preconditionFailed: "it was changed in the meantime; read it again and repeat the change"
        case .unauthenticated: "log in again: the user name, password or token is not valid"
        case .tooManyAttempts(let seconds): "too many failed log-ins; try again in \(seconds) seconds"
        case .storageNotConnected(let name, let reason):
            "the image storage '\(name)' is not connected" + (reason.map { ": \($0)" } ?? "")
        case .storageDisabled(let name): "the image storage '\(name)' is disabled; enable it first"
        }
    }

    /// The part of the request that is to blame, as a JSON pointer.
    package var field: String? {
        if case .invalid(let field, _) = self { field } else { nil }
    }

    /// What stands in the way.
    package var items: [Obstacle] {
        if case .conflict(_, _, let items) = self { items } else { [] }
    }
}

/// A field of a merge patch.
package enum Change<Value: Sendable>: Sendable {
    /// Not in the patch.
    case keep
    /// `null`.
    case clear
    case set(Value)
}

extension Change: Equatable where Value: Equatable {}

extension OperationError: InventoryFailing {
    /// What the inventory's error means for the one who asked.
    package init(_ error: InventoryError) {
        self =
            switch error {
            case .notFound(let kind, let id): .notFound(kind: kind, id: id)
            case .stale: .preconditionFailed
            case .badQuery(let field, let detail): .invalid(field: field, detail: detail)
            case .notUnique("image-storage", "hostAddress+mountPath"):
                .conflict(
                    code: "image-storage-exists", detail: "another image storage has this host and mount path")
            case .notUnique(let kind, let field):
                .conflict(code: "\(field)-taken", detail: "another \(kind) has the same \(field)")
            case .database, .newerSchema, .secrets: .internal(detail: error.description)
            }
    }
}
