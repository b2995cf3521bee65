import Foundation
import Model

/// A bearer token: `lamina_` and 256 random bits in base64url. Only its SHA-256 is stored: with so many random bits
/// nothing slower is needed.
package struct BearerToken: Sendable {
    /// What every token begins with, so that one that leaked is recognised.
    package static let prefix = "lamina_"
    private static let encodedCount = 43

    /// The token as the client sends it.
    package let secret: Secret
    /// What is stored and looked up.
    package var digest: Digest { Digest.sha256(Array(secret.reveal.utf8)) }

    /// Makes a token.
    package init(randomness: Randomness) {
        let text = Data(randomness.bytes(32)).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
        secret = Secret(BearerToken.prefix + text)
    }

    /// Reads a token as given; nil when it cannot be one.
    package init?(_ given: String) {
        let rest = given.dropFirst(BearerToken.prefix.count)
        guard given.hasPrefix(BearerToken.prefix), rest.utf8.count == BearerToken.encodedCount,
            rest.utf8.allSatisfy({ Ascii.isAlphanumeric($0) || $0 == 0x2d || $0 == 0x5f })
        else { return nil }
        secret = Secret(given)
    }
}
