import Crypto
import Foundation
import Model

/// The place of a sealed value. It is authenticated with it: a value that was moved does not open.
package struct SealedPlace: Hashable, Sendable {
    /// The table, such as `imageStorage`.
    package var table: String
    /// The row's id.
    package var row: String
    /// The field, such as `credential`.
    package var field: String

    /// Creates a place.
    package init(table: String, row: String, field: String) {
        self.table = table
        self.row = row
        self.field = field
    }

    /// Unambiguous: each part with its length in front.
    var associatedData: [UInt8] {
        var bytes = Array("lamina-sealed".utf8)
        for part in [table, row, field] {
            let text = Array(part.utf8)
            withUnsafeBytes(of: UInt32(text.count).bigEndian) { bytes += $0 }
            bytes += text
        }
        return bytes
    }
}

/// Seals values with AES-256-GCM.
///
/// ```
/// | version 1 | nonce 12 | ciphertext n | tag 16 |      associated data: version, table, row, field
/// ```
/// Versions: 1, as above.
package struct Sealer: Sendable {
    /// The version that is written.
    package static let version: UInt8 = 1
    /// The bytes of the key.
    package static let keyByteCount = 32

    private let key: SymmetricKey
    private let randomness: Randomness

    /// Creates a sealer from a key of 32 bytes; `nil` for any other count.
    package init?(key: [UInt8], randomness: Randomness) {
        guard key.count == Sealer.keyByteCount else { return nil }
        self.key = SymmetricKey(data: key)
        self.randomness = randomness
    }

    /// Encrypts `bytes` for one place.
    package func seal(_ bytes: [UInt8], at place: SealedPlace) throws(SecretsError) -> [UInt8] {
        precondition(bytes.count <= SecretsLimits.sealedByteCountMax, "callers bound what they seal")
        do {
            let nonce = try AES.GCM.Nonce(data: randomness.bytes(12))
            let box = try AES.GCM.seal(
                bytes, using: key, nonce: nonce, authenticating: [Sealer.version] + place.associatedData)
            return [Sealer.version] + Array(nonce) + Array(box.ciphertext) + Array(box.tag)
        } catch {
            throw .cannotOpen
        }
    }

    /// Decrypts what `seal` made for the same place with the same key.
    package func open(_ sealed: [UInt8], at place: SealedPlace) throws(SecretsError) -> [UInt8] {
        guard let version = sealed.first, sealed.count >= 1 + 12 + 16 else { throw .cannotOpen }
        guard version == Sealer.version else { throw .unknownVersion(version) }
        do {
            let box = try AES.GCM.SealedBox(combined: sealed.dropFirst())
            return Array(try AES.GCM.open(box, using: key, authenticating: [version] + place.associatedData))
        } catch {
            throw .cannotOpen
        }
    }
}
