import CSQLite
import Storage

/// A connection to SQLite and its prepared statements. One thread at a time: the owner holds a lock.
final class Database {
    private var handle: OpaquePointer?
    private var statements: [String: OpaquePointer] = [:]

    /// Opens or creates a database.
    init(path: String, readOnly: Bool = false) throws(StorageError) {
        let flags =
            (readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) | SQLITE_OPEN_NOMUTEX
            | SQLITE_OPEN_NOFOLLOW
        guard sqlite3_open_v2(path, &handle, flags, nil) == SQLITE_OK else {
            let error = failure("open the index")
            sqlite3_close_v2(handle)
            handle = nil
            throw error
        }
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 10_000)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// The store's word for the last error.
    func failure(_ step: String) -> StorageError {
        let code = sqlite3_errcode(handle)
        if code & 0xff == SQLITE_FULL { return .noSpace(neededBytes: 0, availableBytes: 0) }
        // A full disk can also show as a failed write to the log.
        if sqlite3_system_errno(handle) == 28 { return .noSpace(neededBytes: 0, availableBytes: 0) }
        return .volume(detail: "SQLite \(code): " + String(cString: sqlite3_errmsg(handle)), during: step)
    }

    /// Runs statements without values.
    func execute(_ sql: String) throws(StorageError) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw failure("write the index") }
    }

    /// Runs a statement with values and calls `row` for each row of its answer.
    func run(
        _ sql: String, _ values: [Value] = [], row: (Row) throws(StorageError) -> Void = { (_: Row) in }
    ) throws(StorageError) {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() { try bind(value, at: Int32(index + 1), in: statement) }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: try row(Row(statement: statement))
            case SQLITE_DONE: return
            default: throw failure("use the index")
            }
        }
    }

    /// Runs `body` in one transaction; an error undoes it.
    func transaction<Result>(_ body: () throws(StorageError) -> Result) throws(StorageError) -> Result {
        try execute("BEGIN IMMEDIATE")
        do throws(StorageError) {
            let result = try body()
            try execute("COMMIT")
            return result
        } catch {
            // A failed COMMIT may have ended the transaction already; then there is nothing to undo.
            if sqlite3_get_autocommit(handle) == 0 { sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) }
            throw error
        }
    }

    /// A value for a statement.
    enum Value {
        case integer(Int64)
        case bytes([UInt8])
    }

    /// A row of an answer; valid until the next one.
    struct Row {
        fileprivate let statement: OpaquePointer
        func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
        func bytes(_ column: Int32) -> [UInt8] {
            let count = Int(sqlite3_column_bytes(statement, column))
            guard count > 0, let start = sqlite3_column_blob(statement, column) else { return [] }
            return Array(UnsafeRawBufferPointer(start: start, count: count))
        }
    }

    private func prepared(_ sql: String) throws(StorageError) -> OpaquePointer {
        if let known = statements[sql] { return known }
        var made: OpaquePointer?
        guard sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil) == SQLITE_OK, let made
        else { throw failure("use the index") }
        statements[sql] = made
        return made
    }

    private func bind(_ value: Value, at index: Int32, in statement: OpaquePointer) throws(StorageError) {
        let result: Int32
        switch value {
        case .integer(let number): result = sqlite3_bind_int64(statement, index, number)
        case .bytes(let bytes):
            // SQLITE_TRANSIENT: SQLite copies the bytes before this returns.
            let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
            result = bytes.withUnsafeBytes {
                sqlite3_bind_blob(
                    statement, index, $0.baseAddress ?? UnsafeRawPointer(bitPattern: 1), Int32($0.count), transient)
            }
        }
        guard result == SQLITE_OK else { throw failure("use the index") }
    }
}
