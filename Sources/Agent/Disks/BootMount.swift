import Glibc
import HostCommand
import Model

/// The mount of one storage, now and at every boot.
///
/// Where systemd is PID 1 and udev names the devices, it is a mount unit; where systemd runs without udev (containers),
/// a service that calls mount, because a mount unit would wait for a device unit that never comes; elsewhere a line in
/// `/etc/fstab` below a marker. A missing disk never keeps the host from booting.
package struct BootMount {
    let storage: ImageStorageID
    let mountPath: MountPath
    let fileSystem: String

    /// Names a mount; nothing is looked at before a function is called.
    package init(storage: ImageStorageID, mountPath: MountPath, fileSystem: String) {
        self.storage = storage
        self.mountPath = mountPath
        self.fileSystem = fileSystem
    }

    /// No device nodes, no set-user-id programs and no programs at all come from a store.
    static let options = "nofail,nodev,nosuid,noexec,noatime"
    private static let unitDirectory = "/etc/systemd/system"
    private static let fstab = "/etc/fstab"
    private static let publicFile = HostFiles.Access(mode: 0o644)

    /// How a host mounts at boot.
    package enum Way { case mountUnit, service, fstab }

    static var way: Way {
        guard HostFiles.exists("/run/systemd/system") else { return .fstab }
        return HostFiles.exists("/run/udev/control") ? .mountUnit : .service
    }

    /// `lamina-mount-ID.service`, or the name that systemd demands for a mount unit of this path.
    package static func unitName(of path: MountPath, storage: ImageStorageID, way: Way) -> String {
        way == .mountUnit ? systemdEscaped(path) + ".mount" : "lamina-mount-\(storage).service"
    }

    /// `systemd-escape --path`: `/` becomes `-`; everything but letters, digits, `_`, `:` and inner dots `\xNN`.
    package static func systemdEscaped(_ path: MountPath) -> String {
        var out = ""
        for (index, byte) in path.text.utf8.dropFirst().enumerated() {
            switch byte {
            case 0x2f: out += "-"
            case 0x2e where index > 0, 0x5f: out.unicodeScalars.append(Unicode.Scalar(byte))
            case _ where Ascii.isAlphanumeric(byte): out.unicodeScalars.append(Unicode.Scalar(byte))
            default: out += "\\x" + Hex.encode([byte])
            }
        }
        return out
    }

    /// Writes the entry and mounts by it. Called again, it changes nothing.
    func install() throws(DisksError) {
        let way = BootMount.way
        if way == .fstab {
            let text = fstab(from: try HostFiles.read(BootMount.fstab) ?? "", isMounted: true)
            try HostFiles.write(text, to: BootMount.fstab, BootMount.publicFile)
            return try mount()
        }
        let name = BootMount.unitName(of: mountPath, storage: storage, way: way)
        let path = BootMount.unitDirectory + "/" + name
        let text = way == .mountUnit ? mountUnit : service
        if let there = try HostFiles.read(path), there != text, !there.contains(marker) {
            throw .mountFailed("the host has a unit \(name) of its own for this path")
        }
        try HostFiles.write(text, to: path, BootMount.publicFile)
        do throws(HostCommandError) {
            try HostCommand("systemctl", ["daemon-reload"]).succeed()
            try HostCommand("systemctl", ["enable", "--quiet", name]).succeed()
            try HostCommand("systemctl", ["start", name]).succeed()
        } catch { throw .mountFailed(error.description) }
    }

    /// Unmounts and removes the entry. What is on the disk stays. Called again, it does nothing.
    func remove() throws(DisksError) {
        for way in [Way.mountUnit, .service] {
            let name = BootMount.unitName(of: mountPath, storage: storage, way: way)
            let path = BootMount.unitDirectory + "/" + name
            guard let there = try HostFiles.read(path), there.contains(marker) else { continue }
            try systemctl(["disable", "--quiet", "--now", name])
            try HostFiles.remove(path)
            try systemctl(["daemon-reload"])
        }
        if let text = try HostFiles.read(BootMount.fstab), text.contains(marker) {
            try HostFiles.write(fstab(from: text, isMounted: false), to: BootMount.fstab, BootMount.publicFile)
        }
    }

    private func mount() throws(DisksError) {
        guard try HostMounts.current().mount(at: mountPath.text) == nil else { return }
        do throws(HostCommandError) {
            try HostCommand("mount", [mountPath.text]).succeed()
        } catch { throw .mountFailed(error.description) }
    }

    // A unit that was left by a time when the host had another PID 1 is only a file.
    private func systemctl(_ arguments: [String]) throws(DisksError) {
        guard BootMount.way != .fstab else { return }
        do throws(HostCommandError) {
            try HostCommand("systemctl", arguments).succeed()
        } catch { throw .busy("'\(mountPath)' could not be unmounted: \(error)") }
    }

    private var marker: String { "# Lamina image storage \(storage)" }

    /// The text of the mount unit.
    package var mountUnit: String {
        """
        \(marker)
        [Unit]
        Description=Lamina image storage at \(mountPath)

        [Mount]
        What=/dev/disk/by-uuid/\(storage)
        Where=\(mountPath)
        Type=\(fileSystem)
        Options=\(BootMount.options)

        [Install]
        WantedBy=multi-user.target

        """
    }

    /// The text of the service that mounts where there is no udev.
    package var service: String {
        """
        \(marker)
        [Unit]
        Description=Lamina image storage at \(mountPath)
        ConditionPathIsMountPoint=!\(mountPath)

        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/mount -t \(fileSystem) -o \(BootMount.options) UUID=\(storage) \(mountPath)
        ExecStop=-/bin/umount \(mountPath)

        [Install]
        WantedBy=multi-user.target

        """
    }

    private var fstabLines: String {
        "\(marker)\nUUID=\(storage) \(mountPath) \(fileSystem) \(BootMount.options) 0 2\n"
    }

    /// `/etc/fstab` with this mount's two lines at its end, or without them; all other lines stay as they are.
    package func fstab(from text: String, isMounted: Bool) -> String {
        var lines: [Substring] = []
        var isOurs = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            defer { isOurs = line == marker }
            // Below a marker only the line that was written there is ours: an admin may have edited the file.
            if isOurs, line.hasPrefix("UUID=\(storage) ") { continue }
            if line != marker { lines.append(line) }
        }
        var rest = lines.joined(separator: "\n")
        if !rest.isEmpty, !rest.hasSuffix("\n") { rest += "\n" }
        return isMounted ? rest + fstabLines : rest
    }
}
