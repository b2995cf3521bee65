import CLinux
import Glibc
import Synchronization

/// A volume in the host's file system, beneath a directory that is held open: what is mounted over or renamed above it
/// later does not matter.
package final class PosixVolume: Volume {
    /// The root as it was given.
    package let hostPath: String
    private let root: Int32
    private let hasOpenAt2: Bool

    /// Opens the directory at `hostPath`; the path itself must not be a link.
    package init(hostPath: String) throws(VolumeError) {
        let fd = lamina_openat(AT_FDCWD, hostPath, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)
        guard fd >= 0 else { throw VolumeError(call: "open", path: hostPath, errno: errno) }
        self.hostPath = hostPath
        root = fd
        // Kernels before 5.6 do not know openat2, and some sandboxes forbid it: then each component is opened by itself.
        let probe = lamina_open_beneath(fd, ".", lamina_o_path_directory(), 0)
        hasOpenAt2 = probe >= 0
        if probe >= 0 { Glibc.close(probe) }
    }

    deinit { Glibc.close(root) }

    /// Opens a file; a link, a directory or a device is refused.
    package func open(_ path: String, _ mode: OpenMode) throws(VolumeError) -> any VolumeFile {
        // O_NONBLOCK: a FIFO must not hold the thread before it is found not to be a file.
        let flags: Int32 =
            switch mode {
            case .read: O_RDONLY | O_NONBLOCK
            case .create: O_RDWR | O_CREAT | O_EXCL
            case .update: O_RDWR | O_NONBLOCK
            }
        let fd = try descriptor(path, flags | O_NOFOLLOW, mode: 0o640, call: "open")
        var found = stat()
        guard fstat(fd, &found) == 0, found.st_mode & S_IFMT == S_IFREG else {
            Glibc.close(fd)
            throw VolumeError(call: "open", path: path, errno: EINVAL)
        }
        return PosixFile(path: path, descriptor: fd)
    }

    /// Renames.
    package func rename(_ source: String, to target: String) throws(VolumeError) {
        try inParent(of: source, call: "rename") { (from, fromName) throws(VolumeError) in
            try self.inParent(of: target, call: "rename") { (to, toName) throws(VolumeError) in
                try Self.check(renameat(from, fromName, to, toName), "rename", target)
            }
        }
    }

    /// Removes a file.
    package func unlink(_ path: String) throws(VolumeError) {
        try inParent(of: path, call: "unlink") { (fd, name) throws(VolumeError) in
            try Self.check(unlinkat(fd, name, 0), "unlink", path)
        }
    }

    /// Makes a directory.
    package func makeDirectory(_ path: String) throws(VolumeError) {
        try inParent(of: path, call: "mkdir") { (fd, name) throws(VolumeError) in
            try Self.check(mkdirat(fd, name, 0o750), "mkdir", path)
        }
    }

    /// Removes an empty directory.
    package func removeDirectory(_ path: String) throws(VolumeError) {
        try inParent(of: path, call: "rmdir") { (fd, name) throws(VolumeError) in
            try Self.check(unlinkat(fd, name, AT_REMOVEDIR), "rmdir", path)
        }
    }

    /// The names in a directory, sorted.
    package func list(_ path: String) throws(VolumeError) -> [String] {
        let fd = try descriptor(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, mode: 0, call: "list")
        guard let stream = fdopendir(fd) else {
            let number = errno
            Glibc.close(fd)
            throw VolumeError(call: "list", path: path, errno: number)
        }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw VolumeError(call: "list", path: path, errno: errno) }
        return names.sorted()
    }

    /// What is at `path`.
    package func facts(_ path: String) throws(VolumeError) -> EntryFacts? {
        var found = stat()
        do throws(VolumeError) {
            try inParent(of: path, call: "stat") { (fd, name) throws(VolumeError) in
                try Self.check(fstatat(fd, name, &found, AT_SYMLINK_NOFOLLOW), "stat", path)
            }
        } catch {
            if error.errno == ENOENT { return nil }
            throw error
        }
        let kind: EntryKind =
            switch found.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .directory
            default: .other
            }
        return EntryFacts(
            kind: kind, byteCount: UInt64(max(0, found.st_size)), allocatedBytes: UInt64(max(0, found.st_blocks)) * 512)
    }

    /// Makes the names in a directory durable.
    package func syncDirectory(_ path: String) throws(VolumeError) {
        let fd = try descriptor(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, mode: 0, call: "open")
        defer { Glibc.close(fd) }
        try Self.check(fsync(fd), "fsync", path.isEmpty ? "." : path)
    }

    /// How full the file system is.
    package func space() throws(VolumeError) -> SpaceFacts {
        var found = statvfs()
        try Self.check(fstatvfs(root, &found), "statvfs", ".")
        let unit = UInt64(found.f_frsize)
        return SpaceFacts(
            totalBytes: UInt64(found.f_blocks) * unit, freeBytes: UInt64(found.f_bfree) * unit,
            availableBytes: UInt64(found.f_bavail) * unit)
    }

    /// Takes the root for this process.
    package func lockRoot() throws(VolumeError) -> (any VolumeLock)? {
        // An own descriptor: a lock belongs to the open file, and two stores in one process must exclude each other, too.
        let fd = try descriptor(".", O_RDONLY | O_DIRECTORY, mode: 0, call: "open")
        if flock(fd, LOCK_EX | LOCK_NB) == 0 { return PosixLock(descriptor: fd) }
        let number = errno
        Glibc.close(fd)
        if number == EWOULDBLOCK { return nil }
        throw VolumeError(call: "flock", path: ".", errno: number)
    }

    // MARK: Paths

    private func descriptor(_ path: String, _ flags: Int32, mode: UInt32, call: String) throws(VolumeError) -> Int32 {
        if hasOpenAt2 {
            let fd = lamina_open_beneath(root, path, flags, mode)
            guard fd >= 0 else { throw VolumeError(call: call, path: path, errno: errno) }
            return fd
        }
        var directory = root
        defer { if directory != root { Glibc.close(directory) } }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            guard !part.isEmpty, part != ".." else { throw VolumeError(call: call, path: path, errno: EXDEV) }
            let isLast = index == parts.count - 1
            let fd = lamina_openat(
                directory, String(part), isLast ? flags | O_NOFOLLOW : O_RDONLY | O_DIRECTORY | O_NOFOLLOW, mode)
            guard fd >= 0 else { throw VolumeError(call: call, path: path, errno: errno) }
            if isLast { return fd }
            if directory != root { Glibc.close(directory) }
            directory = fd
        }
        throw VolumeError(call: call, path: path, errno: ENOENT)
    }

    private func inParent(
        of path: String, call: String, _ body: (Int32, String) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        let name = VolumePath.name(of: path)
        guard !name.isEmpty, name != "..", name != "." else { throw VolumeError(call: call, path: path, errno: EXDEV) }
        let parent = VolumePath.parent(of: path)
        if parent.isEmpty { return try body(root, name) }
        let fd = try descriptor(parent, lamina_o_path_directory(), mode: 0, call: call)
        defer { Glibc.close(fd) }
        try body(fd, name)
    }

    private static func check(_ result: Int32, _ call: String, _ path: String) throws(VolumeError) {
        guard result == 0 else { throw VolumeError(call: call, path: path, errno: errno) }
    }
}

private final class PosixLock: VolumeLock {
    private let descriptor: Atomic<Int32>
    init(descriptor: Int32) { self.descriptor = Atomic(descriptor) }
    deinit { release() }

    func release() {
        let fd = descriptor.exchange(-1, ordering: .acquiringAndReleasing)
        if fd >= 0 { Glibc.close(fd) }
    }
}
