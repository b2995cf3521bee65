import Glibc
import Model

/// The rules of a mount path that only its host can check. Source: docs/security.md, "mount path".
package enum MountPathRules {
    /// File systems that exist only in memory, or belong to the kernel or to another machine: what is written there
    /// does not last, or not with the promises of `fsync`.
    private static let unfit: Set<String> = [
        "tmpfs", "ramfs", "devtmpfs", "proc", "sysfs", "cgroup", "cgroup2", "squashfs", "iso9660", "udf", "vfat",
        "exfat",
        "nfs", "nfs4", "cifs", "smb3", "9p", "autofs", "devpts", "mqueue", "hugetlbfs", "efivarfs",
    ]

    /// For a local directory: it may lie on any lasting file system, but nothing may be mounted below it.
    package static func checkDirectory(_ path: MountPath, _ mounts: MountTable) throws(DisksError) {
        try checkNothingBelow(path, mounts)
        guard let mount = mounts.mount(containing: path.text) else {
            throw .pathRefused("nothing is mounted at '\(path)'")
        }
        guard !unfit.contains(mount.fileSystem), !mount.fileSystem.hasPrefix("fuse") else {
            throw .pathRefused("'\(path)' is on a \(mount.fileSystem), which cannot hold a store; choose a local disk")
        }
        guard !mount.isReadOnly else { throw .pathRefused("'\(path)' is on a file system that is mounted read-only") }
    }

    /// For a free disk: a mount of its own in the root file system, with no other mount above or below.
    package static func checkMountPoint(_ path: MountPath, _ mounts: MountTable) throws(DisksError) {
        try checkNothingBelow(path, mounts)
        if let mount = mounts.mount(at: path.text) {
            throw .pathRefused("\(mount.source) is mounted at '\(path)' already")
        }
        if let mount = mounts.mount(containing: path.text), mount.path != "/" {
            throw .pathRefused(
                "'\(path)' lies below the mount '\(mount.path)' (\(mount.source)); choose a path outside it")
        }
    }

    private static func checkNothingBelow(_ path: MountPath, _ mounts: MountTable) throws(DisksError) {
        if let below = mounts.mounts(below: path.text).first {
            throw .pathRefused(
                "'\(path)' lies above the mount '\(below.path)' (\(below.source)); choose another directory")
        }
    }

    /// Refuses a path inside another store, or with another store directly in what lies above it.
    package static func checkNoStoreAbove(_ path: MountPath) throws(DisksError) {
        var above = HostFiles.parent(of: path.text)
        while true {
            if HostFiles.exists((above == "/" ? "" : above) + "/lamina/STORE") {
                throw .pathRefused("'\(path)' lies below the store at '\(above)'; stores do not contain one another")
            }
            if above == "/" { return }
            above = HostFiles.parent(of: above)
        }
    }

    /// Whether a store's marker is in the directory.
    package static func hasStore(_ directory: borrowing OpenDirectory) throws(DisksError) -> Bool {
        guard let folder = try directory.status(of: "lamina"), folder.st_mode & S_IFMT == S_IFDIR else { return false }
        var marker = stat()
        return fstatat(directory.descriptor, "lamina/STORE", &marker, AT_SYMLINK_NOFOLLOW) == 0
            && marker.st_mode & S_IFMT == S_IFREG
    }

    /// Whether nothing is in the directory but what a fresh file system or an earlier try of ours put there.
    package static func isEmpty(_ directory: borrowing OpenDirectory) throws(DisksError) -> Bool {
        let names = try directory.names().filter { $0 != "lost+found" }
        guard names == ["lamina"] else { return names.isEmpty }
        let folder = openat(directory.descriptor, "lamina", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard folder >= 0 else { return false }
        close(folder)
        return try OpenDirectory(directory.path + "/lamina").names().isEmpty
    }
}
