import Foundation
internal import GRDB
import Model

/// What is to be written to the audit log.
package struct AuditEntry: Sendable {
    package var userID: UserID?
    package var username: String
    package var address: String
    package var action: String
    package var resource: ResourceReference?
    package var outcome: AuditOutcome
    package var detail: String

    /// Creates an entry; `detail` is for people and never has a secret in it.
    package init(
        userID: UserID?, username: String, address: String, action: String, resource: ResourceReference?,
        outcome: AuditOutcome, detail: String = ""
    ) {
        self.userID = userID
        self.username = username
        self.address = address
        self.action = action
        self.resource = resource
        self.outcome = outcome
        self.detail = detail
    }
}

extension AuditRecord {
    /// SHA-256 over the previous hash and every field, each with its length in front, so that no two lines read the same.
    package func computedHash() -> Digest {
        var bytes = previousHash.bytes
        func add(_ text: String?) {
            guard let text = text.map({ Array($0.utf8) }) else {
                bytes += [255, 255, 255, 255]
                return
            }
            withUnsafeBytes(of: UInt32(text.count).bigEndian) { bytes += $0 }
            bytes += text
        }
        withUnsafeBytes(of: sequence.bigEndian) { bytes += $0 }
        for field in [at.description, userID?.description, username, address, action, resourceType, resourceID] {
            add(field)
        }
        add(outcome.rawValue)
        add(detail)
        return Digest.sha256(bytes)
    }

    init(_ row: Row) throws {
        guard let outcome = AuditOutcome(rawValue: row["outcome"]),
            let previous = Digest(bytes: row["previousHash"] as Data),
            let hash = Digest(bytes: row["hash"] as Data)
        else { throw InventoryError.database("a line of the audit log is damaged") }
        self.init(
            sequence: row["sequence"], at: try Timestamp(parsing: row["at"]),
            userID: try (row["userID"] as String?).map { try UserID(parsing: $0) }, username: row["username"],
            address: row["address"], action: row["action"], resourceType: row["resourceType"],
            resourceID: row["resourceID"], outcome: outcome, detail: row["detail"], previousHash: previous, hash: hash)
    }
}

extension Transaction {
    /// Adds a line to the audit log, chained to the one before.
    package func audit(_ entry: AuditEntry) throws(Failure) {
        let at = now
        try run { db in
            let last = try Row.fetchOne(db, sql: "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")
            let zero = [UInt8](repeating: 0, count: Digest.byteCount)
            guard let previous = Digest(bytes: last.map { Array($0["hash"] as Data) } ?? zero),
                let none = Digest(bytes: zero)
            else { throw InventoryError.database("the last line of the audit log is damaged") }
            var record = AuditRecord(
                sequence: last.map { $0["sequence"] + 1 } ?? 1, at: at, userID: entry.userID, username: entry.username,
                address: entry.address, action: entry.action, resourceType: entry.resource?.type,
                resourceID: entry.resource?.id, outcome: entry.outcome, detail: entry.detail, previousHash: previous,
                hash: none)
            record.hash = record.computedHash()
            try db.execute(
                sql: "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                arguments: [
                    record.sequence, at.description, record.userID?.description, record.username, record.address,
                    record.action, record.resourceType, record.resourceID, record.outcome.rawValue, record.detail,
                    Data(record.previousHash.bytes), Data(record.hash.bytes),
                ])
        }
    }
}

extension Inventory {
    /// A page of the audit log, newest first.
    package func auditLog(limit: Int, cursor: String?) async throws(InventoryError) -> Page<AuditRecord> {
        guard (1...InventoryLimits.auditPageMax).contains(limit) else {
            throw .badQuery(field: "limit", detail: "a limit is 1 to \(InventoryLimits.auditPageMax)")
        }
        let before: Int64
        if let cursor {
            guard let number = Int64(cursor) else {
                throw .badQuery(field: "cursor", detail: "not a cursor of this list")
            }
            before = number
        } else {
            before = .max
        }
        let records: [AuditRecord] = try await read {
            (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                try Row.fetchAll(
                    db, sql: "SELECT * FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?",
                    arguments: [before, limit + 1]
                ).map { try AuditRecord($0) }
            }
        }
        let items = Array(records.prefix(limit))
        return Page(items: items, nextCursor: records.count > limit ? items.last.map { "\($0.sequence)" } : nil)
    }

    /// Walks the whole chain. Answers the sequence of the first line that is not what was written; nil: intact. Lines
    /// that were cut off at the end are not found: compare the last hash with one that was kept elsewhere.
    package func verifyAuditLog() async throws(InventoryError) -> Int64? {
        try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                var expected: Int64 = 1
                var previous = Digest(bytes: [UInt8](repeating: 0, count: Digest.byteCount))
                let rows = try Row.fetchCursor(db, sql: "SELECT * FROM audit ORDER BY sequence")
                while let row = try rows.next() {
                    let record: AuditRecord
                    do { record = try AuditRecord(row) } catch { return expected }
                    guard record.sequence == expected, record.previousHash == previous,
                        record.hash == record.computedHash()
                    else { return expected }
                    previous = record.hash
                    expected += 1
                }
                return nil
            }
        }
    }
}
