import Bootstrap
import Foundation
import Model
import Testing

/// A host of Tests/Lab on a loopback address, for the tests of one suite.
struct LabHost: Sendable {
    static let name = "host"
    static let userWithoutSudo = "plain"
    static let passwordWithoutSudo = "plain-pw"

    let home: URL
    let address: String
    let port: Int
    /// Takes the host away again, also when this process is killed.
    private let will: LastWill

    /// The host of the suite that runs.
    @TaskLocal static var current: LabHost?

    static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static let program = repository.appending(path: "Tests/Lab/mini-sshd").path

    static func start(address: String, options: [String]) throws -> LabHost {
        let home = FileManager.default.temporaryDirectory.appending(path: "lamina-lab-\(getpid())-\(address)")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        let will = try LastWill(
            "\"$1\" destroy \"$2\" && rm -r \"$MINI_SSHD_HOME\"", [program, name],
            environment: ["MINI_SSHD_HOME": home.path])
        let host = LabHost(home: home, address: address, port: freePort(on: address), will: will)
        do {
            _ = try host.tool(["start", name, "--ip", address, "--port", "\(host.port)"] + options)
            // Somebody who may log in and do nothing else.
            try host.exec(
                "useradd -m -s /bin/sh \(userWithoutSudo) && echo \(userWithoutSudo):\(passwordWithoutSudo) | chpasswd"
            )
            return host
        } catch {
            try host.destroy()
            throw error
        }
    }

    /// Takes it away with its processes, loop devices and files.
    func destroy() throws {
        let status = try will.execute()
        guard status == 0 else { throw ProgramFailed(description: "destroying the host at \(address): \(status)") }
    }

    func tool(_ arguments: [String]) throws -> String {
        try Program.run(LabHost.program, arguments, environment: ["MINI_SSHD_HOME": home.path])
    }

    /// Runs a shell command as root in the host, not over SSH.
    @discardableResult
    func exec(_ command: String) throws -> String { try tool(["exec", LabHost.name, "/bin/bash", "-c", command]) }

    /// The device nodes of its disks.
    func disks() throws -> [String] {
        try tool(["disks", LabHost.name]).split(separator: "\n").compactMap {
            $0.split(separator: " ").first.map(String.init)
        }
    }

    func target(
        _ user: String = "root", _ password: String = "root-pw", port: Int? = nil, hostKey: String? = nil
    ) throws -> SSHTarget {
        SSHTarget(
            address: try HostAddress(address), port: port ?? self.port, user: try UserName(user),
            credential: .password(Secret(password)), expectedHostKey: hostKey)
    }

    /// A port that nothing listens on now.
    static func freePort(on address: String) -> Int {
        let listener = Listener(address: address)
        defer { listener.close() }
        return listener.port
    }
}

/// Starts a host for a suite and removes it afterwards.
struct LabHostTrait: SuiteTrait, TestScoping {
    let address: String
    let options: [String]

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let host = try LabHost.start(address: address, options: options)
        do {
            try await LabHost.$current.withValue(host) { try await function() }
        } catch {
            try host.destroy()
            throw error
        }
        try host.destroy()
    }
}

extension Trait where Self == LabHostTrait {
    static func labHost(_ address: String, _ options: String...) -> LabHostTrait {
        LabHostTrait(address: address, options: options)
    }
}

/// Whether this machine can make hosts at all.
let canMakeHosts = geteuid() == 0
let rootIsNeeded: Comment = "hosts in namespaces need root: sudo deploy/test"

/// A listening socket of the test's own.
final class Listener: Sendable {
    let port: Int
    private let descriptor: Int32

    init(address: String) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        inet_pton(AF_INET, address, &place.sin_addr)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        port = withUnsafeMutablePointer(to: &place) { [descriptor] pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                precondition(bind(descriptor, address, length) == 0 && listen(descriptor, 8) == 0)
                getsockname(descriptor, address, &length)
            }
            return Int(UInt16(bigEndian: pointer.pointee.sin_port))
        }
    }

    /// Takes one connection on a thread of its own, sends `greeting` and closes it.
    func greetOnce(_ greeting: String) {
        Thread.detachNewThread { [descriptor] in
            let connection = accept(descriptor, nil, nil)
            let bytes = Array(greeting.utf8)
            _ = bytes.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            Glibc.close(connection)
        }
    }

    func close() { Glibc.close(descriptor) }
}
