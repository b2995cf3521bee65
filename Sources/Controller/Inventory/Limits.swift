/// The bounds of this room.
package enum InventoryLimits {
    /// Items of a page.
    package static let pageMax = 500
    /// Bytes of a cursor, a filter value or a search text.
    package static let queryTextByteCountMax = 1024
    /// Accepted values of one filter.
    package static let filterValuesMax = 50
    /// Events that are kept for those who come back.
    package static let eventsKept: Int64 = 10_000
    /// Events that wait for one slow reader before its stream is ended.
    package static let eventsWaitingMax = 11_000
    /// Readers at once.
    package static let readersMax = 4
    /// How long an idempotency key is remembered.
    package static let idempotencySeconds: Int64 = 24 * 3600
    /// Bytes of an answer that is remembered for an idempotency key; a larger one is not.
    package static let answerByteCountMax = 1 << 20
    /// Idempotency keys of one caller.
    package static let idempotencyKeysMax = 100_000
    /// Lines of the audit log that one page has.
    package static let auditPageMax = 500
}
