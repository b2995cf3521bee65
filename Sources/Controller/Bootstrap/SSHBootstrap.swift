import Foundation
import Model

/// Hosts over real SSH. Each call is a session of its own on a thread of its own.
package struct SSHBootstrap: HostBootstrap {
    private let threads = SessionThreads()

    /// Creates the bootstrap; nothing happens before it is asked.
    package init() {}

    /// See `HostBootstrap.probe`.
    package func probe(_ target: SSHTarget) async throws(BootstrapError) -> ProbeReport {
        try await threads.run { (cancellation) throws(BootstrapError) in
            let session = try SSHSession.open(target, cancellation)
            let user = try HostUser(session, target.credential)
            let answer = try user.run(
                "sh -s", asRoot: user.access.canBecomeRoot, RemoteInput(Array(ProbeScript.text.utf8)),
                limit: Limits.timeoutProbe, during: "the probe")
            return try ProbeAnswer(answer.output).report(
                hostKey: session.hostKey, hostKeyType: session.hostKeyType, sudo: user.access)
        }
    }

    /// See `HostBootstrap.installBundle`.
    package func installBundle(
        _ target: SSHTarget, bundle: BundleFile, scope: HostScope
    ) async throws(BootstrapError) -> InstalledBundle {
        try await threads.run { (cancellation) throws(BootstrapError) in
            let session = try SSHSession.open(target, cancellation)
            let user = try HostUser(session, target.credential)
            return try BundleInstallation(user: user, bundle: bundle, scope: scope).run()
        }
    }

    /// See `HostBootstrap.runHostVerb`.
    package func runHostVerb(
        _ target: SSHTarget, scope: HostScope, verb: HostVerb, input: Data
    ) async throws(BootstrapError) -> Data {
        try await threads.run { (cancellation) throws(BootstrapError) in
            let session = try SSHSession.open(target, cancellation)
            let user = try HostUser(session, target.credential)
            let step = "'\(verb.rawValue)' on the host"
            let answer = try user.run(
                SSHBootstrap.command(scope, verb), asRoot: scope == .system, RemoteInput(Array(input)),
                limit: Limits.timeoutVerb, during: step)
            return try SSHBootstrap.output(of: answer, verb)
        }
    }

    // The verb is one of a closed set: these are constants too.
    private static func command(_ scope: HostScope, _ verb: HostVerb) -> String {
        switch scope {
        case .system: "/opt/lamina-agent/current/run host \(verb.rawValue)"
        case .user: "sh -c 'exec \"$HOME/.lamina-agent/current/run\" host \(verb.rawValue)'"
        }
    }

    private static let failureStatus: Int32 = 3

    private static func output(of answer: RemoteResult, _ verb: HostVerb) throws(BootstrapError) -> Data {
        if answer.status == 0 { return Data(answer.output) }
        if answer.status == failureStatus,
            let failure = try? JSONDecoder().decode(HostVerbFailure.self, from: Data(answer.output))
        {
            throw .host(code: failure.code, detail: failure.detail)
        }
        let isMissing = ["not found", "No such file"].contains { answer.message.contains($0) }
        if answer.status == 127 || isMissing && answer.message.contains("current/run") { throw .notInstalled }
        throw .badAnswer("'\(verb.rawValue)' ended with status \(answer.status): \(answer.message)")
    }
}
