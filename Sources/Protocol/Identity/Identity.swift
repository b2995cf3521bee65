// Identity: keys, certificates and who is who.
//
// Hides: X.509, ASN.1 and swift-certificates, whose only user this is.
// Invariants: a private key is made where it is used and only a request leaves; what a request says of itself is
// not believed, only its key is; an identity is read from a certificate only after its chain was verified.
// Is not: aware of sockets, or of where keys lie on disk. Clocks and the numbers of certificates come from the caller;
// keys come from the cryptography library's own generator.

/// Why a key, request or certificate was not taken.
package enum IdentityError: Error, Sendable, Equatable {
    /// The text is not the PEM or DER of what it should be; `what` names it.
    case unreadable(what: String, detail: String)
    /// A request whose signature is not of its key, or whose key is of another kind than P-256.
    case badRequest(String)
    /// A certificate that does not lead to one of the roots, is out of its time, or may not be used so.
    case untrusted(String)
    /// A certificate that was withdrawn.
    case denied(serial: String)
    /// A certificate that names no peer of Lamina.
    case noIdentity(String)
    /// The library could not make what was asked.
    case failed(String)
}

extension IdentityError: CustomStringConvertible {
    /// Words for a log.
    package var description: String {
        switch self {
        case .unreadable(let what, let detail): "\(what) cannot be read: \(detail)"
        case .badRequest(let why): "certificate request refused: \(why)"
        case .untrusted(let why): "certificate not trusted: \(why)"
        case .denied(let serial): "certificate \(serial) was withdrawn"
        case .noIdentity(let why): "certificate names no peer: \(why)"
        case .failed(let why): why
        }
    }
}
