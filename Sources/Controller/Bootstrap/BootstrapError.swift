import Model

/// Why a host could not be reached, entered or made ready. The words are for the admin.
package enum BootstrapError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name has no address.
    case unknownHost(String)
    /// No answer from the address: no route, or nothing there in time.
    case unreachable(String)
    /// The host is there, but nothing listens on the port.
    case refusedPort(String)
    /// Something else than sshd listens on the port.
    case notSSH(String)
    /// The host showed another key than the one that was accepted: a hard stop.
    case hostKeyChanged(expected: String, found: String)
    /// The host and we share no host key type or algorithm (RSA-only, or hardened beyond what libssh2 speaks).
    case hostKeyUnsupported(detail: String)
    /// The private key cannot be used: RSA, with a passphrase, or damaged.
    case privateKeyUnusable(detail: String)
    /// Wrong user, password or key.
    case authenticationFailed(detail: String)
    /// The user may not become root and the work needs it.
    case noSudo(detail: String)
    /// sudo did not take the password.
    case wrongSudoPassword
    /// Not a Linux with what the bundle needs.
    case unsupportedOS(detail: String)
    /// The bundle is for another processor.
    case unsupportedArchitecture(found: String, bundle: String)
    /// The bundle's file on the controller is missing or not the one it should be.
    case bundleUnusable(detail: String)
    /// The bundle could not be put on the host: no space, read-only, …
    case installFailed(detail: String)
    /// The bundle is not on the host: install it first.
    case notInstalled
    /// The host took longer than it may.
    case timeout(during: String)
    /// The connection broke.
    case disconnected(during: String)
    /// The host answered something that no host of ours answers.
    case badAnswer(String)
    /// A verb of the bundle failed.
    case host(code: HostFailureCode, detail: String)
    /// The caller gave up.
    case cancelled

    /// What was wrong and what to do next.
    package var description: String {
        switch self {
        case .unknownHost(let name): "the name '\(name)' has no address; check the spelling or use an IP address"
        case .unreachable(let place): "no answer from \(place): check the address, that the host is up, and firewalls"
        case .refusedPort(let place): "\(place) refuses the connection: no SSH server listens on that port"
        case .notSSH(let place): "what listens at \(place) does not speak SSH; check the port"
        case .hostKeyChanged(let expected, let found):
            "the host key has changed: expected \(expected), found \(found). Somebody may stand between you and the host; "
                + "accept the new key only after you have compared it on the host itself"
        case .hostKeyUnsupported(let detail):
            "no host key or cipher in common (\(detail)); give the host an ed25519 or ECDSA key and an AES-CTR cipher"
        case .privateKeyUnusable(let detail): "the private key cannot be used: \(detail)"
        case .authenticationFailed(let detail): "log-in refused: \(detail)"
        case .noSudo(let detail): "this needs root, and the user may not use sudo: \(detail)"
        case .wrongSudoPassword: "sudo did not accept the user's password"
        case .unsupportedOS(let detail): "this operating system is not supported: \(detail)"
        case .unsupportedArchitecture(let found, let bundle): "the host is \(found), the agent is built for \(bundle)"
        case .bundleUnusable(let detail): "the agent's bundle on the controller cannot be used: \(detail)"
        case .installFailed(let detail): "the agent could not be put on the host: \(detail)"
        case .notInstalled: "the agent's bundle is not on the host"
        case .timeout(let during): "the host took too long during \(during)"
        case .disconnected(let during): "the connection broke during \(during)"
        case .badAnswer(let detail): "the host's answer was not understood: \(detail)"
        case .host(_, let detail): detail
        case .cancelled: "cancelled"
        }
    }

    /// Whether trying again later, with nothing changed by anyone, may succeed.
    package var isTransient: Bool {
        switch self {
        case .unreachable, .refusedPort, .timeout, .disconnected: true
        default: false
        }
    }
}
