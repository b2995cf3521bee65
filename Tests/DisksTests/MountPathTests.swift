// Goal: a store never goes where the system, another mount or another store is. Method: paths by their form; then the rules
// of a host on tables of mounts, and on directories with links and stores in them.
import Disks
import Foundation
import Model
import Testing

@Suite struct MountPathTests {
    @Test(arguments: [
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc", "/root",
        "/run", "/sbin", "/sys", "/tmp", "/usr", "/var", "/mnt", "/media", "/srv",
        "/bin/x", "/boot/efi", "/dev/shm", "/etc/lamina", "/lib/x", "/lib64/x", "/proc/1", "/root/x", "/run/lamina",
        "/sbin/x", "/sys/fs", "/tmp/x", "/usr/local/x", "/var/lib/x", "/var/log/x", "/var/tmp/x", "/var/cache/x",
        "/opt/lamina-agent", "/opt/lamina-agent/x", "/etc/", "/usr/",
        "", "lamina", "./lamina", "~/lamina", "//lamina", "/a//b", "/a/./b", "/a/../b", "/..", "/a/..", "/.", "/a/.",
        "/a b", "/a\tb", "/a\nb", "/a\u{0}b", "/a;b", "/a$b", "/a'b", "/a%b", "/ä", "/a\\b", "/a:b", "/a,b",
        "/" + String(repeating: "a", count: 255),
    ])
    func pathsThatAreRefused(text: String) {
        #expect(throws: InvalidValue.self) { try MountPath(text) }
    }

    @Test(arguments: [
        ("/lamina", "/lamina"), ("/lamina/", "/lamina"), ("/srv/images", "/srv/images"),
        ("/home/user/store", "/home/user/store"),
        ("/opt/lamina", "/opt/lamina"), ("/opt/lamina-agent2", "/opt/lamina-agent2"), ("/var/images", "/var/images"),
        ("/usrlocal", "/usrlocal"), ("/data.1/a_b-c", "/data.1/a_b-c"), ("/a/..b", "/a/..b"), ("/...", "/..."),
        ("/" + String(repeating: "a", count: 254), "/" + String(repeating: "a", count: 254)),
    ])
    func pathsThatAreTaken(text: String, taken: String) throws { #expect(try MountPath(text).text == taken) }

    // MARK: Tables of mounts

    private static let table = MountTable(
        mountInfo: """
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
            23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw
            24 22 8:2 / /data rw,relatime shared:3 master:7 - xfs /dev/sda2 rw
            25 24 0:40 / /data/ram rw - tmpfs tmpfs rw
            26 22 8:3 / /with\\040blank ro,relatime - ext4 /dev/sda3 rw
            27 22 8:4 / /frozen rw - xfs /dev/sda4 ro,noatime
            28 22 0:41 / /net rw - nfs4 server:/x rw
            29 22 0:42 / /fuse rw - fuse.sshfs x rw
            30 22 8:5 / /over rw - ext4 /dev/sdb1 rw
            31 30 8:6 / /over rw - xfs /dev/sdb2 rw
            nonsense
            32 22 8:7 / /short rw - ext4
            """)

    @Test func tableIsRead() throws {
        let mounts = Self.table.mounts
        #expect(
            mounts.map(\.path) == [
                "/", "/dev", "/data", "/data/ram", "/with blank", "/frozen", "/net", "/fuse", "/over", "/over",
            ])
        #expect(mounts[2] == .init(path: "/data", majorMinor: "8:2", fileSystem: "xfs", source: "/dev/sda2"))
        #expect(mounts[4].isReadOnly && mounts[5].isReadOnly && !mounts[2].isReadOnly)
        // One sees the last that was mounted there.
        #expect(Self.table.mount(at: "/over")?.source == "/dev/sdb2")
        #expect(Self.table.mount(containing: "/over/x")?.source == "/dev/sdb2")
        #expect(Self.table.mount(containing: "/data/ramble")?.path == "/data")
        #expect(Self.table.mount(containing: "/data/ram/x")?.path == "/data/ram")
        #expect(Self.table.mounts(below: "/data").map(\.path) == ["/data/ram"])
        #expect(Self.table.mounts(below: "/dat").isEmpty)
    }

    private static func refusal(_ body: () throws(DisksError) -> Void) -> String? {
        do throws(DisksError) {
            try body()
            return nil
        } catch {
            guard case .pathRefused(let words) = error else {
                Issue.record("\(error)")
                return nil
            }
            return words
        }
    }

    @Test(arguments: ["/data/x", "/lamina", "/over/x"])
    func directoriesThatWillDo(text: String) throws {
        let path = try MountPath(text)
        #expect(Self.refusal { () throws(DisksError) in try MountPathRules.checkDirectory(path, Self.table) } == nil)
    }

    @Test(arguments: [
        ("/data", "above the mount"), ("/data/ram/x", "tmpfs"), ("/data/ram", "tmpfs"), ("/frozen/x", "read-only"),
        ("/net/x", "nfs4"), ("/fuse/x", "fuse"),
    ])
    func directoriesThatWillNot(text: String, why: String) throws {
        let path = try MountPath(text)
        let words = Self.refusal { () throws(DisksError) in try MountPathRules.checkDirectory(path, Self.table) }
        #expect(words?.contains(why) == true, "\(words ?? "taken")")
    }

    @Test(arguments: [
        ("/lamina", nil), ("/srv/deep/lamina", nil), ("/data", "above the mount"), ("/data/x", "below the mount"),
        ("/over", "mounted at '/over' already"), ("/over/x", "below the mount"), ("/frozen/x", "below the mount"),
    ])
    func mountPoints(text: String, why: String?) throws {
        let path = try MountPath(text)
        let words = Self.refusal { () throws(DisksError) in try MountPathRules.checkMountPoint(path, Self.table) }
        if let why { #expect(words?.contains(why) == true, "\(words ?? "taken")") } else { #expect(words == nil) }
    }

    // MARK: Directories

    @Test func linksLeadNowhere() throws {
        let folder = try HostFolder()
        try folder.make("real/deep")
        #expect(symlink(folder.path + "/real", folder.path + "/link") == 0)
        #expect(symlink("deep", folder.path + "/real/link") == 0)
        try Data().write(to: URL(fileURLWithPath: folder.path + "/file"))
        for name in ["link", "link/deep", "real/link", "file", "file/x"] {
            do throws(DisksError) {
                _ = try OpenDirectory(folder.path + "/" + name, creating: true)
                Issue.record("\(name) was opened")
            } catch {
                guard case .pathRefused = error else {
                    Issue.record("\(name): \(error)")
                    continue
                }
            }
        }
        #expect(try OpenDirectory(folder.path + "/real/deep").names().isEmpty)
        do throws(DisksError) {
            _ = try OpenDirectory(folder.path + "/missing/x")
            Issue.record("it was opened")
        } catch { #expect(error == .system(call: "open", path: folder.path + "/missing", errno: ENOENT)) }
        let made = try OpenDirectory(folder.path + "/real/a/b", creating: true)
        #expect(made.created == [folder.path + "/real/a", folder.path + "/real/a/b"])
    }

    @Test func storesDoNotContainOneAnother() throws {
        let folder = try HostFolder()
        try folder.make("store/lamina")
        try folder.write("store/lamina/STORE", "")
        try folder.make("store/inside/deep")
        for (name, isRefused) in [("store/inside/deep", true), ("store/x", true), ("store", false), ("other", false)] {
            let path = try MountPath(folder.path + "/" + name)
            let words = Self.refusal { () throws(DisksError) in try MountPathRules.checkNoStoreAbove(path) }
            #expect((words != nil) == isRefused, "\(name)")
        }
        #expect(try MountPathRules.hasStore(try OpenDirectory(folder.path + "/store")))
        #expect(try !MountPathRules.hasStore(try OpenDirectory(folder.path + "/store/inside")))
        // A marker behind a link, and one that is a directory, is none.
        try folder.make("fake/lamina/STORE")
        #expect(try !MountPathRules.hasStore(try OpenDirectory(folder.path + "/fake")))
        try folder.make("linked")
        #expect(symlink(folder.path + "/store/lamina", folder.path + "/linked/lamina") == 0)
        #expect(try !MountPathRules.hasStore(try OpenDirectory(folder.path + "/linked")))
    }

    @Test func emptyIsWhatNobodyPutAnythingIn() throws {
        let folder = try HostFolder()
        for (name, entries, isEmpty) in [
            ("a", [], true), ("b", ["lost+found"], true), ("c", ["lamina"], true),
            ("d", ["lamina", "lost+found"], true),
            ("e", ["x"], false), ("f", ["lamina/x"], false), ("g", ["lamina", "x"], false), ("h", [".hidden"], false),
        ] {
            try folder.make(name)
            for entry in entries { try folder.make(name + "/" + entry) }
            #expect(try MountPathRules.isEmpty(try OpenDirectory(folder.path + "/" + name)) == isEmpty, "\(name)")
        }
    }

    @Test func preparedDirectory() throws {
        let folder = try HostFolder()
        let place = StoragePlace(
            storage: ImageStorageID(random: (1, 2)), mountPath: try MountPath(folder.path + "/new/place"))
        let first = try place.prepareDirectory(acceptsFiles: false)
        #expect(!first.didFormat && !first.hasStore)
        #expect(first.totalBytes > first.availableBytes)
        #expect(try place.prepareDirectory(acceptsFiles: false).fileSystemID == first.fileSystemID)
        try folder.write("new/place/file", "x")
        do throws(DisksError) {
            _ = try place.prepareDirectory(acceptsFiles: false)
            Issue.record("it was taken")
        } catch {
            guard case .pathNotEmpty = error else {
                Issue.record("\(error)")
                return
            }
        }
        #expect(try !place.prepareDirectory(acceptsFiles: true).hasStore)
        try folder.make("new/place/lamina")
        try folder.write("new/place/lamina/STORE", "")
        #expect(try place.prepareDirectory(acceptsFiles: false).hasStore)
    }

    @Test func fileSystemIsKnownAgain() throws {
        let folder = try HostFolder()
        try folder.make("a")
        let (one, two) = (try FileSystemIdentity.of(folder.path), try FileSystemIdentity.of(folder.path + "/a"))
        #expect(one.text == two.text)
        #expect(one.text.hasPrefix(one.fileSystem))
        let memory = try FileSystemIdentity.of("/dev/shm")
        #expect(memory.fileSystem == "tmpfs")
        #expect(memory.text == "tmpfs")
        #expect(memory.text != one.text)
        #expect(symlink(folder.path, folder.path + "/link") == 0)
        #expect(throws: DisksError.self) { try FileSystemIdentity.of(folder.path + "/link") }
    }
}
