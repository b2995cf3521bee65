// Goal: a host becomes a storage and stops being one, by the verbs alone, over SSH, as root, with sudo and without, with
// systemd and without; each verb may be repeated; nothing but the chosen disk is wiped. Method: hosts of Tests/Lab and a bundle
// of HostVerbTool, whose daemon only listens and writes below its mount path.
import Bootstrap
import Foundation
import Model
import Testing

@Suite(
    .serialized, .tags(.lab), .enabled(if: canMakeHosts, rootIsNeeded),
    .labHost("127.0.0.44", "--disk", "1G", "--disk", "256M"))
struct HostVerbTests {
    let host: LabHost
    let first: Enrolment
    let second: Enrolment

    init() throws {
        host = try #require(LabHost.current)
        var generator = SystemRandomNumberGenerator()
        first = Enrolment(
            host: host, target: try host.target(), scope: .system, storage: ImageStorageID(using: &generator),
            mountPath: try MountPath("/lamina"))
        second = Enrolment(
            host: host, target: try host.target("ops", "ops-pw"), scope: .system,
            storage: ImageStorageID(using: &generator), mountPath: try MountPath("/srv/second"))
    }

    private func choice(_ index: Int) async throws -> DiskChoice {
        let device = try host.disks()[index]
        let report = try await first.ssh.probe(first.target)
        let disks = report.freeDisks + report.otherDisks.map(\.disk)
        return DiskChoice(try #require(disks.first { $0.device == device }))
    }

    @Test func bundleTravelsOnce() async throws {
        #expect(try await first.install().wasPresent == false || FileManager.default.fileExists(atPath: host.home.path))
        let again = try await first.install()
        #expect(again.wasPresent)
        // By another user, through sudo: the same place.
        #expect(try await second.install() == again)
        #expect(
            try host.exec("readlink -f /opt/lamina-agent/current").trimmingCharacters(in: .newlines) == again.directory)
        #expect(try host.exec("ls -A /opt/lamina-agent | grep -c incoming || true") == "0\n")
        // A damaged bundle is found out and brought again.
        try host.exec("echo x >>/opt/lamina-agent/current/lamina-agent")
        #expect(try await first.install().wasPresent == false)
        #expect(try host.exec("/opt/lamina-agent/current/run --version") == "lamina-agent 0.0.1\n")
    }

    @Test func bundleForAnotherProcessorStaysAway() async throws {
        var file = try TestBundle.file.get()
        file.architecture = "riscv64"
        do throws(BootstrapError) {
            _ = try await first.ssh.installBundle(first.target, bundle: file, scope: .system)
            Issue.record("it was installed")
        } catch {
            guard case .unsupportedArchitecture(_, "riscv64") = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func bundleThatChangedIsNotSent() async throws {
        var file = try TestBundle.file.get()
        file.sha256 = Digest.sha256([1])
        do throws(BootstrapError) {
            _ = try await first.ssh.installBundle(first.target, bundle: file, scope: .system)
            Issue.record("it was installed")
        } catch {
            guard case .bundleUnusable = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func freeDiskFromFirstToLast() async throws {
        _ = try await first.install()
        let disk = try await choice(0)
        let other = try host.exec("sha256sum <\(host.disks()[1])")

        // The wrong disk: by identity, by size, by name.
        for wrong in [
            DiskChoice(device: disk.device, id: "serial:ABC", sizeBytes: disk.sizeBytes, serial: "ABC"),
            DiskChoice(device: disk.device, id: disk.id, sizeBytes: disk.sizeBytes + 512),
            DiskChoice(device: try host.disks()[1], id: disk.id, sizeBytes: disk.sizeBytes),
        ] {
            #expect(
                await first.refusal { () throws(BootstrapError) in try await first.prepare(.freeDisk(wrong)) }
                    == .diskChanged)
        }
        #expect(
            await first.refusal { () throws(BootstrapError) in
                try await first.prepare(.freeDisk(DiskChoice(device: "/dev/sdz", id: "x", sizeBytes: 1)))
            } == .diskNotFound)
        #expect(try host.exec("wipefs -p -n \(disk.device); ls /etc/lamina-agent") == "")

        let prepared = try await first.prepare(.freeDisk(disk))
        #expect(prepared.didFormat)
        #expect(!prepared.hasStore)
        #expect(prepared.source == disk.device)
        let again = try await first.prepare(.freeDisk(disk))
        #expect(!again.didFormat)
        #expect(again.fileSystemID == prepared.fileSystemID)

        let enrolled = try await first.enrol(prepared.fileSystemID)
        #expect(enrolled.port >= AgentConfiguration.portMin)
        #expect(try await first.enrol(prepared.fileSystemID).port == enrolled.port)
        #expect(try host.exec("stat -c '%a %U' /etc/lamina-agent/\(first.storage)/key.pem") == "600 lamina\n")

        let started = try await first.instance(.start)
        #expect(started.isRunning && started.startsAtBoot)
        #expect(started.supervisor == "systemd")
        #expect(try host.exec("stat -c %U /lamina/lamina/probe") == "lamina\n")
        // Its unit keeps its promise.
        let score = try host.exec("systemd-analyze security --no-pager lamina-agent@\(first.storage) | tail -1")
        let words = score.split(separator: " ").compactMap { Double($0) }
        #expect(try #require(words.first) <= 2.0)

        // A second storage: not on this disk, not on this path, and on another port.
        #expect(
            await second.refusal { () throws(BootstrapError) in try await second.prepare(.freeDisk(disk)) }
                == .diskNotFree)
        let inside = Enrolment(
            host: host, target: second.target, scope: .system, storage: second.storage,
            mountPath: try MountPath("/lamina/inside"))
        #expect(
            await inside.refusal { () throws(BootstrapError) in try await inside.prepare(.localDirectory) }
                == .mountPathInUse)
        let directory = try await second.prepare(.localDirectory)
        #expect(try await second.enrol(directory.fileSystemID).port != enrolled.port)
        #expect(try await second.instance(.start).isRunning)

        // A power cut: disk and agents come back by themselves.
        try host.exec("sync")
        _ = try host.tool(["kill", LabHost.name])
        _ = try host.tool(["start", LabHost.name])
        try host.exec("systemctl is-system-running --wait >/dev/null; findmnt -n /lamina")
        #expect(try await first.instance(.start).isRunning)
        // A loop device has another number after a power cut, as a disk may have another letter.
        let found = try await choice(0)
        #expect(try await first.prepare(.freeDisk(found)).fileSystemID == prepared.fileSystemID)
        #expect(try await second.instance(.status).isRunning)

        // A running agent keeps its disk; a stopped one lets it go, with all its bytes.
        #expect(await first.refusal { () throws(BootstrapError) in try await first.undoPrepare() } == .stopFailed)
        #expect(try await first.instance(.stop).isRunning == false)
        #expect(try await first.instance(.stop).startsAtBoot == false)
        try await first.remove()
        try await first.remove()
        #expect(try host.exec("findmnt -n -o SOURCE /lamina") == found.device + "\n")
        try await first.undoPrepare()
        try await first.undoPrepare()
        #expect(
            try host.exec(
                "findmnt -n /lamina || ls -d /lamina 2>/dev/null || ls /etc/systemd/system | grep lamina-mount || true")
                == "")
        #expect(try host.exec("mount -o ro \(found.device) /mnt && ls /mnt/lamina && umount /mnt") == "probe\n")
        #expect(try await first.instance(.status).isInstalled == false)
        _ = try await second.instance(.stop)
        try await second.remove()
        #expect(try host.exec("ls /srv/second/lamina") == "probe\n")
        #expect(try host.exec("sha256sum <\(host.disks()[1])") == other)
    }

    @Test func pathsThatAreRefused() async throws {
        _ = try await first.install()
        try host.exec(
            """
            mkdir -p /srv/full /srv/above/below /srv/memory /srv/store/lamina; touch /srv/full/x /srv/store/lamina/STORE
            ln -s /srv/full /srv/link; mount -t tmpfs x /srv/above/below; mount -t tmpfs x /srv/memory
            """)
        defer { _ = try? host.exec("umount /srv/above/below /srv/memory") }
        let cases: [(String, HostFailureCode)] = [
            ("/srv/full", .mountPathNotEmpty), ("/srv/link", .mountPathRefused), ("/srv/link/x", .mountPathRefused),
            ("/srv/above", .mountPathRefused), ("/srv/memory", .mountPathRefused), ("/srv/store/x", .mountPathRefused),
        ]
        for (path, code) in cases {
            let one = Enrolment(
                host: host, target: first.target, scope: .system, storage: first.storage, mountPath: try MountPath(path)
            )
            #expect(
                await one.refusal { () throws(BootstrapError) in try await one.prepare(.localDirectory) } == code,
                "\(path)")
        }
        #expect(try host.exec("ls /etc/lamina-agent") == "")
        let store = Enrolment(
            host: host, target: first.target, scope: .system, storage: first.storage,
            mountPath: try MountPath("/srv/store"))
        #expect(try await store.prepare(.localDirectory).hasStore)
        try await store.undoPrepare()
    }

    @Test func diskWithPartitionsNeedsItsSerial() async throws {
        _ = try await first.install()
        let device = try host.disks()[1]
        try host.exec("printf 'label: gpt\\n,64M\\n' | sfdisk -q \(device)")
        defer { _ = try? host.exec("wipefs -qa \(device)") }
        var disk = try await choice(1)
        #expect(
            await first.refusal { () throws(BootstrapError) in try await first.prepare(.freeDisk(disk)) }
                == .diskNotFree)
        // A loop device has no serial number, so there is none that could be typed.
        disk.confirmedSerial = "made up"
        #expect(
            await first.refusal { () throws(BootstrapError) in try await first.prepare(.freeDisk(disk)) }
                == .diskNotFree)
        #expect(try host.exec("wipefs -p -n \(device)").contains("gpt"))
    }

    @Test func userWithoutSudoHasAStorageInTheirHome() async throws {
        var generator = SystemRandomNumberGenerator()
        let home = "/home/" + LabHost.userWithoutSudo
        let mine = Enrolment(
            host: host, target: try host.target(LabHost.userWithoutSudo, LabHost.passwordWithoutSudo), scope: .user,
            storage: ImageStorageID(using: &generator), mountPath: try MountPath(home + "/store"))
        let installed = try await mine.install()
        #expect(installed.directory.hasPrefix(home + "/.lamina-agent/"))
        #expect(try await mine.install().wasPresent)
        let disk = try await choice(1)
        #expect(await mine.refusal { () throws(BootstrapError) in try await mine.prepare(.freeDisk(disk)) } == .notRoot)
        let prepared = try await mine.prepare(.localDirectory)
        _ = try await mine.enrol(prepared.fileSystemID)
        let started = try await mine.instance(.start)
        #expect(started.isRunning)
        #expect(started.supervisor == "supervisor")
        let again = try await mine.instance(.start, restart: true)
        #expect(again.isRunning)
        #expect(try await mine.instance(.stop).isRunning == false)
        try await mine.remove()
        try await mine.undoPrepare()
        #expect(try host.exec("ls \(home)/.lamina-agent/instances; ls \(home)/store/lamina") == "probe\n")
    }

    @Test func verbBeforeTheBundle() async throws {
        var generator = SystemRandomNumberGenerator()
        let early = Enrolment(
            host: host, target: first.target, scope: .user, storage: ImageStorageID(using: &generator),
            mountPath: first.mountPath)
        do throws(BootstrapError) {
            _ = try await early.instance(.status)
            Issue.record("it answered")
        } catch { #expect(error == .notInstalled) }
    }
}
