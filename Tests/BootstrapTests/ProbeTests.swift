// Goal: a probe tells the truth about a real host, changes nothing on it, and each way of not getting in has its own
// error. Method: a host of Tests/Lab with a real sshd, systemd as PID 1, two disks and three users.
import Bootstrap
import Foundation
import Model
import Testing

extension Tag {
    @Tag static var lab: Self
}

@Suite(
    .serialized, .tags(.lab), .enabled(if: canMakeHosts, rootIsNeeded),
    .labHost("127.0.0.43", "--disk", "1G", "--disk", "128M"))
struct ProbeTests {
    let ssh = SSHBootstrap()
    let host: LabHost

    init() throws { host = try #require(LabHost.current) }

    /// What `body` throws; nothing thrown is a failure of the test.
    private func failure(_ body: () async throws(BootstrapError) -> Void) async -> BootstrapError? {
        do throws(BootstrapError) {
            try await body()
            Issue.record("nothing was thrown")
            return nil
        } catch { return error }
    }

    @Test func rootSeesEverything() async throws {
        let report = try await ssh.probe(host.target())
        let printed = try host.exec("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        #expect(printed.split(separator: " ").map(String.init).contains(report.hostKey))
        #expect(report.hostKeyType == "ssh-ed25519")
        #expect(report.osID == "debian")
        #expect(report.os.hasPrefix("Debian"))
        #expect(try report.architecture == host.exec("uname -m").trimmingCharacters(in: .newlines))
        #expect(try report.kernel == host.exec("uname -r").trimmingCharacters(in: .newlines))
        #expect(report.sudo == .root)
        #expect(try report.freeDisks.map(\.device).sorted() == host.disks().sorted())
        #expect(report.freeDisks.map(\.sizeBytes).sorted() == [128 << 20, 1 << 30])
        #expect(report.otherDisks.isEmpty)
        let root = try #require(report.mounts.first { $0.path == "/" })
        #expect(root.sizeBytes > 0 && root.freeBytes <= root.sizeBytes)
    }

    @Test func diskInUseOrWithDataIsNotFree() async throws {
        let disks = try host.disks()
        try host.exec("mkfs.ext4 -q \(disks[0]); mkdir -p /mnt/x; mount \(disks[0]) /mnt/x; mkswap -q \(disks[1])")
        defer { _ = try? host.exec("umount /mnt/x; wipefs -qa \(disks[0]) \(disks[1])") }
        let report = try await ssh.probe(host.target())
        #expect(report.freeDisks.isEmpty)
        let refusals = Dictionary(uniqueKeysWithValues: report.otherDisks.map { ($0.disk.device, $0.refusal) })
        #expect(refusals[disks[0]] == .mounted(at: ["/mnt/x"]))
        #expect(refusals[disks[1]] == .signed(["swap"]))
    }

    @Test func sudoUserSeesWhatRootSees() async throws {
        let report = try await ssh.probe(host.target("ops", "ops-pw"))
        #expect(report.sudo == .password)
        #expect(try report.freeDisks.map(\.device).sorted() == host.disks().sorted())
    }

    @Test func userWithoutSudoIsToldSo() async throws {
        let report = try await ssh.probe(host.target(LabHost.userWithoutSudo, LabHost.passwordWithoutSudo))
        #expect(report.sudo == .denied)
        #expect(report.freeDisks.isEmpty)
        #expect(report.otherDisks.map(\.refusal) == [.notExamined, .notExamined])
        let target = try host.target(LabHost.userWithoutSudo, LabHost.passwordWithoutSudo)
        let error = await failure { () async throws(BootstrapError) in
            _ = try await ssh.runHostVerb(target, scope: .system, verb: .status, input: Data())
        }
        guard case .noSudo = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func sudoThatWantsAnotherPasswordIsToldApart() async throws {
        try host.exec("echo 'Defaults targetpw' >/etc/sudoers.d/zz-test; chmod 440 /etc/sudoers.d/zz-test")
        defer { _ = try? host.exec("rm /etc/sudoers.d/zz-test") }
        let target = try host.target("ops", "ops-pw")
        let error = await failure { () async throws(BootstrapError) in
            _ = try await ssh.runHostVerb(target, scope: .system, verb: .status, input: Data())
        }
        #expect(error == .wrongSudoPassword)
    }

    @Test func sudoWithoutPasswordGetsNoPasswordLine() async throws {
        try host.exec("echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/zz-test; chmod 440 /etc/sudoers.d/zz-test")
        defer { _ = try? host.exec("rm /etc/sudoers.d/zz-test") }
        let report = try await ssh.probe(host.target("ops", "ops-pw"))
        #expect(report.sudo == .none)
        #expect(report.freeDisks.count == 2)
    }

    @Test func probeChangesNothing() async throws {
        // Whatever the host changes lies in the upper layer of its root. All but what sshd, PAM, sudo and the journal
        // themselves write about a log-in.
        let upper = host.home.appending(path: LabHost.name).appending(path: "upper").path
        let look = """
            cd '\(upper)' && find . \\( -path ./run -o -path ./var/log -o -path ./var/lib/sudo \\) -prune -o \
            -printf '%p %y %s %m %U %T@ %C@\\n' | sort; stat -c '%n %s %b %y' ../disks/*
            """
        // A log-in's own /run/user comes and goes with it.
        let mountedNow = "grep -v ' /run/user/' /proc/self/mountinfo"
        for (user, password) in [
            ("root", "root-pw"), ("ops", "ops-pw"), (LabHost.userWithoutSudo, LabHost.passwordWithoutSudo),
        ] {
            let before = try Program.run("/bin/bash", ["-c", look])
            let mounts = try host.exec(mountedNow)
            _ = try await ssh.probe(host.target(user, password))
            #expect(try Program.run("/bin/bash", ["-c", look]) == before, "as \(user)")
            #expect(try host.exec(mountedNow) == mounts, "as \(user)")
        }
    }

    @Test func wrongPassword() async throws {
        let target = try host.target("root", "wrong")
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        guard case .authenticationFailed = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func wrongPort() async throws {
        let target = try host.target(port: LabHost.freePort(on: host.address))
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        #expect(error == .refusedPort("\(host.address):\(target.port)"))
    }

    @Test func noWayToTheHost() async throws {
        var target = try host.target()
        // Never anybody's own address: the kernel refuses at once.
        target.address = try HostAddress("255.255.255.255")
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        #expect(error == .unreachable("255.255.255.255:\(target.port)"))
        target.address = try HostAddress("no-such-host.invalid")
        let other = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        #expect(other == .unknownHost("no-such-host.invalid"))
    }

    @Test(arguments: [("HTTP/1.1 400 Bad Request\r\n\r\n", true), ("", false)])
    func somethingElseListens(greeting: String, isTalking: Bool) async throws {
        let listener = Listener(address: host.address)
        defer { listener.close() }
        listener.greetOnce(greeting)
        let target = try host.target(port: listener.port)
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        #expect(
            error
                == (isTalking ? .notSSH("\(host.address):\(listener.port)") : .disconnected(during: "the SSH greeting"))
        )
    }

    @Test func changedHostKeyIsAHardStop() async throws {
        let real = try await ssh.probe(host.target()).hostKey
        #expect(try await ssh.probe(host.target(hostKey: real)).hostKey == real)
        let other = "SHA256:" + String(repeating: "A", count: 43)
        let target = try host.target(hostKey: other)
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        #expect(error == .hostKeyChanged(expected: other, found: real))
    }

    @Test func everyKeyOfAHostIsItsKey() async throws {
        let extra = try SecondSSHD(host, "HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/test_ecdsa")
        defer { extra.stop() }
        let printed = try host.exec("ssh-keygen -lf /etc/ssh/test_ecdsa.pub").split(separator: " ").map(String.init)
        let report = try await ssh.probe(host.target(port: extra.port, hostKey: printed[1]))
        #expect(report.hostKeyType == "ecdsa-sha2-nistp256")
        #expect(report.hostKey == printed[1])
    }

    @Test func hostWithOnlyRSAIsToldApart() async throws {
        let extra = try SecondSSHD(host, "HostKey /etc/ssh/test_rsa")
        defer { extra.stop() }
        let target = try host.target(port: extra.port)
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        guard case .hostKeyUnsupported = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func keyboardInteractive() async throws {
        let extra = try SecondSSHD(
            host, "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\nKbdInteractiveAuthentication yes")
        defer { extra.stop() }
        #expect(try await ssh.probe(host.target(port: extra.port)).sudo == .root)
        let target = try host.target("root", "wrong", port: extra.port)
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        guard case .authenticationFailed = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test(arguments: [("ed25519", "", true), ("ecdsa", "", true), ("rsa", "", false), ("ed25519", "secret", false)])
    func privateKeys(type: String, passphrase: String, works: Bool) async throws {
        let folder = host.home.appending(path: "keys")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "key").path
        try Program.run("/usr/bin/ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-f", path])
        let line = try String(contentsOfFile: path + ".pub", encoding: .utf8)
        try host.exec(
            "mkdir -p /root/.ssh && printf '%s' '\(line.trimmingCharacters(in: .newlines))' >/root/.ssh/authorized_keys"
        )
        defer { _ = try? host.exec("rm -r /root/.ssh") }
        var target = try host.target()
        target.credential = .privateKey(Secret(try String(contentsOfFile: path, encoding: .utf8)))
        if works {
            #expect(try await ssh.probe(target).sudo == .root)
            return
        }
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        guard case .privateKeyUnusable = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func unknownPrivateKeyIsRefused() async throws {
        let folder = host.home.appending(path: "keys")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "key").path
        try Program.run("/usr/bin/ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path])
        var target = try host.target()
        target.credential = .privateKey(Secret(try String(contentsOfFile: path, encoding: .utf8)))
        let error = await failure { () async throws(BootstrapError) in _ = try await ssh.probe(target) }
        guard case .authenticationFailed = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func hungHostCanBeGivenUp() async throws {
        let target = try host.target()
        _ = try host.tool(["freeze", LabHost.name])
        defer { _ = try? host.tool(["thaw", LabHost.name]) }
        let probing = Task { [ssh] in
            do throws(BootstrapError) {
                _ = try await ssh.probe(target)
                return BootstrapError?.none
            } catch { return error }
        }
        probing.cancel()
        #expect(await probing.value == .cancelled)
    }

    @Test func addressesOfAllNetworks() async throws {
        try host.exec("ip link add test0 type veth peer name test1 && ip addr add 10.99.7.5/24 dev test0")
        defer { _ = try? host.exec("ip link del test0") }
        let report = try await ssh.probe(host.target())
        let network = try CIDR(parsing: "10.99.7.0/24")
        #expect(
            report.addresses(in: network)
                == [ProbedAddress(address: try IPAddress(parsing: "10.99.7.5"), interface: "test0", prefixLength: 24)])
        #expect(report.addresses.allSatisfy { !$0.address.isLoopback && !$0.address.isLinkLocal })
    }
}

/// One more sshd in the host, with other settings.
struct SecondSSHD {
    let port: Int
    private let host: LabHost

    init(_ host: LabHost, _ settings: String) throws {
        self.host = host
        port = LabHost.freePort(on: host.address)
        try host.exec("[ -e /etc/ssh/test_ecdsa ] || ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/test_ecdsa")
        try host.exec("[ -e /etc/ssh/test_rsa ] || ssh-keygen -q -t rsa -N '' -f /etc/ssh/test_rsa")
        // It is in the background, and accepts connections, when the command returns.
        try host.exec(
            """
            printf '%s\\n' 'ListenAddress \(host.address):\(port)' 'PidFile /run/test-sshd.pid' 'UsePAM yes' \
            'PermitRootLogin yes' '\(settings.replacingOccurrences(of: "\n", with: "' '"))' >/etc/ssh/test_config
            /usr/sbin/sshd -f /etc/ssh/test_config </dev/null >/dev/null 2>&1
            """)
    }

    func stop() { _ = try? host.exec("kill $(cat /run/test-sshd.pid)") }
}
