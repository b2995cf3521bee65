// Bootstrap: the SSH session that brings an agent onto a host.
//
// Hides: libssh2, sudo, shells, and how the bundle travels.
// Invariants: nothing typed by anyone is ever part of a command line: commands are constants, parameters are data on
// standard input. A host key is compared before any secret is sent. Every call ends within its time limit.
// Is not: a judge of what should be on a host; it looks, carries the bundle over and calls its fixed verbs.
import Foundation
import Model

/// How a user proves who they are.
package enum SSHCredential: Sendable {
    /// The password of the user; it also answers sudo.
    case password(Secret)
    /// An OpenSSH or PEM private key (ed25519 or ECDSA) without a passphrase.
    case privateKey(Secret)
}

/// A door into a host. Source: seed, "Add Image Storage".
package struct SSHTarget: Sendable {
    /// Where it is.
    package var address: HostAddress
    /// The port of its sshd, 1...65535.
    package var port: Int
    /// Who logs in.
    package var user: UserName
    /// How.
    package var credential: SSHCredential
    /// `SHA256:…` of the host key that was shown on first contact; nil on first contact.
    package var expectedHostKey: String?

    /// Creates a target from its parts.
    package init(
        address: HostAddress, port: Int = 22, user: UserName, credential: SSHCredential, expectedHostKey: String? = nil
    ) {
        self.address = address
        self.port = port
        self.user = user
        self.credential = credential
        self.expectedHostKey = expectedHostKey
    }
}

/// A bundle on the controller's disk, made by `deploy/bundle`.
package struct BundleFile: Hashable, Sendable {
    /// The path of the `.tar.gz`.
    package var path: String
    /// The version of the agent in it.
    package var version: String
    /// The digest of the file.
    package var sha256: Digest
    /// What `uname -m` says on hosts that can run it.
    package var architecture: String

    /// Creates the description from its parts.
    package init(path: String, version: String, sha256: Digest, architecture: String) {
        self.path = path
        self.version = version
        self.sha256 = sha256
        self.architecture = architecture
    }
}

/// A bundle on a host.
package struct InstalledBundle: Hashable, Sendable {
    /// Its directory there.
    package var directory: String
    /// Whether it was there already, so that nothing was sent.
    package var wasPresent: Bool
    /// `SHA256:…` of the key the host showed.
    package var hostKey: String

    /// Creates the description from its parts.
    package init(directory: String, wasPresent: Bool, hostKey: String) {
        self.directory = directory
        self.wasPresent = wasPresent
        self.hostKey = hostKey
    }
}

/// What Operations asks of a host over SSH. Real: `SSHBootstrap`.
package protocol HostBootstrap: Sendable {
    /// Looks at a host without changing anything on it. Source: issue "Probe"; api.md, `probe`.
    func probe(_ target: SSHTarget) async throws(BootstrapError) -> ProbeReport

    /// Brings the bundle onto the host, unless the very same is there, and makes it the current one.
    /// A failure leaves the previous one current.
    func installBundle(
        _ target: SSHTarget, bundle: BundleFile, scope: HostScope
    ) async throws(BootstrapError) -> InstalledBundle

    /// Runs a verb of the current bundle with JSON in and JSON out.
    /// - Throws: `.host` when the verb itself failed; anything else: the verb may or may not have run; ask again.
    func runHostVerb(
        _ target: SSHTarget, scope: HostScope, verb: HostVerb, input: Data
    ) async throws(BootstrapError) -> Data
}

extension HostBootstrap {
    /// Runs a verb with typed input and output (`HostVerb` tells which belong to it).
    package func runHostVerb<Input: Encodable & Sendable, Output: Decodable & Sendable>(
        _ target: SSHTarget, scope: HostScope, verb: HostVerb, _ input: Input, answering output: Output.Type
    ) async throws(BootstrapError) -> Output {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let sent: Data
        do { sent = try encoder.encode(input) } catch { throw .badAnswer("the input of '\(verb.rawValue)' is no JSON") }
        let answer = try await runHostVerb(target, scope: scope, verb: verb, input: sent)
        do { return try JSONDecoder().decode(output, from: answer) } catch {
            throw .badAnswer("the agent's answer to '\(verb.rawValue)' was not understood")
        }
    }
}
