import CCurl
import Glibc
import Model

/// One request with libcurl. Its callbacks run on the thread that called `run`, inside `run`.
final class Transfer {
    enum Outcome {
        case done(FetchResult)
        /// The file is not the one whose rest was asked for.
        case beginAgain
    }

    private let request: FetchRequest
    private let target: FetchTarget
    private let offset: UInt64
    private let validator: String?
    private let receiver: Receiver
    private var handle: UnsafeMutableRawPointer?
    private var head = ResponseHead()
    /// The first reason to stop; libcurl's own code says only that a callback stopped it.
    private var failure: FetchError?
    private var mustBeginAgain = false
    /// Nothing is left to fetch; the body that comes nonetheless is not the file.
    private var isWholeAlready = false
    private var deniedPeer: (address: IPAddress, port: UInt16)?

    init(
        _ request: FetchRequest, _ target: FetchTarget, _ offset: UInt64, _ validator: String?, _ receiver: Receiver
    ) {
        self.request = request
        self.target = target
        self.offset = offset
        self.validator = validator
        self.receiver = receiver
    }

    private static let isReady = curl_global_init(Int(CURL_GLOBAL_ALL)) == CURLE_OK

    /// Runs the request to its end.
    func run() throws(FetchError) -> Outcome {
        guard !receiver.isCancelled() else { throw .cancelled }
        guard Self.isReady, let handle = curl_easy_init() else { throw .local("libcurl could not start") }
        self.handle = handle
        defer {
            curl_easy_cleanup(handle)
            self.handle = nil
        }
        var options = CurlOptions(handle)
        defer { options.release() }
        try options.apply(request, target, resuming: offset > 0 ? (offset, validator ?? "") : nil)
        options.setCallbacks(Unmanaged.passUnretained(self).toOpaque())
        var words = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
        let code = words.withUnsafeMutableBytes { buffer in
            lamina_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, buffer.baseAddress)
            let code = curl_easy_perform(handle)
            lamina_curl_set_pointer(handle, CURLOPT_ERRORBUFFER, nil)
            return code
        }
        let detail = String(decoding: words.prefix(while: { $0 != 0 }).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return try finish(code, detail)
    }

    private func finish(_ code: CURLcode, _ detail: String) throws(FetchError) -> Outcome {
        // No byte came: an empty file, or nothing is left of it.
        if code == CURLE_OK, failure == nil, !mustBeginAgain, receiver.response == nil {
            stopping { () throws(FetchError) in try begin(isAtEnd: true) }
        }
        if mustBeginAgain || code == CURLE_BAD_DOWNLOAD_RESUME { return .beginAgain }
        if let failure {
            // What came before stays right, unless it is the receiver that failed.
            switch failure {
            case .receiver, .tooLarge: break
            default: try receiver.flush()
            }
            throw failure
        }
        guard let response = receiver.response, code == CURLE_OK else {
            try receiver.flush()
            throw CurlFailure.error(
                code, detail, target: target, head: head, deniedPeer: deniedPeer, received: receiver)
        }
        try receiver.flush()
        let end = response.offset + receiver.receivedBytes
        if let total = response.totalBytes, end != total {
            throw .truncated(receivedBytes: end, expectedBytes: total)
        }
        return .done(FetchResult(response: response, receivedBytes: receiver.receivedBytes))
    }

    /// Runs a step of a callback; false when it failed and libcurl must stop.
    @discardableResult
    private func stopping(_ step: () throws(FetchError) -> Void) -> Bool {
        do {
            try step()
            return !mustBeginAgain
        } catch {
            failure = failure ?? error
            return false
        }
    }

    // MARK: Callbacks

    func takeHeaderLine(_ line: UnsafeRawBufferPointer) -> Bool {
        guard target.scheme.isHTTP else { return true }
        guard head.take(line) else {
            failure = .protocolViolation("its head is longer than \(Limits.headByteCountMax) bytes")
            return false
        }
        return true
    }

    func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        stopping { () throws(FetchError) in
            if receiver.response == nil { try begin(isAtEnd: false) }
            guard !mustBeginAgain, !isWholeAlready else { return }
            try receiver.take(bytes)
        }
    }

    func mayGoOn() -> Bool {
        guard !receiver.isCancelled() else {
            failure = failure ?? .cancelled
            return false
        }
        return failure == nil
    }

    func mayConnect(to address: IPAddress?, port: UInt16) -> Bool {
        guard let address else { return false }
        guard request.addresses.allows(address, port: port) else {
            deniedPeer = (address, port)
            return false
        }
        return true
    }

    func knows(hostKey key: [UInt8], kind: Int32) -> Bool {
        if target.hostKeys.contains(key) { return true }
        let kinds = [2: "RSA", 3: "DSS", 4: "ECDSA", 5: "ED25519"]
        failure = .hostKeyNotKnown(
            found: KnownHostKeys.fingerprint(key), kind: kinds[Int(kind)] ?? "unknown",
            isAnyKnown: !target.hostKeys.isEmpty)
        return false
    }

    // MARK: The response

    /// Judges the response and tells the caller, before the first byte or at the end of an empty file.
    private func begin(isAtEnd: Bool) throws(FetchError) {
        let length = number(CURLINFO_CONTENT_LENGTH_DOWNLOAD_T).flatMap { $0 >= 0 ? UInt64($0) : nil }
        if target.scheme.isHTTP { try beginHTTP(length) } else { try beginFile(isAtEnd ? 0 : length) }
    }

    private func beginHTTP(_ length: UInt64?) throws(FetchError) {
        func tell(_ offset: UInt64, _ total: UInt64?) throws(FetchError) {
            try receiver.begin(
                FetchResponse(
                    offset: offset, totalBytes: total, contentType: head.contentType, validator: head.validator))
        }
        switch head.status {
        case 200: try tell(0, length)
        case 206 where offset > 0:
            guard let validator, head.agrees(with: validator) else { return mustBeginAgain = true }
            guard let range = head.contentRange, range.first == offset else {
                throw .protocolViolation("a partial answer that does not begin at the byte asked for")
            }
            try tell(offset, range.total ?? length.map { $0 + offset })
        case 416 where offset > 0:
            // All of it is there already, or the file became shorter.
            guard head.contentRange?.total == offset, let validator, head.agrees(with: validator) else {
                return mustBeginAgain = true
            }
            try receiver.begin(
                FetchResponse(
                    offset: offset, totalBytes: offset, contentType: nil, validator: head.validator ?? validator))
            isWholeAlready = true
        case 401, 407: throw .accessDenied("the server asks for a user name and password")
        case 403: throw .accessDenied("HTTP status 403")
        case 404, 410: throw .fileNotFound
        case 0: throw .protocolViolation("no HTTP status")
        default: throw .status(code: head.status, retryAfterSeconds: head.retryAfterSeconds)
        }
    }

    /// FTP and SFTP tell a size, FTP also a time; they serve as validator.
    private func beginFile(_ rest: UInt64?) throws(FetchError) {
        let total = rest.map { $0 + offset }
        let time = number(CURLINFO_FILETIME_T).flatMap { $0 > 0 ? $0 : nil }
        let now = total.map { "size=\($0)" + (time.map { ";time=\($0)" } ?? "") }
        if offset > 0, now != validator { return mustBeginAgain = true }
        try receiver.begin(FetchResponse(offset: offset, totalBytes: total, contentType: nil, validator: now))
    }

    private func number(_ info: CURLINFO) -> Int? {
        var value: curl_off_t = -1
        guard let handle, lamina_curl_get_offset(handle, info, &value) == CURLE_OK else { return nil }
        return value
    }
}
