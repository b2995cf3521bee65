/// The bounds of this room. Source: docs/security.md, "SSRF by URL import".
enum Limits {
    /// The longest URL.
    static let urlByteCountMax = 4096
    /// Redirects that are followed.
    static let redirectCountMax = 5
    /// The piece in which bytes are handed on. libcurl gives 16 KiB at a time, which is dear to write.
    static let pieceByteCount = 1 << 20
    /// The longest response head, all its lines together.
    static let headByteCountMax = 64 << 10
    /// The longest validator that is kept or sent.
    static let validatorByteCountMax = 1024
    /// The longest file of certificate authorities.
    static let caFileByteCountMax = 4 << 20
    /// The most host keys that a request may know.
    static let hostKeyCountMax = 32
}
