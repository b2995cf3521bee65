// AgentLink: the agents as typed functions.
//
// Hides: connections, their pool, reconnection and the handshake.
// Invariants: an agent is known by the identity in its certificate, not by its address; a call that was
// cut says so, and may be made again because every verb is idempotent.
// Is not: aware of jobs or of the inventory.
import Model
import Wire

/// Where an agent is and who it must be.
package struct AgentAddress: Sendable, Hashable {
    /// The storage that the agent serves; it is the UUID in its certificate.
    package var identity: ImageStorageID
    /// The host's management address: an IP address or a DNS name.
    package var host: String
    /// Its port.
    package var port: Int

    /// Creates an address.
    package init(identity: ImageStorageID, host: String, port: Int) {
        self.identity = identity
        self.host = host
        self.port = port
    }
}

/// Why a call did not give its reply.
package enum AgentLinkError: Error, Sendable, Equatable {
    /// No connection could be made, or it was cut; words for people.
    case unreachable(String)
    /// The one who answered is not the agent that was meant.
    case wrongIdentity(String)
    /// The two speak no common version.
    case noCommonVersion(String)
    /// No answer and no progress in time.
    case timeout(String)
    /// The agent answered that it did not do it.
    case failed(AgentFailure)
    /// The peer broke the protocol.
    case protocolViolation(String)
    /// The caller withdrew.
    case cancelled

    /// Whether making the call again may succeed without a change.
    package var isRetryable: Bool {
        switch self {
        case .unreachable, .timeout: true
        case .failed(let failure): failure.isRetryable
        case .wrongIdentity, .noCommonVersion, .protocolViolation, .cancelled: false
        }
    }
}

/// The agents, as Operations sees them.
package protocol AgentCalls: Sendable {
    /// Asks a verb that moves no data. `silenceMax` bounds the time without any frame (progress counts).
    func call<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, silenceMax: Duration,
        onProgress: @escaping @Sendable (VerbProgress) -> Void
    ) async throws(AgentLinkError) -> V.Reply

    /// Asks a verb that takes data: `nextPiece` is asked for piece after piece (at most 1 MiB each) until it answers nil.
    /// Back-pressure: the next piece is asked for when the last one left. An error of `nextPiece` cuts the exchange and
    /// is thrown as `.cancelled`; what arrived is kept.
    func send<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(AgentLinkError) -> V.Reply

    /// Asks a verb that gives data: `onPiece` is called for piece after piece, and awaited. An error of `onPiece` cuts the
    /// exchange and is thrown as `.cancelled`.
    func receive<V: AgentVerb>(
        _ verb: V, from agent: AgentAddress, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(AgentLinkError) -> V.Reply

    /// Closes idle connections to an agent (its address or identity changed).
    func forget(_ agent: AgentAddress) async
}

extension AgentCalls {
    /// Asks a verb that is answered at once.
    package func call<V: AgentVerb>(_ verb: V, to agent: AgentAddress) async throws(AgentLinkError) -> V.Reply {
        try await call(verb, to: agent, silenceMax: .seconds(10), onProgress: { _ in })
    }
}
