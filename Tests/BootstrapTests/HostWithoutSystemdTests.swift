// Goal: a host without systemd becomes a storage all the same, and is one again after a power cut. Method: a host of Tests/Lab
// whose first process is a shell script; the bundle's own supervisor starts the agent.
import Bootstrap
import Foundation
import Model
import Testing

@Suite(
    .serialized, .tags(.lab), .enabled(if: canMakeHosts, rootIsNeeded),
    .labHost("127.0.0.45", "--disk", "256M", "--init", "tiny"))
struct HostWithoutSystemdTests {
    let host: LabHost

    init() throws { host = try #require(LabHost.current) }

    @Test func ownSupervisorKeepsItRunning() async throws {
        var generator = SystemRandomNumberGenerator()
        let one = Enrolment(
            host: host, target: try host.target("ops", "ops-pw"), scope: .system,
            storage: ImageStorageID(using: &generator), mountPath: try MountPath("/lamina"))
        #expect(try await one.install().wasPresent == false)
        let report = try await one.ssh.probe(one.target)
        #expect(!report.hasSystemd)
        let disk = DiskChoice(try #require(report.freeDisks.first))
        let prepared = try await one.prepare(.freeDisk(disk))
        #expect(try await one.prepare(.freeDisk(disk)).didFormat == false)
        _ = try await one.enrol(prepared.fileSystemID)
        let started = try await one.instance(.start)
        #expect(started.isRunning && started.startsAtBoot)
        #expect(started.supervisor == "supervisor")
        #expect(try host.exec("stat -c %U /lamina/lamina/probe") == "lamina\n")

        // Killed, it is started again: `start` answers when it listens.
        try host.exec("kill -9 $(cut -d ' ' -f 1 /run/lamina-agent/\(one.storage).agent)")
        #expect(try await one.instance(.start).isRunning)

        try host.exec("sync")
        _ = try host.tool(["kill", LabHost.name])
        _ = try host.tool(["start", LabHost.name])
        #expect(try await one.instance(.start).isRunning)
        #expect(try host.exec("findmnt -n -o SOURCE /lamina") == host.disks()[0] + "\n")

        #expect(try await one.instance(.stop).isRunning == false)
        try await one.remove()
        try await one.undoPrepare()
        let left = try host.exec(
            "cat /etc/fstab /etc/rc.local | grep -c Lamina; findmnt -n /lamina; ls /etc/lamina-agent; true")
        #expect(left == "0\n")
    }
}
