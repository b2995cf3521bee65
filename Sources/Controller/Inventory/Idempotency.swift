import Model

/// An answer that is given again for the same idempotency key.
package struct StoredAnswer: Sendable, Equatable, Codable {
    package var status: Int
    /// Header names and values.
    package var headers: [String: String]
    package var body: [UInt8]

    /// Creates an answer.
    package init(status: Int, headers: [String: String], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}
