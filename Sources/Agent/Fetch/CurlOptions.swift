import CCurl
import Glibc
import Model

/// Sets a request up on a libcurl handle. Whatever fails to be set fails the request: an option that is silently
/// missing could be the one that protects the host.
struct CurlOptions {
    private let handle: UnsafeMutableRawPointer
    private var headers: UnsafeMutablePointer<curl_slist>?
    private var failed: CURLoption?

    init(_ handle: UnsafeMutableRawPointer) { self.handle = handle }

    /// Frees what libcurl does not copy; after the handle is used no more.
    mutating func release() {
        curl_slist_free_all(headers)
        headers = nil
    }

    private mutating func set(_ option: CURLoption, _ value: Int) {
        if lamina_curl_set_long(handle, option, value) != CURLE_OK { failed = failed ?? option }
    }

    private mutating func set(_ option: CURLoption, _ value: String) {
        if lamina_curl_set_string(handle, option, value) != CURLE_OK { failed = failed ?? option }
    }

    /// Sets everything but the callbacks.
    mutating func apply(
        _ request: FetchRequest, _ target: FetchTarget, resuming: (offset: UInt64, validator: String)?
    ) throws(FetchError) {
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_URL, target.url)
        set(CURLOPT_PROTOCOLS_STR, target.scheme.rawValue)
        // A redirect may not lose the protection of TLS.
        set(CURLOPT_REDIR_PROTOCOLS_STR, target.scheme == .http ? "http,https" : "https")
        set(CURLOPT_FOLLOWLOCATION, target.scheme.isHTTP ? 1 : 0)
        set(CURLOPT_MAXREDIRS, Limits.redirectCountMax)
        // The environment must not send the request elsewhere, past the check of addresses.
        set(CURLOPT_PROXY, "")
        set(CURLOPT_NETRC, Int(CURL_NETRC_IGNORED.rawValue))
        set(CURLOPT_UNRESTRICTED_AUTH, 0)
        set(CURLOPT_USERAGENT, "lamina")
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_CONNECTTIMEOUT, request.connectSeconds)
        set(CURLOPT_LOW_SPEED_LIMIT, request.rateMinBytesPerSecond)
        set(CURLOPT_LOW_SPEED_TIME, request.slowSeconds)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_BUFFERSIZE, 512 << 10)
        set(CURLOPT_FILETIME, 1)
        set(CURLOPT_FTP_SKIP_PASV_IP, 1)
        if let user = target.userName { set(CURLOPT_USERNAME, user) }
        if let password = target.password { set(CURLOPT_PASSWORD, password) }
        if target.scheme == .sftp {
            // Passwords only: never a key or an agent of whoever runs this process.
            set(CURLOPT_SSH_AUTH_TYPES, 2 | 8)
        }
        try setAuthorities(request)
        try setResume(target, resuming)
        guard failed == nil else { throw .local("libcurl does not know option \(failed?.rawValue ?? 0)") }
    }

    private mutating func setResume(
        _ target: FetchTarget, _ resuming: (offset: UInt64, validator: String)?
    ) throws(FetchError) {
        guard let resuming else { return }
        guard target.scheme.isHTTP else {
            let offset = curl_off_t(clamping: resuming.offset)
            let code = lamina_curl_set_offset(handle, CURLOPT_RESUME_FROM_LARGE, offset)
            guard code == CURLE_OK else { throw .local("libcurl cannot resume") }
            return
        }
        // Not RESUME_FROM: libcurl would fail on an answer of 200, which is the server's way to begin again.
        set(CURLOPT_RANGE, "\(resuming.offset)-")
        headers = curl_slist_append(headers, "If-Range: \(resuming.validator)")
        guard headers != nil, lamina_curl_set_list(handle, CURLOPT_HTTPHEADER, headers) == CURLE_OK else {
            throw .local("libcurl cannot send a header")
        }
    }

    private static let authorities = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]

    /// The system's certificate authorities, wherever this distribution has them, and those of the request.
    private mutating func setAuthorities(_ request: FetchRequest) throws(FetchError) {
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        let system = Self.authorities.first { access($0, R_OK) == 0 }
        guard let further = request.caFile else {
            if let system { set(CURLOPT_CAINFO, system) }
            return
        }
        guard let added = Self.contents(further) else {
            throw .local("the file of certificate authorities cannot be read")
        }
        var all = system.flatMap(Self.contents) ?? []
        all.append(0x0a)
        all += added
        let code = all.withUnsafeBytes { lamina_curl_set_blob(handle, CURLOPT_CAINFO_BLOB, $0.baseAddress, $0.count) }
        guard code == CURLE_OK else { throw .local("libcurl does not take the certificate authorities") }
    }

    private static func contents(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
        defer { piece.deallocate() }
        while true {
            let count = read(file, piece.baseAddress, piece.count)
            guard count >= 0, bytes.count + count <= Limits.caFileByteCountMax else { return nil }
            guard count > 0 else { return bytes }
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: piece[0..<count]))
        }
    }

    /// Sets the callbacks; `transfer` is the `Transfer` that they talk to.
    mutating func setCallbacks(_ transfer: UnsafeMutableRawPointer) {
        set(CURLOPT_NOPROGRESS, 0)
        lamina_curl_set_data(handle, CURLOPT_HEADERFUNCTION) { data, size, count, context in
            let bytes = UnsafeRawBufferPointer(start: data, count: size * count)
            return Transfer.of(context).takeHeaderLine(bytes) ? size * count : 0
        }
        lamina_curl_set_data(handle, CURLOPT_WRITEFUNCTION) { data, size, count, context in
            let bytes = UnsafeRawBufferPointer(start: data, count: size * count)
            return Transfer.of(context).takeBody(bytes) ? size * count : 0
        }
        lamina_curl_set_progress(handle) { context, _, _, _, _ in Transfer.of(context).mayGoOn() ? 0 : 1 }
        lamina_curl_set_open_socket(handle) { context, _, peer in
            guard let peer else { return -1 }
            var port: UInt32 = 0
            var bytes = [UInt8](repeating: 0, count: 16)
            let count = lamina_curl_peer(peer, &bytes, &port)
            let address = IPAddress(bytes: Array(bytes[0..<count]))
            guard Transfer.of(context).mayConnect(to: address, port: UInt16(truncatingIfNeeded: port)) else {
                return -1
            }
            return socket(
                peer.pointee.family, peer.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue), peer.pointee.protocol)
        }
        lamina_curl_set_host_key(handle) { context, kind, key, count in
            let bytes = [UInt8](UnsafeRawBufferPointer(start: key, count: count))
            let isKnown = Transfer.of(context).knows(hostKey: bytes, kind: kind)
            return Int32((isKnown ? CURLKHMATCH_OK : CURLKHMATCH_MISMATCH).rawValue)
        }
        for option in [
            CURLOPT_HEADERDATA, CURLOPT_WRITEDATA, CURLOPT_XFERINFODATA, CURLOPT_OPENSOCKETDATA,
            CURLOPT_SSH_HOSTKEYDATA,
        ] {
            lamina_curl_set_pointer(handle, option, transfer)
        }
    }
}

extension Transfer {
    /// The transfer that a callback's context is; it outlives the handle.
    static func of(_ context: UnsafeMutableRawPointer?) -> Transfer {
        guard let context else { preconditionFailure("callbacks have a context") }
        return Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    }
}
