import CCrypto

/// A SHA-256 digest: 32 bytes, held inline so that maps of millions of them need no heap.
package struct Digest: Hashable, Sendable, Comparable {
    // Big-endian words, so that comparing words compares bytes.
    private let w0: UInt64
    private let w1: UInt64
    private let w2: UInt64
    private let w3: UInt64

    /// The number of bytes in a digest.
    package static let byteCount = 32

    /// 32 zero bytes: a place holder until the digest is known. No content has it.
    package static let zero = Digest(w0: 0, w1: 0, w2: 0, w3: 0)

    /// The first eight bytes as a number: what indexes and filters go by.
    package var prefix: UInt64 { w0 }

    private init(w0: UInt64, w1: UInt64, w2: UInt64, w3: UInt64) {
        (self.w0, self.w1, self.w2, self.w3) = (w0, w1, w2, w3)
    }

    /// Creates a digest from exactly 32 bytes; `nil` for any other count.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Digest.byteCount else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        for (index, byte) in bytes.enumerated() {
            switch index >> 3 {
            case 0: words.0 = words.0 << 8 | UInt64(byte)
            case 1: words.1 = words.1 << 8 | UInt64(byte)
            case 2: words.2 = words.2 << 8 | UInt64(byte)
            default: words.3 = words.3 << 8 | UInt64(byte)
            }
        }
        (w0, w1, w2, w3) = words
    }

    /// Creates a digest from 32 raw bytes.
    package init(raw: UnsafeRawBufferPointer) {
        precondition(raw.count == Digest.byteCount, "a digest is 32 bytes")
        w0 = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        w1 = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        w2 = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        w3 = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    }

    /// Reads 64 hexadecimal digits, with or without the prefix `sha256:`.
    package init(parsing text: String) throws(InvalidValue) {
        var digits = text[...]
        if digits.hasPrefix("sha256:") { digits = digits.dropFirst(7) }
        guard digits.utf8.count == 64, let bytes = Hex.decode(digits) else {
            throw InvalidValue("a digest is 'sha256:' and 64 hexadecimal digits")
        }
        self = Digest(bytes: bytes)!
    }

    /// The 32 bytes.
    package var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(32)
        append(to: &result)
        return result
    }

    /// Appends the 32 bytes to `buffer`.
    package func append(to buffer: inout [UInt8]) {
        for word in [w0, w1, w2, w3] {
            for shift in stride(from: 56, through: 0, by: -8) {
                buffer.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
    }

    /// The 64 lower-case hexadecimal digits.
    package var hex: String { Hex.encode(bytes) }

    /// Orders digests as their bytes.
    package static func < (a: Digest, b: Digest) -> Bool {
        if a.w0 != b.w0 { return a.w0 < b.w0 }
        if a.w1 != b.w1 { return a.w1 < b.w1 }
        if a.w2 != b.w2 { return a.w2 < b.w2 }
        return a.w3 < b.w3
    }

    /// A digest is already uniform: its first word is hash enough.
    package func hash(into hasher: inout Hasher) { hasher.combine(w0) }
}

extension Digest: CustomStringConvertible {
    /// `sha256:` and the hexadecimal digits: the form of the API.
    package var description: String { "sha256:" + hex }
}

extension Digest: Codable {
    /// Reads the API's form.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do { try self.init(parsing: text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes the API's form.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension Digest {
    /// The SHA-256 of `bytes` in one call.
    package static func sha256(_ bytes: UnsafeRawBufferPointer) -> Digest {
        withUnsafeTemporaryAllocation(byteCount: Digest.byteCount, alignment: 8) { out in
            let done = EVP_Digest(
                bytes.baseAddress, bytes.count, out.baseAddress!.assumingMemoryBound(to: UInt8.self), nil,
                EVP_sha256(), nil)
            precondition(done == 1, "libcrypto could not compute a SHA-256")
            return Digest(raw: UnsafeRawBufferPointer(out))
        }
    }

    /// The SHA-256 of `bytes` in one call.
    package static func sha256(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { sha256($0) } }
}

/// A SHA-256 that is fed piece by piece. Not shared between threads.
package struct SHA256Hasher: ~Copyable {
    private let context: OpaquePointer

    /// Starts an empty hash.
    package init() {
        guard let made = EVP_MD_CTX_new(), EVP_DigestInit_ex(made, EVP_sha256(), nil) == 1 else {
            preconditionFailure("libcrypto could not start a SHA-256")
        }
        context = made
    }

    deinit { EVP_MD_CTX_free(context) }

    /// Adds `bytes`.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "libcrypto could not hash")
    }

    /// Adds `bytes`.
    package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The digest of all that was added so far; more may be added afterwards.
    package func current() -> Digest {
        guard let copy = EVP_MD_CTX_new() else { preconditionFailure("libcrypto is out of memory") }
        defer { EVP_MD_CTX_free(copy) }
        return withUnsafeTemporaryAllocation(byteCount: Digest.byteCount, alignment: 8) { out in
            let done =
                EVP_MD_CTX_copy_ex(copy, context) == 1
                && EVP_DigestFinal_ex(copy, out.baseAddress!.assumingMemoryBound(to: UInt8.self), nil) == 1
            precondition(done, "libcrypto could not finish a SHA-256")
            return Digest(raw: UnsafeRawBufferPointer(out))
        }
    }
}
