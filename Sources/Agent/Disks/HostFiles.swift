import Glibc

extension DisksError {
    static func words(_ number: Int32) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard strerror_r(number, buffer.baseAddress!, buffer.count) == 0 else { return "error \(number)" }
            return String(cString: buffer.baseAddress!)
        }
    }

    /// The error of the system call that has just failed.
    static func last(_ call: String, _ path: String) -> DisksError { .system(call: call, path: path, errno: errno) }
}

/// An open directory, reached without following a link. Closed when it goes out of scope.
package struct OpenDirectory: ~Copyable {
    /// Its descriptor.
    package let descriptor: Int32
    /// Its path.
    package let path: String
    /// The directories on the way that had to be made, outermost first.
    package let created: [String]

    /// Opens `path` component by component from `/`, following no link.
    /// - Parameter creating: make what is missing, with mode 0755.
    package init(_ path: String, creating: Bool = false) throws(DisksError) {
        var current = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard current >= 0 else { throw .last("open", "/") }
        var walked = ""
        var created: [String] = []
        for part in path.split(separator: "/") {
            walked += "/" + part
            let name = String(part)
            if creating, mkdirat(current, name, 0o755) == 0 {
                created.append(walked)
                fsync(current)
            }
            let next = openat(current, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            let number = errno
            close(current)
            guard next >= 0 else {
                if number == ELOOP || number == ENOTDIR {
                    throw .pathRefused("'\(walked)' is a link or no directory; a mount path must not lead through one")
                }
                throw .system(call: "open", path: walked, errno: number)
            }
            current = next
        }
        descriptor = current
        self.path = path
        self.created = created
    }

    deinit { close(descriptor) }

    /// The names in it, without `.` and `..`.
    package func names() throws(DisksError) -> [String] {
        let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0, let stream = fdopendir(copy) else {
            let error = DisksError.last("opendir", path)
            if copy >= 0 { close(copy) }
            throw error
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw .last("readdir", path) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    /// What `name` in it is, links not followed; nil when it is not there.
    package func status(of name: String) throws(DisksError) -> stat? {
        var found = stat()
        if fstatat(descriptor, name, &found, AT_SYMLINK_NOFOLLOW) == 0 { return found }
        guard errno == ENOENT else { throw .last("stat", path + "/" + name) }
        return nil
    }
}

/// Small files of the host: read whole, written whole.
package enum HostFiles {
    /// The most bytes that are read of one: 8 MiB.
    static let byteCountMax = 8 << 20

    /// The text of a file; nil when it is not there.
    package static func read(_ path: String) throws(DisksError) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw .last("open", path)
        }
        defer { close(file) }
        var bytes: [UInt8] = []
        while bytes.count < byteCountMax {
            let count = withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { buffer in
                let count = Glibc.read(file, buffer.baseAddress, buffer.count)
                if count > 0 { bytes.append(contentsOf: buffer[..<count]) }
                return count
            }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            if count < 0, errno != EINTR { throw .last("read", path) }
        }
        throw .system(call: "read", path: path, errno: EFBIG)
    }

    /// Whose file, and who may read it.
    package struct Access: Sendable {
        var mode: mode_t
        var owner: uid_t
        var group: gid_t

        /// Creates it from its parts.
        package init(mode: mode_t, owner: uid_t = geteuid(), group: gid_t = getegid()) {
            self.mode = mode
            self.owner = owner
            self.group = group
        }
    }

    /// Writes a file whole and durably: temporary beside it, fsync, rename, fsync of the directory. After an error
    /// the old file is as it was.
    package static func write(_ text: String, to path: String, _ access: Access) throws(DisksError) {
        let directory = parent(of: path)
        let temporary = path + ".lamina-new"
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .last("open", temporary) }
        var rest = Array(text.utf8)[...]
        var failed: DisksError?
        while !rest.isEmpty, failed == nil {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { failed = .last("write", temporary) }
        }
        if failed == nil { failed = give(file, to: access, path: temporary) }
        if failed == nil, fchmod(file, access.mode) != 0 { failed = .last("chmod", temporary) }
        if failed == nil, fsync(file) != 0 { failed = .last("fsync", temporary) }
        if close(file) != 0, failed == nil { failed = .last("close", temporary) }
        if failed == nil, rename(temporary, path) != 0 { failed = .last("rename", path) }
        if let failed {
            unlink(temporary)
            throw failed
        }
        try sync(directory: directory)
    }

    /// Changes the owner only where it is another one: a daemon whose system calls are filtered must not even ask.
    private static func give(_ descriptor: Int32, to access: Access, path: String) -> DisksError? {
        var found = stat()
        guard fstat(descriptor, &found) == 0 else { return .last("stat", path) }
        if found.st_uid == access.owner, found.st_gid == access.group { return nil }
        return fchown(descriptor, access.owner, access.group) == 0 ? nil : .last("chown", path)
    }

    /// Who a file belongs to.
    package struct Owner: Sendable, Equatable {
        /// The user's number.
        package var user: uid_t
        /// The group's number.
        package var group: gid_t
    }

    /// The owner of what is at a path, links followed.
    package static func owner(of path: String) throws(DisksError) -> Owner {
        var found = stat()
        guard stat(path, &found) == 0 else { throw .last("stat", path) }
        return Owner(user: found.st_uid, group: found.st_gid)
    }

    /// Removes a file durably; that it, or its directory, is not there is no error.
    package static func remove(_ path: String) throws(DisksError) {
        guard unlink(path) == 0 else {
            if errno == ENOENT { return }
            throw .last("unlink", path)
        }
        try sync(directory: parent(of: path))
    }

    /// Makes a directory and all above it that are missing, and gives the last one this access.
    package static func makeDirectory(_ path: String, _ access: Access) throws(DisksError) {
        let made = try OpenDirectory(path, creating: true)
        if let failed = give(made.descriptor, to: access, path: path) { throw failed }
        guard fchmod(made.descriptor, access.mode) == 0 else { throw .last("chmod", path) }
        guard fsync(made.descriptor) == 0 else { throw .last("fsync", path) }
        try sync(directory: parent(of: path))
    }

    /// The names in a directory, links followed; none when it is not there.
    package static func names(in path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// Whether something is there, links followed.
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The directory that holds `path`.
    package static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    static func sync(directory: String) throws(DisksError) {
        let file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw .last("open", directory) }
        defer { close(file) }
        guard fsync(file) == 0 else { throw .last("fsync", directory) }
    }
}
