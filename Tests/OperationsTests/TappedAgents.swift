import AgentLink
import Wire

/// The real calls to agents, with what a test taps around them. Names are those of the verbs, and `forget`.
final class TappedAgents: AgentCalls {
    let taps: Taps<AgentLinkError>
    private let calls: AgentConnections

    init(_ calls: AgentConnections, _ taps: Taps<AgentLinkError>) {
        self.calls = calls
        self.taps = taps
    }

    func call<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, silenceMax: Duration,
        onProgress: @escaping @Sendable (VerbProgress) -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        try await taps.around(V.name) { () throws(AgentLinkError) in
            try await calls.call(verb, to: agent, silenceMax: silenceMax, onProgress: onProgress)
        }
    }

    func send<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(AgentLinkError) -> V.Reply {
        try await taps.around(V.name) { () throws(AgentLinkError) in
            try await calls.send(verb, to: agent, nextPiece: nextPiece)
        }
    }

    func receive<V: AgentVerb>(
        _ verb: V, from agent: AgentAddress, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        try await taps.around(V.name) { () throws(AgentLinkError) in
            try await calls.receive(verb, from: agent, onPiece: onPiece)
        }
    }

    func forget(_ agent: AgentAddress) async { await calls.forget(agent) }

    func close() async { await calls.close() }
}
