import Glibc
import HostCommand
import Model

/// The place of one storage on this host: makes it ready, and lets it go. Blocking.
package struct StoragePlace: Sendable {
    /// The storage; its id is the UUID of a file system that is made for it.
    package let storage: ImageStorageID
    /// Where the store will be.
    package let mountPath: MountPath

    /// Names a place; nothing is looked at before a function is called.
    package init(storage: ImageStorageID, mountPath: MountPath) {
        self.storage = storage
        self.mountPath = mountPath
    }

    /// Makes a directory ready to hold a store.
    /// - Parameter acceptsFiles: whether it may have files in it that are not a store.
    /// - Throws: `.pathRefused`, `.pathNotEmpty`: nothing was changed, but for directories that had to be made.
    package func prepareDirectory(acceptsFiles: Bool) throws(DisksError) -> PrepareOutput {
        let mounts = try HostMounts.current()
        try MountPathRules.checkDirectory(mountPath, mounts)
        try MountPathRules.checkNoStoreAbove(mountPath)
        let directory = try OpenDirectory(mountPath.text, creating: true)
        let hasStore = try MountPathRules.hasStore(directory)
        if !hasStore, !acceptsFiles, try !MountPathRules.isEmpty(directory) {
            throw .pathNotEmpty(
                "'\(mountPath)' has files in it and no Lamina store; choose an empty directory, or ask to retrieve existing images"
            )
        }
        return try output(directory, didFormat: false)
    }

    /// Wipes the chosen disk, makes a file system on it and mounts it at the mount path, now and at every boot.
    /// Called again after success or a crash, it goes on where it was: a disk with this storage's file system is never
    /// formatted again.
    /// - Throws: `.diskChanged`, `.diskNotFree`, `.diskNotFound`, `.pathRefused`, `.pathNotEmpty`: nothing was wiped.
    package func prepareFreeDisk(_ choice: DiskChoice) throws(DisksError) -> PrepareOutput {
        let fileSystem = try DiskFormat(storage: storage, device: choice.device)
        let mounts = try HostMounts.current()
        var didFormat = false
        if let mount = mounts.mount(at: mountPath.text), try fileSystem.isOurs(), try fileSystem.isMounted(as: mount) {
            // An earlier call came this far.
        } else {
            try MountPathRules.checkMountPoint(mountPath, mounts)
            try MountPathRules.checkNoStoreAbove(mountPath)
            // Files below a mount point would vanish from sight: refused.
            guard try OpenDirectory(mountPath.text, creating: true).names().isEmpty else {
                throw .pathNotEmpty(
                    "'\(mountPath)' has files in it, which the disk would hide; choose an empty or new directory")
            }
            if try !fileSystem.isOurs() {
                try fileSystem.format(choice)
                didFormat = true
            }
        }
        try BootMount(storage: storage, mountPath: mountPath, fileSystem: try fileSystem.type()).install()
        guard let mount = try HostMounts.current().mount(at: mountPath.text), try fileSystem.isMounted(as: mount) else {
            throw .mountFailed("\(choice.device) is not what is mounted at '\(mountPath)'")
        }
        return try output(try OpenDirectory(mountPath.text), didFormat: didFormat)
    }

    /// Unmounts what `prepareFreeDisk` mounted and forgets it at boot. Bytes on the disk stay; a local directory stays
    /// as it is. Called again, it does nothing.
    /// - Throws: `.busy`: something still uses it; the entry for the boot is still there.
    package func release() throws(DisksError) {
        let fileSystem = BootMount(storage: storage, mountPath: mountPath, fileSystem: "auto")
        let device = DiskFormat.device(of: storage)
        if let device, let mount = try HostMounts.current().mount(at: mountPath.text),
            try DiskFormat(storage: storage, device: device).isMounted(as: mount)
        {
            do throws(HostCommandError) {
                try HostCommand("umount", [mountPath.text]).succeed()
            } catch { throw .busy("'\(mountPath)' could not be unmounted: \(error)") }
        }
        try fileSystem.remove()
        // Only what is empty goes; rmdir refuses anything else.
        if device != nil { rmdir(mountPath.text) }
    }

    private func output(_ directory: borrowing OpenDirectory, didFormat: Bool) throws(DisksError) -> PrepareOutput {
        let mounts = try HostMounts.current()
        let identity = try FileSystemIdentity(of: directory, mounts: mounts)
        return PrepareOutput(
            fileSystemID: identity.text, fileSystem: identity.fileSystem,
            source: mounts.mount(containing: mountPath.text)?.source ?? "", totalBytes: identity.totalBytes,
            availableBytes: identity.availableBytes, didFormat: didFormat,
            hasStore: try MountPathRules.hasStore(directory))
    }
}
