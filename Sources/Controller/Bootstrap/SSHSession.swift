import CSSH2
import Foundation
import Model

/// One libssh2 session, from greeting to log-in. Belongs to one thread.
final class SSHSession {
    /// `SHA256:` and unpadded base64 of the key the host showed.
    private(set) var hostKey = ""
    /// The key's type as sshd names it.
    private(set) var hostKeyType = ""
    let handle: OpaquePointer
    private let connection: TCPConnection
    private let password: PasswordBox

    /// What libssh2 1.10 does with keys that current OpenSSH offers; RSA only with SHA-1, which OpenSSH refuses.
    private static let hostKeyTypes = [
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    ]
    private static let isReady: Bool = libssh2_init(0) == 0

    /// Connects, compares the host key, logs in.
    static func open(_ target: SSHTarget, _ cancellation: Cancellation) throws(BootstrapError) -> SSHSession {
        let session = try greet(target, cancellation)
        try session.logIn(target)
        return session
    }

    // A host has several keys and shows one. Before a key counts as changed, the host is asked for each type.
    private static func greet(_ target: SSHTarget, _ cancellation: Cancellation) throws(BootstrapError) -> SSHSession {
        let first = try SSHSession(target, cancellation, hostKeyTypes: hostKeyTypes.joined(separator: ","))
        guard let expected = target.expectedHostKey, expected != first.hostKey else { return first }
        for type in hostKeyTypes where type != first.hostKeyType {
            do throws(BootstrapError) {
                let other = try SSHSession(target, cancellation, hostKeyTypes: type)
                if other.hostKey == expected { return other }
            } catch {
                // The host has no key of this type.
                guard case .hostKeyUnsupported = error else { throw error }
            }
        }
        throw .hostKeyChanged(expected: expected, found: first.hostKey)
    }

    private init(_ target: SSHTarget, _ cancellation: Cancellation, hostKeyTypes: String) throws(BootstrapError) {
        precondition(SSHSession.isReady, "libssh2 could not start")
        connection = try TCPConnection(target, cancellation)
        password = PasswordBox()
        guard let made = libssh2_session_init_ex(nil, nil, nil, Unmanaged.passUnretained(password).toOpaque()) else {
            throw .disconnected(during: "the start of the session")
        }
        handle = made
        libssh2_session_set_blocking(made, 0)
        libssh2_session_method_pref(made, LIBSSH2_METHOD_HOSTKEY, hostKeyTypes)
        try shakeHands(target)
        try readHostKey()
    }

    deinit {
        // Politely if the socket takes it at once; the free releases everything in any case.
        libssh2_session_disconnect_ex(handle, SSH_DISCONNECT_BY_APPLICATION, "done", "")
        while libssh2_session_free(handle) == LIBSSH2_ERROR_EAGAIN {
            var watched = pollfd(fd: connection.descriptor, events: Int16(POLLIN | POLLOUT), revents: 0)
            if poll(&watched, 1, Limits.tickMilliseconds) <= 0 { return }
        }
    }

    /// Calls `body` until it has an answer other than "again", waiting for the socket in between.
    func retry<Answer: BinaryInteger>(
        until deadline: ContinuousClock.Instant, during step: String, _ body: () -> Answer
    ) throws(BootstrapError) -> Answer {
        while true {
            let answer = body()
            guard answer == Answer(LIBSSH2_ERROR_EAGAIN) else { return answer }
            try wait(until: deadline, during: step)
        }
    }

    /// Waits for what libssh2 waits for.
    func wait(until deadline: ContinuousClock.Instant, during step: String) throws(BootstrapError) {
        let directions = libssh2_session_block_directions(handle)
        var events = Int16(POLLIN)
        if directions & LIBSSH2_SESSION_BLOCK_OUTBOUND != 0 { events |= Int16(POLLOUT) }
        try connection.wait(events, until: deadline, during: step)
    }

    /// What libssh2 says of its last error.
    var lastError: String {
        var text: UnsafeMutablePointer<CChar>?
        var length: Int32 = 0
        libssh2_session_last_error(handle, &text, &length, 0)
        return text.map { String(cString: $0) } ?? "no reason given"
    }

    private func shakeHands(_ target: SSHTarget) throws(BootstrapError) {
        let deadline = ContinuousClock().now + Limits.timeoutLogIn
        let place = "\(target.address.text):\(target.port)"
        var hasGreeted = false
        while true {
            // Looked at before libssh2 does, since it would swallow what is no SSH greeting.
            if libssh2_session_banner_get(handle) != nil { hasGreeted = true }
            if !hasGreeted, let first = connection.peek() {
                guard !first.isEmpty else { throw .disconnected(during: "the SSH greeting") }
                guard Array("SSH-".utf8).starts(with: first) || first.starts(with: "SSH-".utf8) else {
                    throw .notSSH(place)
                }
                hasGreeted = first.count == 4
            }
            let answer = libssh2_session_handshake(handle, connection.descriptor)
            if answer == 0 { return }
            switch answer {
            case LIBSSH2_ERROR_EAGAIN:
                try wait(until: deadline, during: hasGreeted ? "the key exchange" : "the SSH greeting")
            case LIBSSH2_ERROR_KEX_FAILURE, LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE, LIBSSH2_ERROR_METHOD_NONE,
                LIBSSH2_ERROR_HOSTKEY_INIT:
                throw .hostKeyUnsupported(detail: lastError)
            case LIBSSH2_ERROR_BANNER_RECV, LIBSSH2_ERROR_BANNER_NONE: throw .notSSH(place)
            default: throw .disconnected(during: hasGreeted ? "the key exchange" : "the SSH greeting")
            }
        }
    }

    private func readHostKey() throws(BootstrapError) {
        var length = 0
        var type: Int32 = 0
        guard let key = libssh2_session_hostkey(handle, &length, &type) else {
            throw .hostKeyUnsupported(detail: "the host showed no key")
        }
        let digest = Digest.sha256(UnsafeRawBufferPointer(start: key, count: length))
        let base64 = Data(digest.bytes).base64EncodedString()
        hostKey = "SHA256:" + base64.prefix { $0 != "=" }
        hostKeyType =
            switch type {
            case LIBSSH2_HOSTKEY_TYPE_ED25519: "ssh-ed25519"
            case LIBSSH2_HOSTKEY_TYPE_ECDSA_256: "ecdsa-sha2-nistp256"
            case LIBSSH2_HOSTKEY_TYPE_ECDSA_384: "ecdsa-sha2-nistp384"
            case LIBSSH2_HOSTKEY_TYPE_ECDSA_521: "ecdsa-sha2-nistp521"
            default: "unknown"
            }
    }

    // MARK: Log-in

    private func logIn(_ target: SSHTarget) throws(BootstrapError) {
        let deadline = ContinuousClock().now + Limits.timeoutLogIn
        let user = target.user.text
        let accepted = try methods(user, deadline)
        // A host that wants no proof at all has let the user in while it was asked.
        if libssh2_userauth_authenticated(handle) == 1 { return }
        switch target.credential {
        case .password(let secret): try logIn(user, secret, accepted, deadline)
        case .privateKey(let secret): try logIn(user, key: secret, accepted, deadline)
        }
    }

    private func methods(_ user: String, _ deadline: ContinuousClock.Instant) throws(BootstrapError) -> [String] {
        while true {
            if let list = libssh2_userauth_list(handle, user, UInt32(user.utf8.count)) {
                return String(cString: list).split(separator: ",").map(String.init)
            }
            if libssh2_userauth_authenticated(handle) == 1 { return [] }
            guard libssh2_session_last_errno(handle) == LIBSSH2_ERROR_EAGAIN else {
                throw .disconnected(during: "the log-in")
            }
            try wait(until: deadline, during: "the log-in")
        }
    }

    private func logIn(
        _ user: String, _ secret: Secret, _ accepted: [String], _ deadline: ContinuousClock.Instant
    ) throws(BootstrapError) {
        guard accepted.contains("password") || accepted.contains("keyboard-interactive") else {
            throw .authenticationFailed(
                detail: "the host takes no passwords for this user, only: \(accepted.joined(separator: ", "))")
        }
        var answer: Int32 = LIBSSH2_ERROR_AUTHENTICATION_FAILED
        let text = secret.reveal
        if accepted.contains("password") {
            answer = try retry(until: deadline, during: "the log-in") {
                libssh2_userauth_password_ex(
                    handle, user, UInt32(user.utf8.count), text, UInt32(text.utf8.count), nil)
            }
        }
        if answer == LIBSSH2_ERROR_AUTHENTICATION_FAILED, accepted.contains("keyboard-interactive") {
            password.text = text
            defer { password.text = "" }
            answer = try retry(until: deadline, during: "the log-in") {
                libssh2_userauth_keyboard_interactive_ex(handle, user, UInt32(user.utf8.count), answerPrompts)
            }
        }
        try check(answer, "wrong user name or password, or this user may not log in so")
    }

    private func logIn(
        _ user: String, key secret: Secret, _ accepted: [String], _ deadline: ContinuousClock.Instant
    ) throws(BootstrapError) {
        guard accepted.contains("publickey") else {
            throw .authenticationFailed(
                detail: "the host takes no keys for this user, only: \(accepted.joined(separator: ", "))")
        }
        let pem = secret.reveal
        if let problem = PrivateKeyForm.problem(pem) { throw .privateKeyUnusable(detail: problem) }
        let answer = try retry(until: deadline, during: "the log-in") {
            libssh2_userauth_publickey_frommemory(handle, user, user.utf8.count, nil, 0, pem, pem.utf8.count, nil)
        }
        if answer == LIBSSH2_ERROR_FILE { throw .privateKeyUnusable(detail: lastError) }
        try check(answer, "the host does not know this key for this user")
    }

    private func check(_ answer: Int32, _ refusal: String) throws(BootstrapError) {
        switch answer {
        case 0: return
        case LIBSSH2_ERROR_AUTHENTICATION_FAILED, LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
            throw .authenticationFailed(detail: refusal)
        case LIBSSH2_ERROR_PASSWORD_EXPIRED:
            throw .authenticationFailed(detail: "the password has expired and must be changed on the host first")
        case LIBSSH2_ERROR_TIMEOUT: throw .timeout(during: "the log-in")
        default: throw .disconnected(during: "the log-in")
        }
    }
}

/// The password while keyboard-interactive prompts may ask for it; touched only by the session's thread.
final class PasswordBox {
    var text = ""
}

/// Answers every prompt with the password: hosts that ask more (a second factor) refuse it, and say so.
private let answerPrompts:
    @convention(c) (
        UnsafePointer<CChar>?, Int32, UnsafePointer<CChar>?, Int32, Int32,
        UnsafePointer<LIBSSH2_USERAUTH_KBDINT_PROMPT>?, UnsafeMutablePointer<LIBSSH2_USERAUTH_KBDINT_RESPONSE>?,
        UnsafeMutablePointer<UnsafeMutableRawPointer?>?
    ) -> Void = { _, _, _, _, count, _, responses, abstract in
        guard let responses, let pointer = abstract?.pointee else { return }
        let box = Unmanaged<PasswordBox>.fromOpaque(pointer).takeUnretainedValue()
        for index in 0..<Int(count) {
            // libssh2 frees the copy.
            responses[index].text = strdup(box.text)
            responses[index].length = UInt32(box.text.utf8.count)
        }
    }

/// Tells from a key's text what libssh2 would only call a failure.
enum PrivateKeyForm {
    static func problem(_ pem: String) -> String? {
        if pem.contains("BEGIN RSA PRIVATE KEY") || pem.contains("BEGIN DSA PRIVATE KEY") {
            return "RSA and DSA keys are not supported; make one with: ssh-keygen -t ed25519"
        }
        if pem.contains("ENCRYPTED") { return "it has a passphrase; give one without" }
        guard pem.contains("PRIVATE KEY-----") else { return "it is not a private key in OpenSSH or PEM form" }
        guard pem.contains("BEGIN OPENSSH PRIVATE KEY") else { return nil }
        let body = pem.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.hasPrefix("-----") }.joined()
        guard let bytes = Data(base64Encoded: body), bytes.starts(with: "openssh-key-v1\0".utf8) else {
            return "it is damaged: its base64 cannot be read"
        }
        // After the magic comes the cipher's name; "none" means no passphrase.
        if !bytes.dropFirst(15).starts(with: [0, 0, 0, 4] + "none".utf8) {
            return "it has a passphrase; give one without"
        }
        if bytes.range(of: Data("ssh-rsa".utf8)) != nil {
            return "RSA keys are not supported; make one with: ssh-keygen -t ed25519"
        }
        return nil
    }
}
