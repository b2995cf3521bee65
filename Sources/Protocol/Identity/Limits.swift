/// Times and sizes of certificates. Source: docs/security.md, "Identity".
package enum IdentityLimits {
    /// A root lives ten years.
    package static let authoritySeconds: Int64 = 3652 * 86_400
    /// A peer's certificate lives thirty days and is renewed at two thirds of that.
    package static let peerSeconds: Int64 = 30 * 86_400
    /// The certificate of the controller's HTTPS lives a year.
    package static let serverSeconds: Int64 = 365 * 86_400
    /// Clocks of hosts differ: certificates begin this much earlier.
    package static let backdateSeconds: Int64 = 300
    /// The longest PEM text that is read.
    package static let pemByteCountMax = 256 << 10
    /// The most certificates in a peer's chain.
    package static let chainCountMax = 4
}
