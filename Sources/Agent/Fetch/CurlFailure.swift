import CCurl
import Model

/// What libcurl's codes mean here.
enum CurlFailure {
    static func error(
        _ code: CURLcode, _ detail: String, target: FetchTarget, head: ResponseHead,
        deniedPeer: (address: IPAddress, port: UInt16)?, received: Receiver
    ) -> FetchError {
        let words = detail.isEmpty ? String(cString: curl_easy_strerror(code)) : String(detail.prefix(300))
        let denied = deniedPeer.map { FetchError.addressDenied(address: $0.address, port: $0.port) }
        switch code {
        case CURLE_COULDNT_CONNECT: return denied ?? .notConnected(words)
        // The data connection of FTP goes through the same check.
        case CURLE_FTP_CANT_GET_HOST, CURLE_FTP_WEIRD_PASV_REPLY, CURLE_FTP_WEIRD_227_FORMAT:
            return denied ?? .protocolViolation(words)
        case CURLE_COULDNT_RESOLVE_HOST: return .hostNotFound(host: target.host)
        case CURLE_UNSUPPORTED_PROTOCOL: return .schemeNotAllowed("a redirect leads elsewhere (\(words))")
        case CURLE_URL_MALFORMAT: return .invalidURL(words)
        case CURLE_TOO_MANY_REDIRECTS: return .tooManyRedirects(limit: Limits.redirectCountMax)
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
            CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS,
            CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_USE_SSL_FAILED:
            return target.scheme == .sftp ? .notConnected(words) : .tls(words)
        case CURLE_LOGIN_DENIED: return .accessDenied("the server refused the user name or password")
        case CURLE_REMOTE_ACCESS_DENIED: return .accessDenied(words)
        case CURLE_REMOTE_FILE_NOT_FOUND, CURLE_FTP_COULDNT_RETR_FILE: return .fileNotFound
        case CURLE_OPERATION_TIMEDOUT: return .tooSlow
        case CURLE_PARTIAL_FILE:
            let offset = received.response?.offset ?? 0
            return .truncated(
                receivedBytes: offset + received.receivedBytes, expectedBytes: received.response?.totalBytes)
        case CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_FTP_ACCEPT_TIMEOUT, CURLE_HTTP2_STREAM,
            CURLE_SSH:
            return .interrupted(words)
        case CURLE_WEIRD_SERVER_REPLY, CURLE_FTP_WEIRD_PASS_REPLY, CURLE_RANGE_ERROR, CURLE_BAD_CONTENT_ENCODING:
            return .protocolViolation(words)
        case CURLE_OUT_OF_MEMORY: return .local("libcurl has no memory")
        default: return .local("libcurl: \(words) (\(code.rawValue))")
        }
    }
}
