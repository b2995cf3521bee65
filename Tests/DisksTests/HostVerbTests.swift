// Goal: each verb does what it says, may be asked again, and refuses what would take another storage's place. Method: the
// verbs of a user without root, in a layout of the test's own; the supervisor is a script that writes down how it was called.
import Disks
import Foundation
import Glibc
import HostCommand
import HostSetup
import Model
import Synchronization
import Testing

/// A host of one user.
private final class VerbHost {
    let folder: HostFolder
    let keys = Mutex<[String?]>([])
    let storage = ImageStorageID(random: (1, 2))

    init() throws {
        folder = try HostFolder()
        try folder.make("current")
        try folder.write(
            "current/supervise",
            """
            #!/bin/sh
            cd '\(folder.path)' && echo "$*" >>calls
            [ ! -e "fail-$1" ] || { echo "told to fail" >&2; exit 1; }
            case $1 in
            start) : >running ;;
            stop) rm -f running ;;
            enable) : >enabled ;;
            disable) rm -f enabled ;;
            status)
                if [ -e running ]; then echo running; else echo stopped; fi
                if [ -e enabled ]; then echo crontab; else echo none; fi ;;
            esac
            """)
        guard chmod(folder.path + "/current/supervise", 0o755) == 0 else { throw POSIXError(.EPERM) }
    }

    private var verbs: HostVerbs {
        HostVerbs(
            layout: HostLayout(
                scope: .user, bundle: folder.path + "/current", current: folder.path + "/current",
                instances: folder.path + "/instances", logs: folder.path + "/log"),
            agentVersion: "1.2.3",
            makeCSR: { (storage, existing) throws(HostVerbFailure) in
                self.keys.withLock { $0.append(existing) }
                return (existing ?? VerbHost.key, "request for \(storage)")
            })
    }

    /// One key for all tests.
    static let key: String = {
        do throws(HostCommandError) {
            return try HostCommand("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
                .succeed().text
        } catch { preconditionFailure("openssl: \(error)") }
    }()

    /// A certificate over the key.
    static func certificate() throws -> String {
        try HostCommand(
            "openssl", ["req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=x", "-days", "1"],
            input: Array(key.utf8)
        ).succeed().text
    }

    func ask<Output: Decodable>(
        _ verb: HostVerb, _ input: some Encodable, _ output: Output.Type = EmptyOutput.self
    ) throws -> Output {
        let bytes = try verbs.run(verb: verb.rawValue, input: Array(try JSONEncoder().encode(input)))
        return try JSONDecoder().decode(output, from: Data(bytes))
    }

    /// The code with which a verb fails; nil when it does not.
    func refusal(_ verb: HostVerb, _ input: some Encodable) throws -> HostFailureCode? {
        let sent = Array(try JSONEncoder().encode(input))
        return refusal(verb.rawValue, sent)
    }

    func refusal(_ verb: String, _ input: [UInt8]) -> HostFailureCode? {
        do throws(HostVerbFailure) {
            _ = try verbs.run(verb: verb, input: input)
            return nil
        } catch {
            #expect(!error.detail.isEmpty)
            return error.code
        }
    }

    func prepare(_ name: String, _ storage: ImageStorageID? = nil) throws -> PrepareInput {
        PrepareInput(
            imageStorageID: storage ?? self.storage, mountPath: try MountPath(folder.path + "/" + name),
            disk: .localDirectory)
    }

    func enrol(_ name: String = "store") throws -> EnrolInput {
        EnrolInput(
            imageStorageID: storage, mountPath: try MountPath(folder.path + "/" + name), fileSystemID: "ext4:1",
            listenAddresses: ["127.0.0.1"])
    }

    var calls: [String] { get throws { try folder.read("calls").split(separator: "\n").map(String.init) } }
    var instance: InstanceInput { InstanceInput(imageStorageID: storage) }
}

@Suite(.serialized, .timeLimit(.minutes(1)))
struct HostVerbTests {
    @Test func prepareAndUndo() throws {
        let host = try VerbHost()
        let output = try host.ask(.prepare, try host.prepare("store"), PrepareOutput.self)
        #expect(!output.didFormat && !output.hasStore)
        #expect(try host.folder.mode("store/lamina") == 0o750)
        #expect(try host.folder.mode("instances/\(host.storage)") == 0o700)
        #expect(try host.folder.mode("instances/\(host.storage)/prepare.json") == 0o600)
        #expect(
            try host.ask(.prepare, try host.prepare("store"), PrepareOutput.self).fileSystemID == output.fileSystemID)
        let undo = UndoPrepareInput(
            imageStorageID: host.storage, mountPath: try MountPath(host.folder.path + "/store"))
        for _ in 0..<2 {
            _ = try host.ask(.undoPrepare, undo)
            #expect(HostFiles.names(in: host.folder.path + "/instances").isEmpty)
        }
        // What is in it stays.
        #expect(HostFiles.exists(host.folder.path + "/store/lamina"))
    }

    @Test func pathsOfOthersAreTaken() throws {
        let host = try VerbHost()
        let other = ImageStorageID(random: (3, 4))
        _ = try host.ask(.prepare, try host.prepare("a/store"), PrepareOutput.self)
        for name in ["a/store", "a", "a/store/below"] {
            #expect(try host.refusal(.prepare, try host.prepare(name, other)) == .mountPathInUse, "\(name)")
        }
        // What was refused takes nothing.
        #expect(HostFiles.names(in: host.folder.path + "/instances") == [host.storage.description])
        #expect(try host.refusal(.prepare, try host.prepare("a/store2", other)) == nil)
    }

    @Test func whatIsRefusedLeavesNothing() throws {
        let host = try VerbHost()
        try host.folder.make("full/x")
        #expect(try host.refusal(.prepare, try host.prepare("full")) == .mountPathNotEmpty)
        #expect(symlink(host.folder.path + "/full", host.folder.path + "/link") == 0)
        #expect(try host.refusal(.prepare, try host.prepare("link")) == .mountPathRefused)
        var input = try host.prepare("disk")
        input.disk = .freeDisk(DiskChoice(device: "/dev/null", id: "x", sizeBytes: 1))
        #expect(try host.refusal(.prepare, input) == .notRoot)
        #expect(HostFiles.names(in: host.folder.path + "/instances").isEmpty)
    }

    @Test func enrolKeepsItsKeyAndPort() throws {
        let host = try VerbHost()
        let first = try host.ask(.enrol, try host.enrol(), EnrolOutput.self)
        #expect(first.csrPEM == "request for \(host.storage)")
        #expect(first.agentVersion == "1.2.3")
        #expect(first.port >= AgentConfiguration.portMin)
        let again = try host.ask(.enrol, try host.enrol(), EnrolOutput.self)
        #expect(again.port == first.port)
        #expect(host.keys.withLock { $0 } == [nil, VerbHost.key])
        let place = "instances/\(host.storage)"
        for file in ["key.pem", "agent.json"] { #expect(try host.folder.mode(place + "/" + file) == 0o600) }
        let settings = try JSONDecoder().decode(
            AgentConfiguration.self, from: Data(try host.folder.read(place + "/agent.json").utf8))
        #expect(settings.port == first.port)
        #expect(settings.mountPath.text == host.folder.path + "/store")
        #expect(settings.fileSystemID == "ext4:1")
        #expect(settings.createsStore == true)
    }

    @Test func portOfAnotherIsNotGiven() throws {
        let host = try VerbHost()
        let port = try host.ask(.enrol, try host.enrol(), EnrolOutput.self).port
        var other = try host.enrol("b")
        other.imageStorageID = ImageStorageID(random: (3, 4))
        #expect(try host.ask(.enrol, other, EnrolOutput.self).port != port)
    }

    @Test func addressesThatAreNotOfTheHost() throws {
        let host = try VerbHost()
        var input = try host.enrol()
        for (addresses, code) in [
            ([], HostFailureCode.badInput), (["192.0.2.1"], .addressNotOnHost), (["name"], .badInput),
        ] {
            input.listenAddresses = addresses
            #expect(try host.refusal(.enrol, input) == code, "\(addresses)")
        }
    }

    @Test func certificateMustBeForTheKey() throws {
        let host = try VerbHost()
        let certificate = try VerbHost.certificate()
        func input(_ certificate: String, _ authority: String) -> InstallCertificateInput {
            InstallCertificateInput(imageStorageID: host.storage, certificatePEM: certificate, caPEM: authority)
        }
        #expect(try host.refusal(.installCertificate, input(certificate, certificate)) == .notInstalled)
        _ = try host.ask(.enrol, try host.enrol(), EnrolOutput.self)
        let other = try HostCommand(
            "openssl",
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=y", "-days", "1"]
        ).succeed().text
        #expect(try host.refusal(.installCertificate, input(other, certificate)) == .certificateRefused)
        #expect(try host.refusal(.installCertificate, input("nonsense", certificate)) == .certificateRefused)
        #expect(try host.refusal(.installCertificate, input(certificate, "nonsense")) == .certificateRefused)
        #expect(!HostFiles.exists(host.folder.path + "/instances/\(host.storage)/cert.pem"))
        for _ in 0..<2 { _ = try host.ask(.installCertificate, input(certificate, certificate)) }
        #expect(try host.folder.read("instances/\(host.storage)/cert.pem") == certificate)
        #expect(try host.folder.mode("instances/\(host.storage)/ca.pem") == 0o600)
    }

    @Test func startAndStop() throws {
        let host = try VerbHost()
        #expect(try host.refusal(.start, host.instance) == .notInstalled)
        let port = try host.ask(.enrol, try host.enrol(), EnrolOutput.self).port
        // Without its certificate it would only fail.
        #expect(try host.refusal(.start, host.instance) == .notInstalled)
        let certificate = try VerbHost.certificate()
        _ = try host.ask(
            .installCertificate,
            InstallCertificateInput(imageStorageID: host.storage, certificatePEM: certificate, caPEM: certificate))
        let listener = try LoopbackListener(port: port)
        defer { listener.close() }
        let started = try host.ask(.start, host.instance, StatusOutput.self)
        #expect(started.isInstalled && started.isRunning && started.startsAtBoot)
        #expect(started.supervisor == "supervisor")
        #expect(started.port == port)
        #expect(try host.ask(.start, host.instance, StatusOutput.self).isRunning)
        _ = try host.ask(.start, InstanceInput(imageStorageID: host.storage, restart: true), StatusOutput.self)
        let id = host.storage.description
        #expect(
            try host.calls.filter { !$0.hasPrefix("status") } == [
                "enable \(id)", "start \(id)", "enable \(id)", "start \(id)", "stop \(id)", "enable \(id)",
                "start \(id)",
            ])
        // A storage whose agent runs is not let go of.
        let undo = UndoPrepareInput(imageStorageID: host.storage, mountPath: try MountPath(host.folder.path + "/store"))
        #expect(try host.refusal(.undoPrepare, undo) == .stopFailed)
        for _ in 0..<2 {
            let stopped = try host.ask(.stop, host.instance, StatusOutput.self)
            #expect(stopped.isInstalled && !stopped.isRunning && !stopped.startsAtBoot)
        }
        try host.folder.write("fail-enable", "")
        #expect(try host.refusal(.start, host.instance) == .startFailed)
    }

    @Test func removal() throws {
        let host = try VerbHost()
        _ = try host.ask(.prepare, try host.prepare("store"), PrepareOutput.self)
        _ = try host.ask(.enrol, try host.enrol(), EnrolOutput.self)
        try host.folder.write("fail-stop", "")
        #expect(try host.refusal(.remove, host.instance) == .stopFailed)
        #expect(HostFiles.exists(host.folder.path + "/instances/\(host.storage)/key.pem"))
        #expect(unlink(host.folder.path + "/fail-stop") == 0)
        for _ in 0..<2 {
            _ = try host.ask(.remove, host.instance)
            #expect(!HostFiles.exists(host.folder.path + "/instances/\(host.storage)"))
            #expect(try host.ask(.status, host.instance, StatusOutput.self).isInstalled == false)
        }
        #expect(HostFiles.exists(host.folder.path + "/store/lamina"))
    }

    @Test func inputsThatAreNone() throws {
        let host = try VerbHost()
        #expect(host.refusal("make-coffee", Array("{}".utf8)) == .badInput)
        for verb in HostVerb.allCases {
            for input in ["", "{", "{}", "[]", "{\"imageStorageID\":\"../../etc\"}"] {
                #expect(host.refusal(verb.rawValue, Array(input.utf8)) == .badInput, "\(verb) \(input)")
            }
        }
        let path =
            "{\"imageStorageID\":\"\(host.storage)\",\"mountPath\":\"/etc\",\"disk\":{\"localDirectory\":{}},"
            + "\"retrieveExistingImages\":false}"
        #expect(host.refusal("prepare", Array(path.utf8)) == .badInput)
        #expect(HostFiles.names(in: host.folder.path + "/instances").isEmpty)
    }

    @Test func failureIsJSON() throws {
        let bytes = HostVerbs.encode(failure: HostVerbFailure(.diskNotFree, "it is \"mounted\""))
        let failure = try JSONDecoder().decode(HostVerbFailure.self, from: Data(bytes))
        #expect(failure.code == .diskNotFree)
        #expect(failure.detail == "it is \"mounted\"")
    }
}

/// What an agent would do with its port.
private struct LoopbackListener {
    private let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        inet_pton(AF_INET, "127.0.0.1", &place.sin_addr)
        let isBound = withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isBound, listen(descriptor, 8) == 0 else { throw POSIXError(.EADDRINUSE) }
    }

    func close() { Glibc.close(descriptor) }
}
