// Goal: what is written for the boot mounts the right file system at the right place, keeps a host booting without it, and
// leaves what others wrote as it is. Method: the texts; names are compared with those of `systemd-escape` where there is one.
import Disks
import Foundation
import Glibc
import HostCommand
import Model
import Testing

@Suite struct BootMountTests {
    private static let id = ImageStorageID(random: (0x0123_4567_89ab_4def, 0x8123_4567_89ab_cdef))

    private func mount(_ path: String) throws -> BootMount {
        BootMount(storage: Self.id, mountPath: try MountPath(path), fileSystem: "xfs")
    }

    @Test(arguments: [
        ("/lamina", "lamina"), ("/srv/images", "srv-images"), ("/a-b/c", "a\\x2db-c"), ("/a.b/c", "a.b-c"),
        ("/.hidden", "\\x2ehidden"), ("/a/.b", "a-.b"), ("/a_b", "a_b"),
    ])
    func unitNames(path: String, escaped: String) throws {
        #expect(BootMount.systemdEscaped(try MountPath(path)) == escaped)
        let unit = BootMount.unitName(of: try MountPath(path), storage: Self.id, way: .mountUnit)
        #expect(unit == escaped + ".mount")
        guard HostCommand.locate("systemd-escape") != nil else { return }
        let theirs = try HostCommand("systemd-escape", ["--path", "--suffix=mount", path]).succeed().text
        #expect(theirs == unit + "\n")
    }

    @Test func serviceIsNamedForTheStorage() throws {
        #expect(
            BootMount.unitName(of: try MountPath("/lamina"), storage: Self.id, way: .service)
                == "lamina-mount-\(Self.id).service")
    }

    @Test func unitMountsByUUID() throws {
        #expect(
            try mount("/srv/images").mountUnit == """
                # Lamina image storage \(Self.id)
                [Unit]
                Description=Lamina image storage at /srv/images

                [Mount]
                What=/dev/disk/by-uuid/\(Self.id)
                Where=/srv/images
                Type=xfs
                Options=nofail,nodev,nosuid,noexec,noatime

                [Install]
                WantedBy=multi-user.target

                """)
        let service = try mount("/srv/images").service
        #expect(
            service.contains(
                "ExecStart=/bin/mount -t xfs -o nofail,nodev,nosuid,noexec,noatime UUID=\(Self.id) /srv/images\n"))
        #expect(service.contains("ConditionPathIsMountPoint=!/srv/images\n"))
    }

    @Test(arguments: [
        "", "\n", "/dev/sda1 / ext4 defaults 0 1\n",
        "/dev/sda1 / ext4 defaults 0 1\n\n# a comment\n/swap none swap sw 0 0\n",
        // The last line of a file may lack its end.
        "/dev/sda1 / ext4 defaults 0 1",
    ])
    func fstabKeepsTheLinesOfOthers(before: String) throws {
        let mount = try mount("/lamina")
        let with = mount.fstab(from: before, isMounted: true)
        let own =
            "# Lamina image storage \(Self.id)\nUUID=\(Self.id) /lamina xfs nofail,nodev,nosuid,noexec,noatime 0 2\n"
        let ended = before.isEmpty || before.hasSuffix("\n") ? before : before + "\n"
        #expect(with == ended + own)
        // Twice is once.
        #expect(mount.fstab(from: with, isMounted: true) == with)
        #expect(mount.fstab(from: with, isMounted: false) == ended)
        #expect(mount.fstab(from: ended, isMounted: false) == ended)
    }

    @Test func fstabOfSeveralStorages() throws {
        let other = BootMount(
            storage: ImageStorageID(random: (7, 7)), mountPath: try MountPath("/b"), fileSystem: "ext4")
        let both = other.fstab(from: try mount("/a").fstab(from: "", isMounted: true), isMounted: true)
        let left = try mount("/a").fstab(from: both, isMounted: false)
        #expect(left == other.fstab(from: "", isMounted: true))
    }

    /// An admin who took our line out but not the mark above it must not lose the line that follows.
    @Test func fstabThatAnAdminEdited() throws {
        let edited = "# Lamina image storage \(Self.id)\nUUID=9999 / ext4 defaults 0 1\n"
        #expect(try mount("/lamina").fstab(from: edited, isMounted: false) == "UUID=9999 / ext4 defaults 0 1\n")
        let marks =
            "# Lamina image storage \(Self.id)\n# Lamina image storage \(Self.id)\nUUID=\(Self.id) /x xfs a 0 2\nkeep\n"
        #expect(try mount("/lamina").fstab(from: marks, isMounted: false) == "keep\n")
    }

    // MARK: Small files

    @Test func filesAreWrittenWhole() throws {
        let folder = try HostFolder()
        let path = folder.path + "/file"
        #expect(try HostFiles.read(path) == nil)
        try HostFiles.write("first\n", to: path, HostFiles.Access(mode: 0o644))
        try HostFiles.write("ä\n", to: path, HostFiles.Access(mode: 0o600))
        #expect(try HostFiles.read(path) == "ä\n")
        #expect(try folder.mode("file") == 0o600)
        #expect(HostFiles.names(in: folder.path) == ["file"])
        // A temporary that a crash left, even a link to elsewhere, is no way out.
        try folder.write("victim", "keep")
        #expect(symlink(folder.path + "/victim", path + ".lamina-new") == 0)
        try HostFiles.write("second\n", to: path, HostFiles.Access(mode: 0o600))
        #expect(try folder.read("victim") == "keep")
        try HostFiles.remove(path)
        try HostFiles.remove(path)
        #expect(HostFiles.names(in: folder.path) == ["victim"])
        #expect(throws: DisksError.self) {
            try HostFiles.write("x", to: folder.path + "/none/file", HostFiles.Access(mode: 0o600))
        }
    }

    @Test func directoriesGetTheirMode() throws {
        let folder = try HostFolder()
        try HostFiles.makeDirectory(folder.path + "/a/b", HostFiles.Access(mode: 0o700))
        #expect(try folder.mode("a") == 0o755)
        #expect(try folder.mode("a/b") == 0o700)
        try HostFiles.makeDirectory(folder.path + "/a/b", HostFiles.Access(mode: 0o750))
        #expect(try folder.mode("a/b") == 0o750)
        #expect(HostFiles.parent(of: "/a/b") == "/a")
        #expect(HostFiles.parent(of: "/a") == "/")
    }
}
