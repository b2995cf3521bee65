import Model
import Secrets

/// The inventory's file. (Signatures; bodies follow.)
package final class Inventory: Sendable {
    init() {}
    /// Opens or creates the inventory at `path`, whose directory must exist.
    package static func open(
        path: String, sealer: Sealer, randomness: Randomness, clock: WallClock
    ) async throws(InventoryError) -> Inventory { Inventory() }
    /// A record; nil when there is none.
    package func find<R: Record>(_ type: R.Type, _ id: ID<R.Kind>) async throws(InventoryError) -> R? { nil }
    /// A page of records.
    package func list<R: Record>(_ type: R.Type, _ query: Query) async throws(InventoryError) -> Page<R> {
        Page(items: [], nextCursor: nil)
    }
    /// How many records there are, per value of a filter column (for metrics).
    package func count<R: Record>(_ type: R.Type, by column: String) async throws(InventoryError) -> [String: Int] { [:] }
    /// Durable events after `sequence` and all that follow; nil: only what follows. The stream ends when the reader
    /// is too slow: it then asks again with the last sequence that it saw.
    package func events(after sequence: Int64?) async throws(InventoryError) -> AsyncStream<EventRecord> {
        AsyncStream { $0.finish() }
    }
    /// A page of the audit log, newest first.
    package func auditLog(limit: Int, cursor: String?) async throws(InventoryError) -> Page<AuditRecord> {
        Page(items: [], nextCursor: nil)
    }
    /// Copies the inventory, as of now, to a new file.
    package func backUp(to path: String) async throws(InventoryError) {}
    /// Answers when the database can be read and written (`/readyz`).
    package func check() async throws(InventoryError) {}
}
