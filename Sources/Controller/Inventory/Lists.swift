import Foundation
internal import GRDB
import Model

extension Inventory {
    /// A page of records. Every order has an index, so that a page costs the same wherever in the list it is; only a
    /// search reads what it leaves out.
    package func list<R: Record>(_ type: R.Type, _ query: Query) async throws(InventoryError) -> Page<R> {
        let plan = try PagePlan(R.shape, query)
        let records: [R] = try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                try Stored<R>.fetchAll(db, sql: plan.sql, arguments: StatementArguments(plan.arguments)).map(\.record)
            }
        }
        let items = records.prefix(query.limit).map { $0.showing(hub.progress) }
        guard records.count > query.limit, let last = items.last else { return Page(items: items, nextCursor: nil) }
        return Page(items: items, nextCursor: try plan.cursor(after: last))
    }

    /// How many records there are of each value of a filter column.
    package func count<R: Record>(_ type: R.Type, by column: String) async throws(InventoryError) -> [String: Int] {
        guard R.shape.filters.contains(column) else { throw .badQuery(field: column, detail: "no such filter") }
        return try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                let rows = try Row.fetchAll(
                    db, sql: "SELECT \(column) AS value, count(*) AS count FROM \(R.shape.table) GROUP BY \(column)")
                return Dictionary(rows.map { ($0["value"] ?? "", $0["count"]) }, uniquingKeysWith: { a, _ in a })
            }
        }
    }

    /// What SQLite says of how it would find a page; for the test that every order is index-backed.
    package func explain<R: Record>(_ type: R.Type, _ query: Query) async throws(InventoryError) -> [String] {
        let plan = try PagePlan(R.shape, query)
        return try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in
                try Row.fetchAll(
                    db, sql: "EXPLAIN QUERY PLAN " + plan.sql, arguments: StatementArguments(plan.arguments)
                ).map { $0["detail"] }
            }
        }
    }
}

/// The SQL of a page. Column names come from the record's shape only, values go as arguments only.
struct PagePlan: Sendable {
    let sql: String
    let arguments: [String]
    private let column: String
    private let sort: String

    init(_ shape: RecordShape, _ query: Query) throws(InventoryError) {
        guard (1...InventoryLimits.pageMax).contains(query.limit) else {
            throw .badQuery(field: "limit", detail: "a limit is 1 to \(InventoryLimits.pageMax)")
        }
        sort = query.sort ?? (shape.sorts.contains("name") ? "name" : "-createdAt")
        let isDescending = sort.hasPrefix("-")
        column = isDescending ? String(sort.dropFirst()) : sort
        guard shape.sorts.contains(column) else {
            let known = shape.sorts.sorted().joined(separator: ", ")
            throw .badQuery(field: "sort", detail: "a list of this kind is sorted by \(known)")
        }
        var conditions: [String] = []
        var arguments: [String] = []
        for (name, values) in query.filters.sorted(by: { $0.key < $1.key }) {
            conditions.append(try PagePlan.filter(shape, name, values, &arguments))
        }
        if let text = query.search, !text.isEmpty {
            conditions.append(try PagePlan.search(shape, text, &arguments))
        }
        if let cursor = query.cursor {
            guard let place = Cursor(decoding: cursor), place.sort == sort else {
                throw .badQuery(field: "cursor", detail: "this cursor is not from this list; begin without one")
            }
            conditions.append("(\(column), id) \(isDescending ? "<" : ">") (?, ?)")
            arguments += [place.value, place.id]
        }
        let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
        let direction = isDescending ? "DESC" : "ASC"
        sql =
            "SELECT * FROM \(shape.table)\(filter) ORDER BY \(column) \(direction), id \(direction)"
            + " LIMIT \(query.limit + 1)"
        self.arguments = arguments
    }

    private static func filter(
        _ shape: RecordShape, _ name: String, _ values: [String], _ arguments: inout [String]
    ) throws(InventoryError) -> String {
        guard shape.filters.contains(name) else {
            throw .badQuery(field: name, detail: "a list of this kind has no such filter")
        }
        guard (1...InventoryLimits.filterValuesMax).contains(values.count),
            values.allSatisfy({ $0.utf8.count <= InventoryLimits.queryTextByteCountMax })
        else { throw .badQuery(field: name, detail: "too many or too long values") }
        if shape.flags.contains(name) {
            guard values.allSatisfy({ $0 == "true" || $0 == "false" }) else {
                throw .badQuery(field: name, detail: "true or false")
            }
            return "\(name) IN (\(values.map { $0 == "true" ? "1" : "0" }.joined(separator: ", ")))"
        }
        arguments += values
        guard values.count > 1 else { return "\(name) = ?" }
        return "\(name) IN (\(values.map { _ in "?" }.joined(separator: ", ")))"
    }

    private static func search(
        _ shape: RecordShape, _ text: String, _ arguments: inout [String]
    ) throws(InventoryError) -> String {
        guard !shape.searches.isEmpty, text.utf8.count <= InventoryLimits.queryTextByteCountMax else {
            throw .badQuery(field: "q", detail: "a list of this kind is not searched, or the text is too long")
        }
        let escaped = text.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "%", with: "\\%")
            .replacingOccurrences(of: "_", with: "\\_")
        arguments += shape.searches.map { _ in "%\(escaped)%" }
        return "(" + shape.searches.map { "\($0) LIKE ? ESCAPE '\\'" }.joined(separator: " OR ") + ")"
    }

    /// The cursor of the page that follows `record`.
    func cursor<R: Record>(after record: R) throws(InventoryError) -> String {
        let value: String
        do {
            let fields = try Stored(record).databaseDictionary
            guard let text = fields[column].flatMap({ String.fromDatabaseValue($0) }) else {
                throw InventoryError.database("the column \(column) is no text")
            }
            value = text
        } catch { throw InventoryError(error) }
        return Cursor(sort: sort, value: value, id: record.id.description).encoded
    }
}

/// The last row of a page.
struct Cursor {
    let sort: String
    let value: String
    let id: String

    init(sort: String, value: String, id: String) {
        self.sort = sort
        self.value = value
        self.id = id
    }

    var encoded: String {
        Hex.encode(Array([sort, value, id].joined(separator: "\u{0}").utf8))
    }

    init?(decoding text: String) {
        guard text.utf8.count <= InventoryLimits.queryTextByteCountMax * 4, let bytes = Hex.decode(text),
            let plain = String(validating: bytes, as: UTF8.self)
        else { return nil }
        let parts = plain.split(separator: "\u{0}", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3 else { return nil }
        (sort, value, id) = (parts[0], parts[1], parts[2])
    }
}
