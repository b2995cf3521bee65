internal import GRDB

/// A record as GRDB reads and writes it: columns are the record's coding keys, nested values are JSON.
struct Stored<R: Record>: Codable, FetchableRecord, PersistableRecord {
    static var databaseTableName: String { R.shape.table }

    let record: R

    init(_ record: R) { self.record = record }

    init(from decoder: any Decoder) throws { record = try R(from: decoder) }

    func encode(to encoder: any Encoder) throws { try record.encode(to: encoder) }
}

extension InventoryError {
    /// Reads GRDB's error. `kind` is what was written.
    init(_ error: any Error, kind: String = "row") {
        if let known = error as? InventoryError {
            self = known
            return
        }
        guard let failure = error as? DatabaseError else {
            self = .database("\(error)")
            return
        }
        let words = failure.message ?? failure.resultCode.description
        guard
            failure.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE
                || failure.extendedResultCode == .SQLITE_CONSTRAINT_PRIMARYKEY
        else {
            self = .database(words)
            return
        }
        // "UNIQUE constraint failed: dataCenter.name" (several columns are separated by commas).
        let columns = words.split(separator: ":").last?.split(separator: ",").compactMap {
            $0.split(separator: ".").last
        }
        self = .notUnique(kind: kind, field: columns.map { $0.joined(separator: "+") } ?? "?")
    }
}
