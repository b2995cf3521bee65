import ArgumentParser
import Glibc
import HostSetup
import Identity
import Model

/// `lamina-agent host VERB`: what the controller has done on a host over SSH.
struct Host: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prepares this host for an image storage: JSON on standard input, JSON on standard output.",
        discussion: "Exit status 3: it failed, and the JSON on standard output says why.")

    /// The longest input.
    private static let inputByteCountMax = 1 << 20

    @Argument(help: "One of: \(HostVerb.allCases.map(\.rawValue).joined(separator: ", ")).")
    var verb: String

    func run() throws {
        do throws(HostVerbFailure) {
            let verbs = HostVerbs(agentVersion: LaminaAgent.softwareVersion, makeCSR: Host.makeRequest)
            try Host.write(try verbs.run(verb: verb, input: Host.readInput()))
        } catch {
            try? Host.write(HostVerbs.encode(failure: error))
            throw ExitCode(HostVerbs.failureStatus)
        }
    }

    private static func makeRequest(
        _ storage: ImageStorageID, _ existingKeyPEM: String?
    ) throws(HostVerbFailure) -> (keyPEM: String, csrPEM: String) {
        do throws(IdentityError) {
            // A key that is kept stays byte for byte what it was.
            if let existingKeyPEM {
                return (existingKeyPEM, try KeyPair(pem: existingKeyPEM).request())
            }
            let key = KeyPair()
            return (key.pem, try key.request())
        } catch { throw HostVerbFailure(.inputOutput, "\(error)") }
    }

    private static func readInput() throws(HostVerbFailure) -> [UInt8] {
        var input: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(STDIN_FILENO, &piece, piece.count)
            if count == 0 { return input }
            if count < 0 {
                if errno == EINTR { continue }
                throw HostVerbFailure(.badInput, "standard input cannot be read (error \(errno))")
            }
            input += piece[..<count]
            guard input.count <= inputByteCountMax else { throw HostVerbFailure(.badInput, "the input is too long") }
        }
    }

    private static func write(_ output: [UInt8]) throws(HostVerbFailure) {
        var rest = (output + [0x0a])[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw HostVerbFailure(.inputOutput, "standard output cannot be written (error \(errno))")
            }
        }
    }
}
