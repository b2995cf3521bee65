import CCurl
import Model

/// A URL that was taken apart by libcurl's own parser, so that what is checked is what is fetched.
struct FetchTarget: Sendable {
    enum Scheme: String, Sendable {
        case http
        case https
        case ftp
        case sftp

        var isHTTP: Bool { self == .http || self == .https }
    }

    let scheme: Scheme
    let host: String
    /// Without user information and fragment.
    let url: String
    let userName: String?
    let password: String?
    let hostKeys: KnownHostKeys

    init(_ request: FetchRequest) throws(FetchError) {
        guard request.url.utf8.count <= Limits.urlByteCountMax else {
            throw .invalidURL("it is longer than \(Limits.urlByteCountMax) bytes")
        }
        guard let parts = URLParts(request.url) else { throw .invalidURL("it is no absolute URL") }
        let name = parts.text(CURLUPART_SCHEME)?.lowercased() ?? ""
        guard let scheme = Scheme(rawValue: name) else { throw .schemeNotAllowed("'\(name.prefix(40))'") }
        // libcurl takes one to three slashes for two.
        let slashes = request.url.drop(while: { $0 != ":" }).dropFirst().prefix(while: { $0 == "/" })
        guard slashes.count == 2, let host = parts.text(CURLUPART_HOST), !host.isEmpty else {
            throw .invalidURL("it names no host")
        }
        let path = parts.text(CURLUPART_PATH) ?? "/"
        if !scheme.isHTTP {
            guard !path.hasSuffix("/") else { throw .invalidURL("it names a directory, not a file") }
            // `;type=a` would change line ends in the file, `;type=d` would list a directory.
            guard !path.lowercased().contains(";type=") else { throw .invalidURL("it has a transfer type") }
        }
        var keys = request.knownHostKeys
        var user = parts.text(CURLUPART_USER, decoded: true)
        if scheme == .sftp, let given = user, let mark = given.range(of: ";fingerprint=") {
            keys.append(String(given[mark.upperBound...]))
            user = String(given[..<mark.lowerBound])
        }
        hostKeys = try KnownHostKeys(keys)
        userName = request.userName ?? user
        password = request.password ?? parts.text(CURLUPART_PASSWORD, decoded: true)
        guard let url = parts.withoutSecrets(keepsQuery: true) else { throw .invalidURL("it is no absolute URL") }
        self.scheme = scheme
        self.host = host
        self.url = url
    }

    static func redact(_ url: String) -> String {
        guard let parts = URLParts(url), let shown = parts.withoutSecrets(keepsQuery: false) else {
            return "(a URL that cannot be read)"
        }
        return shown
    }
}

extension String {
    /// The first place of `text`; Foundation is not imported here.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}

/// A URL in libcurl's hands.
private struct URLParts: ~Copyable {
    private let handle: OpaquePointer

    init?(_ url: String) {
        guard let handle = curl_url() else { return nil }
        let flags = UInt32(CURLU_NON_SUPPORT_SCHEME)
        guard curl_url_set(handle, CURLUPART_URL, url, flags) == CURLUE_OK else {
            curl_url_cleanup(handle)
            return nil
        }
        self.handle = handle
    }

    deinit { curl_url_cleanup(handle) }

    func text(_ part: CURLUPart, decoded: Bool = false) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        let flags = decoded ? UInt32(CURLU_URLDECODE) : 0
        guard curl_url_get(handle, part, &text, flags) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }

    /// The URL without user information and fragment, and maybe without query.
    borrowing func withoutSecrets(keepsQuery: Bool) -> String? {
        guard let copy = curl_url_dup(handle) else { return nil }
        defer { curl_url_cleanup(copy) }
        var parts = [CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_FRAGMENT]
        if !keepsQuery { parts.append(CURLUPART_QUERY) }
        for part in parts { curl_url_set(copy, part, nil, 0) }
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(copy, CURLUPART_URL, &text, 0) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }
}
