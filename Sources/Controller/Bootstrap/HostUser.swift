import Foundation
import Model

/// The user at the other end, and how they become root.
struct HostUser {
    let session: SSHSession
    let access: SudoAccess
    /// Why not, when `access` is `denied`.
    let refusal: BootstrapError?
    private let password: Secret?

    private static let question = """
        sh -c 'id -u; if command -v sudo >/dev/null 2>&1; then if sudo -n -k true 2>/dev/null; \
        then echo free; else echo asks; fi; else echo missing; fi'
        """

    /// Finds out; changes nothing on the host (sudo is told to remember nothing).
    init(_ session: SSHSession, _ credential: SSHCredential) throws(BootstrapError) {
        self.session = session
        if case .password(let secret) = credential { password = secret } else { password = nil }
        let answer = try session.run(
            HostUser.question, RemoteInput([]), limit: Limits.timeoutProbe, during: "the look at the user's rights")
        let words = String(decoding: answer.output, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard words.count >= 2, let uid = UInt32(words[words.count - 2]), let sudo = words.last else {
            throw .unsupportedOS(detail: "the user's shell does not run POSIX commands")
        }
        if uid == 0 {
            (access, refusal) = (.root, nil)
        } else if sudo == "free" {
            (access, refusal) = (.none, nil)
        } else if sudo == "missing" {
            (access, refusal) = (.denied, .noSudo(detail: "the host has no sudo"))
        } else if let password {
            refusal = try HostUser.sudoRefusal(session, password)
            access = refusal == nil ? .password : .denied
        } else {
            (access, refusal) = (.denied, .noSudo(detail: "sudo asks for a password, and the log-in is by key"))
        }
    }

    // The password alone goes in, so that a second question of sudo's finds nothing to read.
    private static func sudoRefusal(_ session: SSHSession, _ password: Secret) throws(BootstrapError) -> BootstrapError?
    {
        let answer = try session.run(
            "env LC_ALL=C sudo -S -p '' -k true", RemoteInput(Array(password.reveal.utf8) + [0x0a]),
            limit: Limits.timeoutProbe, during: "sudo")
        if answer.status == 0 { return nil }
        let words = answer.message
        let isWrong = ["try again", "incorrect password", "no password was provided"].contains { words.contains($0) }
        let isUnknown = ["not in the sudoers", "may not run sudo", "not allowed to"].contains { words.contains($0) }
        if isWrong, !isUnknown { return .wrongSudoPassword }
        return .noSudo(detail: isUnknown ? "the user is not allowed to use it" : words)
    }

    /// Runs a constant command, as root when asked for.
    /// - Throws: `.noSudo`, `.wrongSudoPassword` when root is asked for and the user cannot become it.
    func run(
        _ command: String, asRoot: Bool, _ input: RemoteInput, limit: Duration, during step: String
    ) throws(BootstrapError) -> RemoteResult {
        var input = input
        guard asRoot else { return try session.run(command, input, limit: limit, during: step) }
        switch access {
        case .root: return try session.run(command, input, limit: limit, during: step)
        case .none: return try session.run("sudo -n -- " + command, input, limit: limit, during: step)
        case .password:
            // sudo takes the first line and leaves the rest to the command. `access` says that it will ask.
            input.bytes = Array((password?.reveal ?? "").utf8) + [0x0a] + input.bytes
            return try session.run("sudo -S -p '' -k -- " + command, input, limit: limit, during: step)
        case .denied: throw refusal ?? .noSudo(detail: "not allowed")
        }
    }
}
