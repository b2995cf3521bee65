// HostSetup: the verbs of `lamina-agent host …`, by which the controller's SSH session makes a host into a storage.
//
// Hides: the layout of an instance, users, units, the supervisor where there is no systemd.
// Invariants: the set of verbs is closed; each may be asked again after success or after a crash at any point; one verb runs
// at a time on a host; the key of an instance never leaves its directory.
// Is not: a daemon, and not the agent: it ends when the verb is done.
import CCrypto
import Disks
import FoundationEssentials
import Glibc
import HostCommand
import Model

/// Makes a certificate request with the storage's id as its SAN.
/// - Parameter existingKeyPEM: the instance's key when it has one; nil: make one.
/// - Returns: the key (the same, or the new one) and the request over it, both in PEM.
package typealias MakeCSR =
    (_ storage: ImageStorageID, _ existingKeyPEM: String?) throws(HostVerbFailure) -> (keyPEM: String, csrPEM: String)

/// The verbs of the bundle on its own host. Blocking; one call per process.
package struct HostVerbs {
    let layout: HostLayout
    let agentVersion: String
    let makeCSR: MakeCSR

    /// The exit status of a verb that failed and has said why on standard output.
    package static let failureStatus: Int32 = 3

    /// Creates the verbs for the user that runs this process: root works system-wide, others in their home.
    package init(agentVersion: String, makeCSR: @escaping MakeCSR) {
        self.init(layout: HostLayout.current(), agentVersion: agentVersion, makeCSR: makeCSR)
    }

    /// Creates the verbs for a layout.
    package init(layout: HostLayout, agentVersion: String, makeCSR: @escaping MakeCSR) {
        self.layout = layout
        self.agentVersion = agentVersion
        self.makeCSR = makeCSR
    }

    /// Runs one verb.
    /// - Parameters:
    ///   - verb: a `HostVerb`'s raw value, as it stood on the command line.
    ///   - input: JSON of the verb's input.
    /// - Returns: JSON of the verb's output.
    package func run(verb: String, input: [UInt8]) throws(HostVerbFailure) -> [UInt8] {
        guard let verb = HostVerb(rawValue: verb) else {
            throw HostVerbFailure(
                .badInput, "no verb '\(verb)'; there are \(HostVerb.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        let lock = try HostLock(layout)
        defer { lock.release() }
        switch verb {
        case .prepare: return try HostVerbs.encode(prepare(HostVerbs.decode(input)))
        case .undoPrepare: return try HostVerbs.encode(undoPrepare(HostVerbs.decode(input)))
        case .enrol: return try HostVerbs.encode(enrol(HostVerbs.decode(input)))
        case .installCertificate: return try HostVerbs.encode(installCertificate(HostVerbs.decode(input)))
        case .start: return try HostVerbs.encode(start(HostVerbs.decode(input)))
        case .stop: return try HostVerbs.encode(stop(HostVerbs.decode(input)))
        case .remove: return try HostVerbs.encode(remove(HostVerbs.decode(input)))
        case .status: return try HostVerbs.encode(status(HostVerbs.decode(input)))
        }
    }

    /// The JSON that tells a failure on standard output.
    package static func encode(failure: HostVerbFailure) -> [UInt8] {
        (try? encode(failure)) ?? Array(#"{"code":"input-output","detail":"the failure could not be written"}"#.utf8)
    }

    static func encode(_ output: some Encodable) throws(HostVerbFailure) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return Array(try encoder.encode(output)) } catch {
            throw HostVerbFailure(.inputOutput, "the output could not be written as JSON")
        }
    }

    private static func decode<Input: Decodable>(_ input: [UInt8]) throws(HostVerbFailure) -> Input {
        do { return try JSONDecoder().decode(Input.self, from: Data(input)) } catch {
            throw HostVerbFailure(.badInput, "the input is not what the verb takes: \(error)")
        }
    }
}

extension HostVerbFailure {
    /// The same failure in the words of the verbs.
    init(_ error: DisksError) {
        let code: HostFailureCode =
            switch error {
            case .diskNotFound: .diskNotFound
            case .diskChanged: .diskChanged
            case .diskNotFree: .diskNotFree
            case .formatFailed: .formatFailed
            case .mountFailed: .mountFailed
            case .pathRefused: .mountPathRefused
            case .pathNotEmpty: .mountPathNotEmpty
            case .busy: .stopFailed
            case .command(.notFound): .toolMissing
            case .command, .system: .inputOutput
            }
        self.init(code, error.description)
    }

    init(_ error: HostCommandError) { self.init(.command(error)) }
}

/// Turns the errors of files and disks into those of the verbs.
func onHost<Value>(_ body: () throws(DisksError) -> Value) throws(HostVerbFailure) -> Value {
    do throws(DisksError) { return try body() } catch { throw HostVerbFailure(error) }
}
