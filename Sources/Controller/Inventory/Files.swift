import Foundation
internal import GRDB
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Held while this process uses the inventory.
final class FileLock: Sendable {
    private let descriptor: Int32
    private let isHeld = Mutex(true)

    init(_ path: String) throws(InventoryError) {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .database("cannot open \(path): \(String(cString: strerror(errno)))") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw .database("another controller uses this inventory (\(path) is locked)")
        }
    }

    /// Lets the next one in. Twice is once.
    func release() {
        isHeld.withLock { isHeld in
            if isHeld { close(descriptor) }
            isHeld = false
        }
    }

    deinit { release() }
}

/// SQLite's online backup: readers and writers go on.
enum Backup {
    static func run(_ pool: DatabasePool, to path: String) -> Result<Void, InventoryError> {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            return .failure(.database("cannot create \(path): \(String(cString: strerror(errno)))"))
        }
        close(file)
        do {
            let target = try DatabaseQueue(path: path)
            try pool.backup(to: target)
            // A backup is one file: the copy must not say that it has a write-ahead log.
            try target.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL")
                guard try String.fetchOne(db, sql: "PRAGMA integrity_check") == "ok" else {
                    throw InventoryError.database("the backup does not pass SQLite's integrity check")
                }
            }
            try target.close()
            return makeDurable(path)
        } catch {
            unlink(path)
            return .failure(InventoryError(error))
        }
    }

    private static func makeDurable(_ path: String) -> Result<Void, InventoryError> {
        for (name, flags) in [(path, O_RDONLY), ((path as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY)]
        {
            let file = open(name.isEmpty ? "." : name, flags | O_CLOEXEC)
            guard file >= 0 else { return .failure(.database("cannot open \(name)")) }
            defer { close(file) }
            guard fsync(file) == 0 else { return .failure(.database("cannot make \(name) durable")) }
        }
        return .success(())
    }
}
