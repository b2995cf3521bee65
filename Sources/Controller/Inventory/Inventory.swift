// Inventory: what the controller believes, in SQLite.
//
// Hides: GRDB, SQL, migrations, how secrets are sealed, how pages are found.
// Invariants: a change, its events and its audit line are one transaction; a commit is on the disk when it returns
// (WAL, synchronous=FULL); the audit log is a chain of hashes; no secret is stored in clear.
// Is not: a judge of what may be changed (Operations), nor the truth about bytes (the agents).
import Dispatch
internal import GRDB
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

/// The inventory's file.
package final class Inventory: Sendable {
    let pool: DatabasePool
    let sealer: Sealer
    let clock: WallClock
    let hub = EventHub()
    private let lock: FileLock

    private init(pool: DatabasePool, sealer: Sealer, clock: WallClock, lock: FileLock) {
        self.pool = pool
        self.sealer = sealer
        self.clock = clock
        self.lock = lock
    }

    /// Opens or creates the inventory at `path`, whose directory must exist, and brings its tables up to date.
    /// One process at a time: a second is refused.
    /// - Throws: `.newerSchema`; `.secrets(.cannotOpen)` when the key file is not the one that it was made with.
    package static func open(path: String, sealer: Sealer, clock: WallClock) throws(InventoryError) -> Inventory {
        let lock = try FileLock(path + ".lock")
        var configuration = Configuration()
        configuration.maximumReaderCount = InventoryLimits.readersMax
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.label = "lamina.inventory"
        let made: Inventory
        do {
            let pool = try DatabasePool(path: path, configuration: configuration)
            // GRDB lowers it to NORMAL when it turns WAL on; a commit must be on the disk when it returns.
            try pool.writeWithoutTransaction { db in try db.execute(sql: "PRAGMA synchronous = FULL") }
            let migrator = Schema.migrator
            guard try !pool.read({ db in try migrator.hasBeenSuperseded(db) }) else {
                throw InventoryError.newerSchema(path)
            }
            try migrator.migrate(pool)
            made = Inventory(pool: pool, sealer: sealer, clock: clock, lock: lock)
            // Answers that were never given: their requests ended with the process.
            try pool.write { db in try db.execute(sql: "DELETE FROM idempotency WHERE answer IS NULL") }
        } catch { throw InventoryError(error) }
        try made.checkKey()
        return made
    }

    // A text that was sealed when the inventory was made: whether it opens tells a wrong key file at the start
    // rather than at the first use of a credential.
    private func checkKey() throws(InventoryError) {
        let place = SealedPlace(table: "controller", row: "key", field: "check")
        do {
            try pool.write { db in
                let transaction = Transaction<InventoryError>(db: db, room: self)
                if try transaction.unseal(at: place) == nil { try transaction.seal(Array("lamina".utf8), at: place) }
            }
        } catch { throw InventoryError(error) }
    }

    /// Ends all use of the file; later calls fail. Waits for what is under way.
    package func close() throws(InventoryError) {
        hub.finish()
        do { try pool.close() } catch { throw InventoryError(error) }
        lock.release()
    }

    /// Changes the inventory in one transaction, durable when this returns. It is not cut short when the task is cancelled.
    package func write<T: Sendable, Failure: InventoryFailing>(
        _ body: @escaping @Sendable (Transaction<Failure>) throws(Failure) -> T
    ) async throws(Failure) -> T {
        let result: Result<T, Failure> = await withCheckedContinuation { continuation in
            pool.asyncWrite(
                { db throws in
                    do throws(Failure) { return try body(Transaction(db: db, room: self)) } catch {
                        throw Refused(failure: error)
                    }
                },
                completion: { _, result in continuation.resume(returning: Inventory.unwrap(result)) })
        }
        return try result.get()
    }

    /// Reads from one snapshot.
    package func read<T: Sendable, Failure: InventoryFailing>(
        _ body: @escaping @Sendable (Transaction<Failure>) throws(Failure) -> T
    ) async throws(Failure) -> T {
        let result: Result<T, Failure> = await withCheckedContinuation { continuation in
            pool.asyncRead { opened in
                do {
                    let db = try opened.get()
                    do throws(Failure) {
                        continuation.resume(returning: .success(try body(Transaction(db: db, room: self))))
                    } catch { continuation.resume(returning: .failure(error)) }
                } catch { continuation.resume(returning: .failure(Failure(InventoryError(error)))) }
            }
        }
        return try result.get()
    }

    private struct Refused<Failure: InventoryFailing>: Error {
        let failure: Failure
    }

    private static func unwrap<T, Failure: InventoryFailing>(_ result: Result<T, any Error>) -> Result<T, Failure> {
        switch result {
        case .success(let value): .success(value)
        case .failure(let error as Refused<Failure>): .failure(error.failure)
        case .failure(let error): .failure(Failure(InventoryError(error)))
        }
    }

    /// A record; nil when there is none.
    package func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) async throws(InventoryError) -> R? {
        let found: R? = try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.find(type, id)
        }
        return found?.showing(hub.progress)
    }

    /// Answers when the database can be read and written (`/readyz`).
    package func check() async throws(InventoryError) {
        try await write { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                try db.execute(sql: "UPDATE sealed SET value = value WHERE owner = 'controller' AND row = 'key'")
            }
        }
    }

    /// What SQLite says of the writer: its journal and how commits are synced (2 is FULL).
    package func durability() async throws(InventoryError) -> (journal: String, synchronous: Int) {
        try await write { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                (
                    try String.fetchOne(db, sql: "PRAGMA journal_mode") ?? "",
                    try Int.fetchOne(db, sql: "PRAGMA synchronous") ?? -1
                )
            }
        }
    }

    /// Copies the inventory, as of now, to a new file beside which nothing else is needed. It holds sealed secrets, so it
    /// is of use only together with the key file.
    package func backUp(to path: String) async throws(InventoryError) {
        let pool = self.pool
        let result: Result<Void, InventoryError> = await withCheckedContinuation { continuation in
            DispatchQueue(label: "lamina.inventory.backup").async {
                continuation.resume(returning: Backup.run(pool, to: path))
            }
        }
        try result.get()
    }
}
