// Inventory: what the controller believes, in SQLite.
//
// Hides: GRDB, SQL, migrations, how secrets are sealed, how pages are found.
// Invariants: a change, its events and its audit line are one transaction; a commit is on the disk when it returns
// (WAL, synchronous=FULL); the audit log is a chain of hashes; no secret is stored in clear.
// Is not: a judge of what may be changed (Operations), nor the truth about bytes (the agents).
import Model
import Secrets

/// Why the inventory did not answer.
package enum InventoryError: Error, Sendable, Equatable, CustomStringConvertible {
    /// SQLite failed: disk full, damaged, locked by another controller; words for people.
    case database(String)
    /// The file was written by a newer version.
    case newerSchema(String)
    /// A list was asked for with something that it does not know.
    case badQuery(field: String, detail: String)
    /// No such row.
    case notFound(kind: String, id: String)
    /// The row is not at the expected revision.
    case stale(kind: String, id: String)
    /// A value that must be unique is taken; `field` is the column.
    case notUnique(kind: String, field: String)
    /// A sealed value did not open.
    case secrets(SecretsError)

    /// What was wrong.
    package var description: String {
        switch self {
        case .database(let detail): "the inventory failed: \(detail)"
        case .newerSchema(let detail): "the inventory was written by a newer version: \(detail)"
        case .badQuery(let field, let detail): "\(field): \(detail)"
        case .notFound(let kind, let id): "there is no \(kind) \(id)"
        case .stale(let kind, let id): "the \(kind) \(id) was changed in the meantime"
        case .notUnique(let kind, let field): "another \(kind) has the same \(field)"
        case .secrets(let error): "\(error)"
        }
    }
}

/// What a list should have.
package struct Query: Sendable, Equatable {
    /// 1 to 500.
    package var limit: Int
    /// The `nextCursor` of the page before; opaque.
    package var cursor: String?
    /// Column → accepted values. Unknown columns are refused.
    package var filters: [String: [String]]
    /// A column, with `-` in front for descending. Nil: the name, or newest first where there is none.
    package var sort: String?
    /// A part of the name or the description, without regard to ASCII case.
    package var search: String?

    /// Creates a query; the first 50 by default.
    package init(
        limit: Int = 50, cursor: String? = nil, filters: [String: [String]] = [:], sort: String? = nil,
        search: String? = nil
    ) {
        self.limit = limit
        self.cursor = cursor
        self.filters = filters
        self.sort = sort
        self.search = search
    }
}

/// A page of a list.
package struct Page<Item: Sendable>: Sendable {
    /// The items in order.
    package var items: [Item]
    /// Where the next page begins; nil: this was the last.
    package var nextCursor: String?

    /// Creates a page.
    package init(items: [Item], nextCursor: String?) {
        self.items = items
        self.nextCursor = nextCursor
    }
}
