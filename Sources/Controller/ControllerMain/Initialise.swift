import AgentLink
import ArgumentParser
import Bootstrap
import Foundation
import Identity
import Inventory
import Logging
import Model
import Operations
import Secrets
import Wire

/// Sets a controller up: key file, inventory, certificate authority, first account. Given again it makes what is missing.
struct Initialise: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Set up a controller: keys, inventory, certificate authority, first account.")

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Option(
        help: "Read the password of 'admin' from the first line of this file; else a random one is printed.",
        completion: .file())
    var adminPasswordFile: String?

    func run() async throws {
        let directory = try DataDirectory.made(at: dataDirectory.path)
        let given = try adminPasswordFile.map { file throws(ControllerError) in try Initialise.password(in: file) }
        let inventory = try directory.openInventory(mayCreateKey: true)
        do {
            let authority = try await Operations.openAuthority(
                inventory: inventory, clock: .system, randomness: .system)
            let operations = Operations(
                inventory: inventory, agents: NoAgents(), hosts: SSHBootstrap(), authority: authority, bundles: [],
                clock: .system, randomness: .system, log: Logger(label: "init"))
            let password = given ?? Initialise.randomPassword()
            let wasMade = try await operations.firstAdmin(password: Secret(password))
            try inventory.close()
            try DataDirectory.write(authority.certificatePEM, to: directory.authority, mode: 0o644)
            report(directory, try Fingerprint.sha256(pem: authority.certificatePEM))
            if !wasMade {
                print("There are accounts already; none was made.")
            } else if given == nil {
                print("First account:         admin")
                print("Its password:          \(password)   (shown only now)")
            } else {
                print("First account:         admin, with the password of the file")
            }
        } catch let error as OperationError {
            throw ControllerError(error.detail)
        } catch let error as InventoryError {
            throw ControllerError(error.description)
        }
    }

    private func report(_ directory: DataDirectory, _ fingerprint: String) {
        print("Controller set up in:  \(directory.path)")
        print("Key file:              \(directory.key)   (keep a copy apart from backups)")
        print("Certificate authority: \(directory.authority)")
        print("Its fingerprint:       \(fingerprint)")
    }

    private static func password(in file: String) throws(ControllerError) -> String {
        guard let data = FileManager.default.contents(atPath: file) else {
            throw ControllerError("cannot read '\(file)'")
        }
        let line = String(decoding: data.prefix(4096), as: UTF8.self).prefix { !$0.isNewline }
        guard !line.isEmpty else { throw ControllerError("'\(file)' has no password in its first line") }
        return String(line)
    }

    /// 26 characters of base 32: 130 random bits that can be read aloud.
    private static func randomPassword() -> String {
        let digits = Array("abcdefghijkmnpqrstuvwxyz23456789")
        return String(Randomness.system.bytes(26).map { digits[Int($0) & 31] })
    }
}

/// There is no agent to talk to while a controller is set up.
private struct NoAgents: AgentCalls {
    private let refusal = AgentLinkError.unreachable("the controller is being set up")

    func call<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, silenceMax: Duration,
        onProgress: @escaping @Sendable (VerbProgress) -> Void
    ) async throws(AgentLinkError) -> V.Reply { throw refusal }

    func send<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(AgentLinkError) -> V.Reply { throw refusal }

    func receive<V: AgentVerb>(
        _ verb: V, from agent: AgentAddress, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(AgentLinkError) -> V.Reply { throw refusal }

    func forget(_ agent: AgentAddress) async {}
}
