import Model

/// Why bytes were not fetched. The words may be shown to people: no user name, password or query is in them.
package enum FetchError: Error, Sendable {
    /// The URL cannot be used; the words say why.
    case invalidURL(String)
    /// The URL or a redirect has a scheme that is not fetched.
    case schemeNotAllowed(String)
    /// The host's address is one that the deployment must not be made to visit.
    case addressDenied(address: IPAddress, port: UInt16)
    /// More redirects than are followed.
    case tooManyRedirects(limit: Int)
    /// The host name has no address (now).
    case hostNotFound(host: String)
    /// No connection came about.
    case notConnected(String)
    /// The server's certificate, or the TLS handshake, is not good.
    case tls(String)
    /// An SFTP server showed a key that the request does not know. `found` is `SHA256:...` as ssh-keygen -l writes it.
    case hostKeyNotKnown(found: String, kind: String, isAnyKnown: Bool)
    /// The server refused the user name and password, or asks for some.
    case accessDenied(String)
    /// The server has no such file.
    case fileNotFound
    /// The HTTP server's answer, and how long it asks to wait.
    case status(code: Int, retryAfterSeconds: Int?)
    /// The file ended before its announced length.
    case truncated(receivedBytes: UInt64, expectedBytes: UInt64?)
    /// The file is longer than the request allows.
    case tooLarge(limitBytes: UInt64)
    /// Less than the least rate came for too long, or the connection took too long.
    case tooSlow
    /// The connection broke.
    case interrupted(String)
    /// The server broke the rules of its protocol.
    case protocolViolation(String)
    /// The caller's closure threw.
    case receiver(any Error)
    /// The caller withdrew.
    case cancelled
    /// libcurl or the system failed here.
    case local(String)

    /// Whether trying again may help; see `RetryPolicy`.
    package var isRetryable: Bool {
        switch self {
        case .hostNotFound, .notConnected, .truncated, .tooSlow, .interrupted: true
        case .status(let code, _): [408, 425, 429, 500, 502, 503, 504].contains(code)
        default: false
        }
    }
}

extension FetchError: CustomStringConvertible {
    /// What happened, in words for people.
    package var description: String {
        switch self {
        case .invalidURL(let words): "the URL cannot be used: \(words)"
        case .schemeNotAllowed(let words): "only http, https, ftp and sftp are fetched: \(words)"
        case .addressDenied(let address, let port): "the address \(address), port \(port), must not be fetched from"
        case .tooManyRedirects(let limit): "the server redirects more than \(limit) times"
        case .hostNotFound(let host): "the host '\(host)' has no address"
        case .notConnected(let words): "no connection: \(words)"
        case .tls(let words): "TLS: \(words)"
        case .hostKeyNotKnown(let found, let kind, let isAnyKnown):
            isAnyKnown
                ? "the server's \(kind) host key is \(found), which is none of the known ones"
                : "the server's \(kind) host key is \(found); check it and give it as known to fetch from there"
        case .accessDenied(let words): "access denied: \(words)"
        case .fileNotFound: "the server has no such file"
        case .status(let code, _): "the server answered with HTTP status \(code)"
        case .truncated(let received, let expected):
            "the file ended after \(received) bytes" + (expected.map { " of \($0)" } ?? "")
        case .tooLarge(let limit): "the file is longer than \(limit) bytes"
        case .tooSlow: "the server is too slow"
        case .interrupted(let words): "the connection broke: \(words)"
        case .protocolViolation(let words): "the server's answer makes no sense: \(words)"
        case .receiver(let error): "the receiver failed: \(error)"
        case .cancelled: "cancelled"
        case .local(let words): words
        }
    }
}

/// How often and after what pause a fetch is tried again. A value: the caller keeps count, syncs what it has, waits,
/// and asks `Fetch.get` for the rest.
package struct RetryPolicy: Sendable, Equatable {
    /// Failures in a row, without a byte between them, after which it ends.
    package var failureCountMax: Int
    /// The pause after the first failure; it doubles with each one.
    package var pauseFirst: Duration
    /// The longest pause.
    package var pauseMax: Duration

    /// Creates a policy: 8 failures, 1 s to 60 s, unless told.
    package init(
        failureCountMax: Int = 8, pauseFirst: Duration = .seconds(1), pauseMax: Duration = .seconds(60)
    ) {
        self.failureCountMax = failureCountMax
        self.pauseFirst = pauseFirst
        self.pauseMax = pauseMax
    }

    /// How long to wait before the next try; nil when there is none.
    /// - Parameters:
    ///   - failures: failures in a row, this one included; 1 when bytes came since the last.
    ///   - spread: 0 to 1, at random, so that many fetches do not come back at once.
    package func pause(after error: FetchError, failures: Int, spread: Double) -> Duration? {
        guard error.isRetryable, failures < failureCountMax else { return nil }
        if case .status(_, let seconds?) = error { return min(.seconds(max(0, seconds)), pauseMax) }
        let doubled = pauseFirst * (1 << min(max(failures - 1, 0), 20))
        return min(doubled, pauseMax) * (0.5 + min(max(spread, 0), 1) / 2)
    }
}
