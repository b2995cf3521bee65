import Disks
import Glibc
import HostCommand
import Model

/// Where things are on this host. Source: docs/operations.md, "On the host".
package struct HostLayout: Sendable {
    let scope: HostScope
    /// The bundle this process came from.
    let bundle: String
    /// The link that units and supervisors go through, so that a new bundle is one rename.
    let current: String
    /// The directory of all instances.
    let instances: String
    /// Logs of the supervisor; under systemd the journal has them.
    let logs: String

    /// Creates a layout from its parts; `current()` is the one of a host.
    package init(scope: HostScope, bundle: String, current: String, instances: String, logs: String) {
        self.scope = scope
        self.bundle = bundle
        self.current = current
        self.instances = instances
        self.logs = logs
    }

    static let systemUser = "lamina"
    private static let systemBundles = "/opt/lamina-agent"

    static func current() -> HostLayout {
        let bundle = getenv("LAMINA_BUNDLE").map { String(cString: $0) }
        if geteuid() == 0 {
            return HostLayout(
                scope: .system, bundle: bundle ?? systemBundles + "/current", current: systemBundles + "/current",
                instances: "/etc/lamina-agent", logs: "/var/log/lamina-agent")
        }
        // The home from the user database, not from the environment.
        let home = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_dir) } ?? "/"
        let base = home + "/.lamina-agent"
        return HostLayout(
            scope: .user, bundle: bundle ?? base + "/current", current: base + "/current",
            instances: base + "/instances",
            logs: base + "/log")
    }

    func instance(_ storage: ImageStorageID) -> String { instances + "/\(storage)" }

    /// Who runs the instances, made when missing.
    func owner() throws(HostVerbFailure) -> (user: uid_t, group: gid_t) {
        guard scope == .system else { return (geteuid(), getegid()) }
        if let found = HostLayout.lookUp(HostLayout.systemUser) { return found }
        do throws(HostCommandError) {
            try HostCommand(
                "useradd",
                [
                    "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell",
                    "/usr/sbin/nologin", HostLayout.systemUser,
                ]
            ).succeed()
        } catch { throw HostVerbFailure(error) }
        guard let made = HostLayout.lookUp(HostLayout.systemUser) else {
            throw HostVerbFailure(.inputOutput, "the user '\(HostLayout.systemUser)' was made and cannot be found")
        }
        return made
    }

    private static func lookUp(_ name: String) -> (user: uid_t, group: gid_t)? {
        getpwnam(name).map { ($0.pointee.pw_uid, $0.pointee.pw_gid) }
    }

    /// The storages that have something here.
    func storages() -> [ImageStorageID] {
        HostFiles.names(in: instances).compactMap { try? ImageStorageID(parsing: $0) }
    }
}

/// Keeps two verbs from running at once on a host; the kernel lets go of it with the process.
struct HostLock {
    private let descriptor: Int32

    init(_ layout: HostLayout) throws(HostVerbFailure) {
        try onHost { () throws(DisksError) in
            try HostFiles.makeDirectory(
                layout.instances, HostFiles.Access(mode: layout.scope == .system ? 0o755 : 0o700))
        }
        let path = layout.instances + "/.lock"
        let file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw HostVerbFailure(.inputOutput, "the lock '\(path)' cannot be opened (error \(errno))")
        }
        while flock(file, LOCK_EX) != 0 {
            guard errno == EINTR else {
                let number = errno
                close(file)
                throw HostVerbFailure(.inputOutput, "the lock '\(path)' cannot be taken (error \(number))")
            }
        }
        descriptor = file
    }

    func release() { close(descriptor) }
}
