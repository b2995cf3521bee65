import Crypto
import SwiftASN1
import X509

/// A P-256 key and its private half. Not written to any log.
package struct KeyPair: Sendable, CustomStringConvertible {
    let key: P256.Signing.PrivateKey

    /// Makes a new key.
    package init() { key = P256.Signing.PrivateKey() }

    /// Reads a private key in PEM (PKCS #8 or SEC 1).
    package init(pem: String) throws(IdentityError) {
        guard pem.utf8.count <= IdentityLimits.pemByteCountMax else {
            throw .unreadable(what: "private key", detail: "\(pem.utf8.count) bytes")
        }
        do { key = try P256.Signing.PrivateKey(pemRepresentation: pem) } catch {
            throw .unreadable(what: "private key", detail: "it is no P-256 key in PEM")
        }
    }

    /// The private key in PEM, to be kept in a file of mode 0600.
    package var pem: String { key.pemRepresentation + "\n" }

    /// A certificate request for this key, in PEM. It names nothing: who its owner is, is the authority's to say.
    package func request() throws(IdentityError) -> String {
        do {
            let request = try CertificateSigningRequest(
                version: .v1, subject: DistinguishedName { CommonName("lamina") }, privateKey: .init(key),
                attributes: CertificateSigningRequest.Attributes(), signatureAlgorithm: .ecdsaWithSHA256)
            return try request.serializeAsPEM().pemString + "\n"
        } catch { throw .failed("a certificate request could not be made: \(error)") }
    }

    /// Not the key.
    package var description: String { "(private key)" }
}
