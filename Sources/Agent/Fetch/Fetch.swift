// Fetch: http, https, ftp and sftp -> bytes.
//
// Hides: libcurl.
// Invariants: every connection's real address is checked before it is made; certificates and host keys are verified;
// bytes come in order and each once; a file that ends too early is an error; secrets of a URL are in no message.
// Is not: aware of images, or of where bytes go. It never waits by itself before trying again: see `RetryPolicy`.
// All calls block: call them from a thread of your own, never from the cooperative pool.
import Model

/// What to fetch, and within which limits.
package struct FetchRequest: Sendable {
    /// The URL: http, https, ftp or sftp. It may carry user information; `sftp://user;fingerprint=SHA256-...@host/file`
    /// names a known host key (`-` instead of `:`, which would begin the password; URL-safe base64).
    package var url: String
    /// Overrides the URL's user name.
    package var userName: String?
    /// Overrides the URL's password.
    package var password: String?
    /// Host keys an SFTP server may show: `SHA256:...` fingerprints, `ssh-ed25519 AAAA...` keys, or whole lines of a
    /// known_hosts file (their host names are not compared: a request is about one host).
    package var knownHostKeys: [String]
    /// A PEM file of further certificate authorities, beside the system's.
    package var caFile: String?
    /// Which addresses may be visited.
    package var addresses: AddressPolicy
    /// The longest file that is taken, in bytes.
    package var fileBytesMax: UInt64
    /// Seconds until a connection must stand.
    package var connectSeconds: Int
    /// Fewer bytes in a second than this, for `slowSeconds` on end, is an error.
    package var rateMinBytesPerSecond: Int
    /// See `rateMinBytesPerSecond`.
    package var slowSeconds: Int

    /// Creates a request. The defaults: 16 TiB, 30 s to connect, 1 KiB/s for 60 s.
    package init(
        url: String, userName: String? = nil, password: String? = nil, knownHostKeys: [String] = [],
        caFile: String? = nil, addresses: AddressPolicy = AddressPolicy(), fileBytesMax: UInt64 = 16 << 40,
        connectSeconds: Int = 30, rateMinBytesPerSecond: Int = 1024, slowSeconds: Int = 60
    ) {
        self.url = url
        self.userName = userName
        self.password = password
        self.knownHostKeys = knownHostKeys
        self.caFile = caFile
        self.addresses = addresses
        self.fileBytesMax = fileBytesMax
        self.connectSeconds = connectSeconds
        self.rateMinBytesPerSecond = rateMinBytesPerSecond
        self.slowSeconds = slowSeconds
    }

    /// The URL without user information, query and fragment: what may be logged and shown.
    package var redacted: String { Fetch.redact(url) }
}

/// What the server said before the first byte.
package struct FetchResponse: Sendable, Equatable {
    /// Where in the file the bytes that follow begin: the offset that was asked for, or 0. With 0, whatever the caller
    /// has of the file is from another version (or the server cannot resume) and must be thrown away first.
    package var offset: UInt64
    /// The whole file's size in bytes, when the server tells.
    package var totalBytes: UInt64?
    /// `Content-Type`, for people: what a file is, its bytes tell.
    package var contentType: String?
    /// What names this version of the file (an ETag, a date, a size); give it to `get` to go on later. Nil: a later
    /// `get` begins at 0.
    package var validator: String?

    /// Creates a response.
    package init(offset: UInt64, totalBytes: UInt64?, contentType: String?, validator: String?) {
        self.offset = offset
        self.totalBytes = totalBytes
        self.contentType = contentType
        self.validator = validator
    }
}

/// What came of a fetch that reached the end of the file.
package struct FetchResult: Sendable, Equatable {
    /// What the server said.
    package var response: FetchResponse
    /// The bytes that were handed on.
    package var receivedBytes: UInt64
    /// The whole file's size: `response.offset` and `receivedBytes` together.
    package var fileBytes: UInt64 { response.offset + receivedBytes }

    /// Creates a result.
    package init(response: FetchResponse, receivedBytes: UInt64) {
        self.response = response
        self.receivedBytes = receivedBytes
    }
}

/// The front door.
package enum Fetch {
    /// Fetches a file, or the rest of it, on the caller's thread.
    /// - Parameters:
    ///   - offset: bytes that the caller has already.
    ///   - validator: what `FetchResponse.validator` said when it got them. The fetch goes on at `offset` only if the
    ///     server says that the file is still the same; otherwise it begins at 0.
    ///   - onResponse: called once, before any byte.
    ///   - onBytes: called with about 1 MiB at a time, in order. What was received before a failure is handed on too.
    ///   - isCancelled: asked at least once a second; true ends with `.cancelled`.
    /// - Throws: see `FetchError.isRetryable`; what `onBytes` got until then is right and may be kept.
    package static func get(
        _ request: FetchRequest, from offset: UInt64 = 0, validator: String? = nil,
        onResponse: @escaping (FetchResponse) throws -> Void,
        onBytes: @escaping (UnsafeRawBufferPointer) throws -> Void,
        isCancelled: @escaping () -> Bool = { false }
    ) throws(FetchError) -> FetchResult {
        let target = try FetchTarget(request)
        let canResume = offset > 0 && validator.map(ResponseHead.isUsable) == true
        let receiver = Receiver(
            onResponse: onResponse, onBytes: onBytes, isCancelled: isCancelled, fileBytesMax: request.fileBytesMax)
        let first = Transfer(request, target, canResume ? offset : 0, canResume ? validator : nil, receiver)
        switch try first.run() {
        case .done(let result): return result
        case .beginAgain:
            guard case .done(let result) = try Transfer(request, target, 0, nil, receiver).run() else {
                throw .protocolViolation("the server refuses a request from the beginning")
            }
            return result
        }
    }

    /// A URL as it may be logged and shown: without user information, query and fragment.
    package static func redact(_ url: String) -> String { FetchTarget.redact(url) }
}
