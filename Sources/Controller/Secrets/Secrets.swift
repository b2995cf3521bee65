// Secrets: what must not be read, and what proves who somebody is.
//
// Hides: ciphers, key derivation, the form of sealed values, hashes and tokens.
// Invariants: a sealed value opens only at the table, row and field that it was sealed for; comparing takes the same
// time whether it fails early or late; no error tells a secret.
// Is not: a store. The inventory keeps what this room makes.
import Model

/// Where random bytes and identifiers come from. A parameter everywhere; the real one is made in the Mains.
package struct Randomness: Sendable {
    /// Gives so many unpredictable bytes.
    package let bytes: @Sendable (Int) -> [UInt8]

    /// Creates a source from a function that gives unpredictable bytes.
    package init(bytes: @escaping @Sendable (Int) -> [UInt8]) { self.bytes = bytes }

    /// A new identifier.
    package func id<Kind>() -> ID<Kind> {
        let bytes = self.bytes(16)
        func word(_ part: ArraySlice<UInt8>) -> UInt64 { part.reduce(0) { $0 << 8 | UInt64($1) } }
        return ID(random: (word(bytes[0..<8]), word(bytes[8..<16])))
    }
}

/// Why a secret could not be made, kept or opened.
package enum SecretsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The key file is missing, unreadable, of a wrong length, or may be read by others.
    case keyFile(String)
    /// The sealed value is damaged, is another row's, or was sealed with another key.
    case cannotOpen
    /// The sealed value was written by a newer version.
    case unknownVersion(UInt8)
    /// A stored password hash is not what this version writes.
    case malformedHash
    /// Too many passwords are being checked at once.
    case busy

    /// What was wrong and what to do.
    package var description: String {
        switch self {
        case .keyFile(let detail): "the key file cannot be used: \(detail)"
        case .cannotOpen: "a sealed value does not open with this key; was the key file replaced?"
        case .unknownVersion(let version): "a sealed value has version \(version), which a newer Lamina wrote"
        case .malformedHash: "a stored password hash is damaged"
        case .busy: "too many log-ins at once; try again in a moment"
        }
    }
}
