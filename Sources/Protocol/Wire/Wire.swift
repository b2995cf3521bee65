// Wire: what the controller and the agents say to each other, as values.
//
// Hides: the bytes of frames, the order of an exchange, the JSON of messages.
// Invariants: a frame's header is checked before its payload is buffered; an exchange is a request, then data in
// one direction or progress, then exactly one reply or failure; versions are agreed in a frozen handshake.
// Is not: aware of sockets or TLS (Transport) or of what a verb does (AgentService).

/// A verb of the agent: its arguments, and the type of what it answers. Every verb is idempotent: asking again is
/// the recovery. The JSON of a verb and its reply may gain fields; a field is never given another meaning.
package protocol AgentVerb: Codable, Sendable {
    /// What the agent answers.
    associatedtype Reply: Codable & Sendable
    /// The verb's name on the wire.
    static var name: String { get }
    /// Which way data frames go between the request and the reply.
    static var bulk: BulkDirection { get }
}

extension AgentVerb {
    /// Most verbs move no data.
    package static var bulk: BulkDirection { .none }
}

/// Which way the data frames of an exchange go.
package enum BulkDirection: Sendable {
    /// There are none.
    case none
    /// From the one who asked to the agent, ended by an `end` frame.
    case toAgent
    /// From the agent to the one who asked, ended by the reply.
    case fromAgent
}

/// Nothing to say: the reply of a verb that only succeeds.
package struct Done: Codable, Sendable, Equatable {
    /// Creates the reply.
    package init() {}
}

/// Where a long verb stands; sent by the agent at most ten times a second, and at least every second.
package struct VerbProgress: Codable, Sendable, Equatable {
    /// The phase.
    package var phase: IngestPhase
    /// Bytes done in this phase.
    package var doneBytes: UInt64
    /// Bytes of this phase; nil when not known.
    package var totalBytes: UInt64?
    /// Bytes the store had already.
    package var reusedBytes: UInt64
    /// Bytes that crossed a network.
    package var transferredBytes: UInt64

    /// Creates a progress.
    package init(
        phase: IngestPhase, doneBytes: UInt64, totalBytes: UInt64?, reusedBytes: UInt64 = 0,
        transferredBytes: UInt64 = 0
    ) {
        self.phase = phase
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
        self.reusedBytes = reusedBytes
        self.transferredBytes = transferredBytes
    }
}

/// The phases of adding an image, in order; each has its own progress and is resumed by itself.
package enum IngestPhase: String, Codable, Sendable, CaseIterable {
    /// The file is brought to the host (URL).
    case fetch
    /// The file is checked: format, rules, checksum.
    case inspect
    /// Its disk is cut, hashed, compressed and stored.
    case slice
    /// The manifest is made durable.
    case commit
}

/// Why an agent did not do what was asked; stable code, words for people.
package struct AgentFailure: Error, Codable, Sendable, Equatable, CustomStringConvertible {
    /// A stable code; those of the HTTP API where it has one.
    package var code: Code
    /// What was wrong and what to do.
    package var detail: String
    /// Whether the same request may succeed later without a change by an admin.
    package var isRetryable: Bool

    /// Creates a failure.
    package init(code: Code, detail: String, isRetryable: Bool = false) {
        self.code = code
        self.detail = detail
        self.isRetryable = isRetryable
    }

    /// `code: detail`.
    package var description: String { "\(code.rawValue): \(detail)" }

    /// The codes. An unknown one (from a newer agent) is read as `internal`.
    package enum Code: String, Codable, Sendable, CaseIterable {
        case imageNotFound = "image-not-found"
        case imageExists = "image-exists"
        case imageFormatMismatch = "image-format-mismatch"
        case imageUnsafe = "image-unsafe"
        case imageCorrupt = "image-corrupt"
        case imageUnsupported = "image-unsupported"
        case imageTooLarge = "image-too-large"
        case checksumMismatch = "checksum-mismatch"
        case sourceUnreachable = "source-unreachable"
        case sourceRefused = "source-refused"
        case sourceDenied = "source-denied"
        case sourceChanged = "source-changed"
        case sourceTruncated = "source-truncated"
        case hostPathRefused = "host-path-refused"
        case noSpace = "image-storage-full"
        case sessionNotFound = "session-not-found"
        case sessionBusy = "session-busy"
        case uploadNotFound = "upload-not-found"
        case uploadOffsetMismatch = "upload-offset-mismatch"
        case uploadIncomplete = "upload-incomplete"
        case wrongStore = "wrong-store"
        case storeDegraded = "store-degraded"
        case storeCorrupt = "image-damaged"
        case badRequest = "bad-request"
        case unknownVerb = "unknown-verb"
        case draining = "agent-draining"
        case cancelled = "cancelled"
        case `internal` = "internal"

        /// Reads a code; an unknown one becomes `internal`.
        package init(from decoder: any Decoder) throws {
            let text = try decoder.singleValueContainer().decode(String.self)
            self = Code(rawValue: text) ?? .internal
        }
    }
}
