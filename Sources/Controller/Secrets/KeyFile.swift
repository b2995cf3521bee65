import Foundation
import Model

#if canImport(Glibc)
    import Glibc
#endif

extension Sealer {
    /// Reads the key file, or makes one where there is none and `mayCreate` says so: 32 random bytes, mode 0600, durable
    /// before it is used. A systemd credential is such a file (with `mayCreate` false).
    package static func open(
        keyFile path: String, mayCreate: Bool = true, randomness: Randomness
    ) throws(SecretsError) -> Sealer {
        if access(path, F_OK) != 0, errno == ENOENT {
            guard mayCreate else { throw .keyFile("\(path) does not exist") }
            try KeyFile.create(path, key: randomness.bytes(keyByteCount))
        }
        guard let sealer = Sealer(key: try KeyFile.read(path), randomness: randomness) else {
            throw .keyFile("\(path) must have exactly \(keyByteCount) bytes")
        }
        return sealer
    }
}

enum KeyFile {
    static func read(_ path: String) throws(SecretsError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { throw failed("open", path) }
        defer { close(file) }
        var facts = stat()
        guard fstat(file, &facts) == 0 else { throw failed("look at", path) }
        guard facts.st_mode & S_IFMT == S_IFREG, facts.st_mode & 0o077 == 0 else {
            throw .keyFile("\(path) must be a regular file that only its owner may read (chmod 600)")
        }
        var bytes = [UInt8](repeating: 0, count: Sealer.keyByteCount + 1)
        let count = Glibc.read(file, &bytes, bytes.count)
        guard count >= 0 else { throw failed("read", path) }
        return Array(bytes[0..<count])
    }

    // The temporary's name is fixed: a second controller that starts at once fails instead of making a second key.
    static func create(_ path: String, key: [UInt8]) throws(SecretsError) {
        let temporary = path + ".new"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw failed("create", temporary) }
        let wrote = write(file, key, key.count) == key.count && fsync(file) == 0
        let closed = close(file) == 0
        guard wrote, closed else {
            unlink(temporary)
            throw failed("write", temporary)
        }
        // link, not rename: an existing key is never replaced.
        let linked = link(temporary, path) == 0
        let reason = errno
        unlink(temporary)
        guard linked else { throw .keyFile("cannot create \(path): \(String(cString: strerror(reason)))") }
        let directory = open((path as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw failed("open the directory of", path) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw failed("make durable", path) }
    }

    private static func failed(_ verb: String, _ path: String) -> SecretsError {
        .keyFile("cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}
