import Foundation
internal import GRDB
import Model
import Secrets

/// An error that can carry an inventory's error, so that a room above needs no second `catch`.
package protocol InventoryFailing: Error {
    /// Wraps the error.
    init(_ error: InventoryError)
}

extension InventoryError: InventoryFailing {
    /// Itself.
    package init(_ error: InventoryError) { self = error }
}

/// What a change says of itself.
package enum ChangeKind: Sendable {
    /// An admin's change: the revision counts, an event tells.
    case configuration
    /// Something was seen: an event tells, the revision (and so `If-Match`) is left alone.
    case observation
    /// Seen again, much the same: neither.
    case quiet
}

/// The inventory inside a transaction. All that is done is durable together or not at all; throwing undoes it.
/// `Failure` is the error of the room that uses it. Valid only inside the closure that got it.
package struct Transaction<Failure: InventoryFailing> {
    let db: Database
    let room: Inventory

    /// The time of this transaction.
    package var now: Timestamp { room.clock.now() }

    /// Runs SQL and converts its errors.
    func run<T>(_ kind: String = "row", _ body: (Database) throws -> T) throws(Failure) -> T {
        do { return try body(db) } catch { throw Failure(InventoryError(error, kind: kind)) }
    }

    /// A record; nil when there is none.
    package func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) throws(Failure) -> R? {
        try run { db in try Stored<R>.fetchOne(db, key: id.description)?.record }
    }

    /// A record that must be there. Throws `.notFound`.
    package func get<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) throws(Failure) -> R {
        guard let record = try find(type, id) else {
            throw Failure(.notFound(kind: R.shape.kind, id: id.description))
        }
        return record
    }

    /// All records with a value in a filter column, by id. For sets that are small by nature.
    package func all<R: Record>(
        _ type: R.Type, where column: String, is values: [String]
    ) throws(Failure) -> [R] {
        precondition(R.shape.filters.contains(column), "only filter columns are asked for")
        return try run { db in
            try Stored<R>.filter(values.contains(Column(column))).order(Column("id")).fetchAll(db).map(\.record)
        }
    }

    /// How many records have a value in a filter column.
    package func count<R: Record>(_ type: R.Type, where column: String, is value: String) throws(Failure) -> Int {
        precondition(R.shape.filters.contains(column), "only filter columns are asked for")
        return try run { db in try Stored<R>.filter(Column(column) == value).fetchCount(db) }
    }

    /// Adds a record. Throws `.notUnique`.
    package func insert<R: Record>(_ record: R) throws(Failure) {
        try run(R.shape.kind) { db in try Stored(record).insert(db) }
        try tell(R.shape, record.id.description, .created)
    }

    /// Reads a record, changes it, writes it. Throws `.notFound`; `.stale` when `ifMatch` is another revision.
    @discardableResult
    package func change<R: Record>(
        _ type: R.Type, _ id: ID<R.Kind>, ifMatch: Int? = nil, _ kind: ChangeKind = .configuration,
        _ body: (inout R) throws(Failure) -> Void
    ) throws(Failure) -> R {
        var record = try get(type, id)
        guard ifMatch == nil || ifMatch == record.revision else {
            throw Failure(.stale(kind: R.shape.kind, id: id.description))
        }
        try body(&record)
        if kind == .configuration { record.revision += 1 }
        if kind != .quiet { record.updatedAt = now }
        let changed = record
        try run(R.shape.kind) { db in try Stored(changed).update(db) }
        if kind != .quiet { try tell(R.shape, id.description, .updated) }
        return record
    }

    /// Removes a record and its sealed values; false when it was not there.
    @discardableResult
    package func delete<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) throws(Failure) -> Bool {
        let existed = try run { db in
            try db.execute(
                sql: "DELETE FROM sealed WHERE owner = ? AND row = ?", arguments: [R.shape.table, id.description])
            return try Stored<R>.deleteOne(db, key: id.description)
        }
        if existed { try tell(R.shape, id.description, .deleted) }
        return existed
    }

    // Events of images, storages and jobs; nobody asked for others.
    private func tell(_ shape: RecordShape, _ id: String, _ change: EventRecord.Change) throws(Failure) {
        guard let type = EventRecord.ResourceType(rawValue: shape.kind) else { return }
        let room = self.room
        let at = now
        try run { db in
            try db.execute(
                sql: "INSERT INTO event (type, change, id, at) VALUES (?, ?, ?, ?)",
                arguments: [type.rawValue, change.rawValue, id, at.description])
            let sequence = db.lastInsertedRowID
            if sequence % 256 == 0 {
                try db.execute(
                    sql: "DELETE FROM event WHERE sequence <= ?", arguments: [sequence - InventoryLimits.eventsKept])
            }
            let event = EventRecord(sequence: sequence, type: type, change: change, id: id, at: at, progress: nil)
            // On the writer's queue, in the order of the sequence.
            db.afterNextTransaction { _ in room.hub.publish(event) }
        }
    }
}

extension Transaction {
    /// Seals a value for a field of a record.
    package func seal<R: Record>(
        _ bytes: [UInt8], for type: R.Type, _ id: ID<R.Kind>, field: String
    ) throws(Failure) {
        try seal(bytes, at: SealedPlace(table: R.shape.table, row: id.description, field: field))
    }

    /// Opens a sealed field of a record; nil when there is none.
    package func unseal<R: Record>(_ type: R.Type, _ id: ID<R.Kind>, field: String) throws(Failure) -> [UInt8]? {
        try unseal(at: SealedPlace(table: R.shape.table, row: id.description, field: field))
    }

    /// Seals a value at a place of its own, such as the CA's key.
    package func seal(_ bytes: [UInt8], at place: SealedPlace) throws(Failure) {
        let sealed: [UInt8]
        do throws(SecretsError) { sealed = try room.sealer.seal(bytes, at: place) } catch {
            throw Failure(.secrets(error))
        }
        try run { db in
            try db.execute(
                sql: "INSERT INTO sealed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                arguments: [place.table, place.row, place.field, Data(sealed)])
        }
    }

    /// Opens a value at a place of its own.
    package func unseal(at place: SealedPlace) throws(Failure) -> [UInt8]? {
        let sealed = try run { db in
            try Data.fetchOne(
                db, sql: "SELECT value FROM sealed WHERE owner = ? AND row = ? AND field = ?",
                arguments: [place.table, place.row, place.field])
        }
        guard let sealed else { return nil }
        do throws(SecretsError) { return try room.sealer.open(Array(sealed), at: place) } catch {
            throw Failure(.secrets(error))
        }
    }

    /// Forgets a sealed value.
    package func removeSealed(at place: SealedPlace) throws(Failure) {
        try run { db in
            try db.execute(
                sql: "DELETE FROM sealed WHERE owner = ? AND row = ? AND field = ?",
                arguments: [place.table, place.row, place.field])
        }
    }
}
