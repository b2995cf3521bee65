import Model

/// Seals values. (Signatures; bodies follow.)
package struct Sealer: Sendable {
    /// Reads the key file, or makes one (mode 0600) where there is none.
    package static func open(keyFile path: String, randomness: Randomness) throws(SecretsError) -> Sealer { Sealer() }
}
