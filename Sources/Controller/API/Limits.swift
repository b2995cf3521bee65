import NIOCore

/// The bounds of the API.
enum Limits {
    /// Bytes of a JSON body.
    static let jsonByteCountMax = 1 << 20
    /// Items of a page.
    static let pageItemCountMax = 500
    /// Items of a page when none is asked for.
    static let pageItemCountStandard = 50
    /// Ids of a bulk request.
    static let bulkCountMax = 500
    /// Bytes of an upload: the largest virtual disk and its container's own bytes.
    static let uploadByteCountMax: UInt64 = 9 << 40
    /// Bytes handed on at once from an upload; must not exceed what Operations takes (1 MiB).
    static let uploadPieceByteCountMax = 1 << 20
    /// Bytes gathered before they are handed on: each hand-over costs a change of thread.
    static let uploadPieceByteCountMin = 512 << 10
    /// Bytes of the header `Upload-Metadata`.
    static let uploadMetadataByteCountMax = 4096
    /// Characters of an idempotency key.
    static let idempotencyKeyCountMax = 128
    /// Characters of a search text.
    static let searchCountMax = 256
    /// Without an event, a comment is sent so often: proxies and clients see that the stream lives.
    static let eventHeartbeat = Duration.seconds(15)
    /// A stream of events ends after this; the client comes back with `Last-Event-ID` and a token that still holds.
    static let eventStreamMax = Duration.seconds(3600)
    /// Events that may wait for a slow reader; then the stream ends and the reader resumes.
    static let eventBacklogMax = 1024
}

/// The bounds of connections. Source: docs/security.md, "slow clients".
package enum ConnectionLimits {
    /// Connections from one address.
    package static let perAddressMax = 128
    /// Connections in all.
    package static let inAllMax = 4096
    /// How long a connection may be open without a whole request head.
    package static let idleMax = TimeAmount.seconds(75)
    /// How often the rates are looked at.
    package static let checkInterval = TimeAmount.seconds(5)
    /// The time over which a minimum is demanded.
    package static let rateWindow = TimeAmount.seconds(30)
    /// Bytes that a client must send, or take, in a window in which the controller waits for it.
    package static let windowByteCountMin = 16 << 10
}
