import Glibc
import Model

/// Tells one file system from another without root, across reboots. An agent opens its store only where the
/// identity is the one that was recorded: an unmounted disk is never a new store. Source: docs/store.md, rule 10.
package struct FileSystemIdentity: Hashable, Sendable {
    /// `xfs:UUID`, `ext4:…`, `btrfs:…`; for types that have nothing lasting of their own, only the type.
    package let text: String
    /// The type, such as `xfs`.
    package let fileSystem: String
    /// Its size.
    package let totalBytes: UInt64
    /// What an unprivileged process may still write.
    package let availableBytes: UInt64

    // struct xfs_fsop_geom_v1 is 112 bytes with the UUID at 64 (XFS_IOC_FSGEOMETRY_V1, _IOR('X', 100, …)).
    private static let xfsGeometryRequest: UInt = 0x8070_5864
    private static let xfsGeometryByteCount = 112
    private static let xfsGeometryUUIDOffset = 64

    /// Asks the kernel about the file system that holds `directory`.
    package init(of directory: borrowing OpenDirectory, mounts: MountTable) throws(DisksError) {
        var facts = statvfs()
        guard fstatvfs(directory.descriptor, &facts) == 0 else { throw .last("statvfs", directory.path) }
        let type = mounts.mount(containing: directory.path)?.fileSystem ?? "unknown"
        fileSystem = type
        totalBytes = UInt64(facts.f_blocks) * UInt64(facts.f_frsize)
        availableBytes = UInt64(facts.f_bavail) * UInt64(facts.f_frsize)
        let words = withUnsafeBytes(of: UInt64(facts.f_fsid).bigEndian) { Hex.encode($0) }
        switch type {
        case "xfs": text = "xfs:" + (try FileSystemIdentity.xfs(directory))
        // The kernel makes f_fsid of the file system's UUID.
        case "ext2", "ext3", "ext4", "btrfs": text = type + ":" + words
        default: text = type
        }
    }

    /// Asks the kernel about the file system that holds `path`, reached without following a link.
    package static func of(_ path: String) throws(DisksError) -> FileSystemIdentity {
        let directory = try OpenDirectory(path)
        return try FileSystemIdentity(of: directory, mounts: try HostMounts.current())
    }

    private static func xfs(_ directory: borrowing OpenDirectory) throws(DisksError) -> String {
        var geometry = [UInt8](repeating: 0, count: xfsGeometryByteCount)
        let answer = geometry.withUnsafeMutableBytes {
            ioctl(directory.descriptor, xfsGeometryRequest, $0.baseAddress!)
        }
        guard answer == 0 else { throw .last("ioctl XFS_IOC_FSGEOMETRY", directory.path) }
        return Hex.encode(geometry[xfsGeometryUUIDOffset..<xfsGeometryUUIDOffset + 16])
    }
}

/// The mounts that this process sees.
package enum HostMounts {
    /// Reads `/proc/self/mountinfo`.
    package static func current() throws(DisksError) -> MountTable {
        MountTable(mountInfo: try HostFiles.read("/proc/self/mountinfo") ?? "")
    }
}
