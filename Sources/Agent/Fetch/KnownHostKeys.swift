import Model

/// The keys that an SFTP server may show, by the SHA-256 of the key as SSH sends it.
struct KnownHostKeys: Sendable {
    private let digests: Set<[UInt8]>

    var isEmpty: Bool { digests.isEmpty }

    /// Takes fingerprints (`SHA256:...`, in URLs `SHA256-...`), keys (`type base64`) and lines of known_hosts (`names type base64`).
    init(_ texts: [String]) throws(FetchError) {
        guard texts.count <= Limits.hostKeyCountMax else { throw .invalidURL("more than 32 host keys are given") }
        var digests: Set<[UInt8]> = []
        for text in texts where !text.isEmpty && !text.hasPrefix("#") {
            guard let digest = Self.digest(of: text) else {
                throw .invalidURL("a host key is 'SHA256:' and base64, or a key as in known_hosts")
            }
            digests.insert(digest)
        }
        self.digests = digests
    }

    func contains(_ key: [UInt8]) -> Bool { digests.contains(Digest.sha256(key).bytes) }

    /// As `ssh-keygen -l` writes it.
    static func fingerprint(_ key: [UInt8]) -> String { "SHA256:" + Base64.encode(Digest.sha256(key).bytes) }

    private static func digest(of text: String) -> [UInt8]? {
        if text.hasPrefix("SHA256:") || text.hasPrefix("SHA256-") {
            guard let bytes = Base64.decode(text.dropFirst(7)), bytes.count == Digest.byteCount else { return nil }
            return bytes
        }
        let words = text.split(separator: " ")
        guard let kind = words.firstIndex(where: { $0.hasPrefix("ssh-") || $0.hasPrefix("ecdsa-") }), kind <= 1,
            words.count > kind + 1, let key = Base64.decode(words[kind + 1]), key.count >= 16
        else { return nil }
        return Digest.sha256(key).bytes
    }
}

/// RFC 4648 base64; both alphabets are read, padding is neither needed nor written.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var out: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word: UInt32 = 0
            for index in 0..<3 { word = word << 8 | (start + index < bytes.count ? UInt32(bytes[start + index]) : 0) }
            for index in 0...group.count { out.append(alphabet[Int(word >> UInt32(18 - 6 * index) & 63)]) }
        }
        return String(decoding: out, as: UTF8.self)
    }

    static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var digits = Array(text.utf8)
        while digits.last == 0x3d { digits.removeLast() }
        guard digits.count % 4 != 1 else { return nil }
        var out: [UInt8] = []
        var (word, bits): (UInt32, UInt32) = (0, 0)
        for digit in digits {
            let plain: UInt8 = digit == 0x2d ? 0x2b : digit == 0x5f ? 0x2f : digit
            guard let value = alphabet.firstIndex(of: plain) else { return nil }
            word = word << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                out.append(UInt8(truncatingIfNeeded: word >> bits))
            }
        }
        return out
    }
}
