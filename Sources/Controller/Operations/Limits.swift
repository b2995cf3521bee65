/// The bounds of this room.
package enum OperationsLimits {
    /// Ids of a bulk operation.
    package static let bulkMax = 500
    /// Things that stand in the way that an error lists.
    package static let obstaclesMax = 100
    /// Bytes of a URL or of a path on a host.
    package static let sourceByteCountMax = 4096
    /// Bytes of an upload: what fits a signed 64-bit offset, with room.
    package static let uploadByteCountMax: UInt64 = 1 << 46
    /// Agents that are pinged at once.
    package static let pingsAtOnce = 64
    /// Pings without an answer after which a storage is disconnected.
    package static let missesMax = 3
    /// How old the time at which a storage was last seen may become before it is written again.
    package static let seenSeconds: Int64 = 60
    /// How often an agent that was just started is asked.
    package static let connectAttemptsMax = 8
    /// The longest silence of an agent that is at work.
    package static let ingestSilenceMax: Duration = .seconds(60)
    /// Between two rounds of expiry.
    package static let expiryPause: Duration = .seconds(60)
    /// Room that a local directory must have beside what is reserved.
    package static let freeBytesMin: UInt64 = 64 << 20
    /// Seconds after which an idle session ends.
    package static let sessionIdleSeconds: Int64 = 30 * 60
    /// Seconds after which a session ends.
    package static let sessionSeconds: Int64 = 12 * 3600
    /// How exactly the last use of a token is kept.
    package static let lastUsedSeconds: Int64 = 60
    /// Failed log-ins of an account or an address that cost nothing.
    package static let logInFailuresFree = 5
    /// Seconds after which failed log-ins are forgotten.
    package static let logInMemorySeconds: Int64 = 15 * 60
    /// The longest pause that failed log-ins cause.
    package static let logInPauseSecondsMax: Int64 = 15 * 60
    /// Accounts and addresses whose failures are remembered.
    package static let logInEntriesMax = 10_000
    /// API tokens of one account.
    package static let tokensMax = 100
    /// Bytes of an idempotency key.
    package static let idempotencyKeyByteCountMax = 255
    /// Images of a storage that "retrieve existing images" takes over in one transaction.
    package static let retrievePage = 500
}
