/// The bounds of this room.
package enum SecretsLimits {
    /// Passwords that are hashed at once; each takes 32 MiB and a core.
    package static let hashingMax = 2
    /// Passwords that wait for their turn; more are refused, so that a flood of log-ins cannot pile up.
    package static let waitingMax = 64
    /// The longest password, in bytes, that is looked at.
    package static let passwordByteCountMax = 1024
    /// The shortest password that an account may have, in characters.
    package static let passwordCharacterCountMin = 8
    /// The longest value that is sealed: a private key with room to spare.
    package static let sealedByteCountMax = 1 << 16
}
