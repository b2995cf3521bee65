/// The head of an HTTP response, line by line. Redirects bring several heads; the last counts.
struct ResponseHead: Sendable {
    private(set) var status = 0
    private(set) var contentType: String?
    private(set) var eTag: String?
    private(set) var lastModified: String?
    private(set) var retryAfterSeconds: Int?
    /// The first byte and the whole size that `Content-Range` tells; the size is nil for `*`.
    private(set) var contentRange: (first: UInt64?, total: UInt64?)?
    private var byteCount = 0

    /// Takes a line with its end. False: the head is too long.
    mutating func take(_ line: UnsafeRawBufferPointer) -> Bool {
        byteCount += line.count
        guard byteCount <= Limits.headByteCountMax else { return false }
        let text = String(decoding: line, as: UTF8.self).trimmed
        if text.hasPrefix("HTTP/") {
            let before = byteCount
            self = ResponseHead()
            byteCount = before
            let words = text.split(separator: " ")
            status = words.count > 1 ? Int(words[1]) ?? 0 : 0
            return true
        }
        guard let colon = text.firstIndex(of: ":") else { return true }
        let value = String(text[text.index(after: colon)...]).trimmed
        switch text[..<colon].lowercased() {
        case "content-type": contentType = String(value.prefix(200))
        case "etag": eTag = value
        case "last-modified": lastModified = value
        case "retry-after": retryAfterSeconds = Int(value)
        case "content-range": contentRange = Self.range(value)
        default: break
        }
        return true
    }

    /// What names this version of the file: a strong ETag, else its date. A weak ETag does not promise equal bytes.
    var validator: String? {
        if let eTag, eTag.hasPrefix("\""), Self.isUsable(eTag) { return eTag }
        if let lastModified, Self.isUsable(lastModified) { return lastModified }
        return nil
    }

    /// Whether this response's version may be the one that `known` names: it says nothing to the contrary.
    func agrees(with known: String) -> Bool {
        if known.hasPrefix("\"") { return eTag == nil || eTag == known }
        return lastModified == nil || lastModified == known
    }

    /// Whether a validator may be sent in a header line.
    static func isUsable(_ validator: String) -> Bool {
        !validator.isEmpty && validator.utf8.count <= Limits.validatorByteCountMax
            && validator.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f }
    }

    /// `bytes 100-199/200`, `bytes 100-199/*`, `bytes */200`.
    private static func range(_ value: String) -> (first: UInt64?, total: UInt64?)? {
        guard value.lowercased().hasPrefix("bytes ") else { return nil }
        let parts = value.dropFirst(6).split(separator: "/")
        guard parts.count == 2 else { return nil }
        let first = parts[0].split(separator: "-").first.flatMap { UInt64(String($0).trimmed) }
        return (first, UInt64(String(parts[1]).trimmed))
    }
}

extension String {
    /// Without blanks and line ends around it.
    fileprivate var trimmed: String {
        let isBlank: (Unicode.Scalar) -> Bool = { $0.value <= 0x20 }
        let scalars = unicodeScalars.drop(while: isBlank)
        guard let last = scalars.lastIndex(where: { !isBlank($0) }) else { return "" }
        return String(scalars[...last])
    }
}
