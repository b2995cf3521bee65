import Synchronization

/// What a handler answers.
package enum Answer: Sendable, Equatable {
    /// A reply, in JSON.
    case reply([UInt8])
    /// Why it was not done.
    case failure(AgentFailure)
}

/// Answers the requests that come over links, one at a time on each.
package final class LinkServer: Sendable {
    /// Answers a request; runs in a task that is cancelled when the link is cut.
    package typealias Handler = @Sendable (IncomingRequest) async -> Answer

    private struct State {
        var connections: [UInt64: LinkConnection] = [:]
        var next: UInt64 = 0
        var isDraining = false
    }

    private let hello: Hello
    private let time: MonotonicClock
    private let handler: Handler
    private let state = Mutex(State())

    /// Creates a server that greets with `hello`.
    package init(hello: Hello, time: MonotonicClock, handler: @escaping Handler) {
        self.hello = hello
        self.time = time
        self.handler = handler
    }

    /// Serves a link until it ends; the link is closed then.
    /// - Returns: why it ended: nil when the other end closed it in order.
    package func serve(_ link: any Link) async -> LinkError? {
        let connection = LinkConnection(link: link, hello: hello, time: time, handler: handler)
        let number = state.withLock { state -> UInt64? in
            guard !state.isDraining else { return nil }
            state.next += 1
            state.connections[state.next] = connection
            return state.next
        }
        guard let number else {
            link.close()
            return .closed("this end is ending")
        }
        let end = await connection.run()
        state.withLock { $0.connections[number] = nil }
        return end
    }

    /// Takes no new request: idle links are closed, the others when their exchange has ended.
    package func drain() {
        let connections = state.withLock { state in
            state.isDraining = true
            return Array(state.connections.values)
        }
        for connection in connections { connection.drain() }
    }

    /// The links that are served at this moment.
    package var connectionCount: Int { state.withLock { $0.connections.count } }
}

/// A request, and the way to its asker.
package final class IncomingRequest: Sendable {
    /// The verb's name.
    package let verb: String
    /// The request's JSON.
    package let body: [UInt8]
    /// Whether pieces of data follow.
    package let dataFollows: Bool
    let number: UInt64
    let pieces = PieceBox()
    private let connection: LinkConnection
    private let end = Mutex<(isOver: Bool, onEnd: (@Sendable () -> Void)?)>((false, nil))

    init(verb: String, body: [UInt8], dataFollows: Bool, number: UInt64, connection: LinkConnection) {
        self.verb = verb
        self.body = body
        self.dataFollows = dataFollows
        self.number = number
        self.connection = connection
    }

    /// Whether the asker withdrew or the link was cut: nobody waits for the answer.
    package var isOver: Bool { end.withLock { $0.isOver } }

    /// The arguments.
    package func arguments<V: AgentVerb>(of type: V.Type) throws(WireError) -> V {
        try Messages.arguments(of: type, from: body)
    }

    /// The next piece of data; nil when all came.
    package func nextPiece() async throws(RequestEnd) -> [UInt8]? { try await pieces.take() }

    /// Says where the verb stands; to be awaited before the answer. Nothing happens when the asker has gone.
    package func report(_ progress: VerbProgress) async {
        guard !isOver else { return }
        await connection.report(progress, of: self)
    }

    /// Sends a piece of data of at most 1 MiB; returns when there is room for another.
    package func send(_ piece: [UInt8]) async throws(RequestEnd) {
        guard !isOver else { throw .cancelled }
        try await connection.send(piece, of: self)
    }

    /// Runs `action` when the asker goes away, at once if it has gone; nil takes it back.
    package func onEnd(_ action: (@Sendable () -> Void)?) {
        let runs = end.withLock { end in
            end.onEnd = action
            return end.isOver
        }
        if runs { action?() }
    }

    func finish(_ why: RequestEnd) {
        let action = end.withLock { end in
            defer { end = (true, nil) }
            return end.onEnd
        }
        pieces.finish(.failure(why))
        action?()
    }
}

/// One served link.
final class LinkConnection: Sendable {
    private struct State {
        var machine: ServerMachine
        var running: IncomingRequest?
        var isHeld = false
        var isDraining = false
    }

    private let link: any Link
    private let time: MonotonicClock
    private let handler: LinkServer.Handler
    private let state: Mutex<State>

    init(link: any Link, hello: Hello, time: MonotonicClock, handler: @escaping LinkServer.Handler) {
        self.link = link
        self.time = time
        self.handler = handler
        state = Mutex(State(machine: ServerMachine(hello: hello, peer: link.peer, now: time.now())))
    }

    func run() async -> LinkError? {
        await withTaskGroup(of: Void.self, returning: LinkError?.self) { group in
            group.addTask { await self.watchSilence() }
            let end = await read(in: &group)
            let running = state.withLock { $0.running }
            running?.finish(.cut)
            link.close()
            group.cancelAll()
            return end
        }
    }

    func drain() {
        let isIdle = state.withLock { state in
            state.isDraining = true
            return state.running == nil
        }
        if isIdle { link.close() }
    }

    private func read(in group: inout TaskGroup<Void>) async -> LinkError? {
        do throws(LinkError) {
            for action in state.withLock({ $0.machine.connected() }) { try await perform(action, in: &group) }
            while let frame = try await link.receive() {
                let now = time.now()
                for action in state.withLock({ $0.machine.received(frame, now: now) }) {
                    try await perform(action, in: &group)
                }
            }
            return nil
        } catch { return error }
    }

    private func perform(_ action: ServerAction, in group: inout TaskGroup<Void>) async throws(LinkError) {
        switch action {
        case .send(let frame): try await link.send(frame)
        case .ready: break
        case .start(let number, let body, let dataFollows):
            start(number, body, dataFollows: dataFollows, in: &group)
        case .data(let piece):
            let running = state.withLock { state in
                state.isHeld = true
                return state.running
            }
            await running?.pieces.give(piece)
            let now = time.now()
            state.withLock { state in
                state.isHeld = false
                state.machine.unhold(now: now)
            }
        case .dataEnded: state.withLock { $0.running }?.pieces.finish(.success(nil))
        case .cancelled: state.withLock { $0.running }?.finish(.cancelled)
        case .violation(let error): throw .wire(error)
        case .timeout(let words): throw .timeout(words)
        }
    }

    private func start(_ number: UInt64, _ body: [UInt8], dataFollows: Bool, in group: inout TaskGroup<Void>) {
        let verb: Result<String, WireError>
        do throws(WireError) { verb = .success(try Messages.verbName(body)) } catch { verb = .failure(error) }
        var name = ""
        if case .success(let found) = verb { name = found }
        let request = IncomingRequest(
            verb: name, body: body, dataFollows: dataFollows, number: number, connection: self)
        state.withLock { $0.running = request }
        group.addTask {
            let answer: Answer =
                switch verb {
                case .success: await self.handler(request)
                case .failure(let error): .failure(AgentFailure(code: .badRequest, detail: "\(error)"))
                }
            await self.finish(request, with: answer)
        }
    }

    private func finish(_ request: IncomingRequest, with answer: Answer) async {
        let kind: FrameKind
        let body: [UInt8]
        switch answer {
        case .reply(let bytes) where bytes.count <= WireLimits.messageByteCountMax: (kind, body) = (.reply, bytes)
        case .reply:
            (kind, body) = (
                .failure, LinkConnection.json(AgentFailure(code: .internal, detail: "the reply is too long"))
            )
        case .failure(let failure): (kind, body) = (.failure, LinkConnection.json(failure))
        }
        let (actions, closes) = state.withLock { state in
            state.running = nil
            return (state.machine.finish(kind, body, of: request.number), state.isDraining)
        }
        request.pieces.close()
        await carryOut(actions)
        if closes { link.close() }
    }

    func report(_ progress: VerbProgress, of request: IncomingRequest) async {
        let body: [UInt8]
        do throws(WireError) { body = try Messages.encode(progress) } catch { return }
        await carryOut(state.withLock { $0.machine.progress(body, of: request.number) })
    }

    func send(_ piece: [UInt8], of request: IncomingRequest) async throws(RequestEnd) {
        for case .send(let frame) in state.withLock({ $0.machine.data(piece, of: request.number) }) {
            do throws(LinkError) { try await link.send(frame) } catch { throw .cut }
        }
    }

    private func watchSilence() async {
        while !Task.isCancelled {
            guard let deadline = state.withLock({ $0.machine.deadline }) else { return }
            await time.sleep(max(.milliseconds(50), deadline - time.now()))
            let now = time.now()
            // While a piece waits for its handler nothing is read, so silence says nothing of the peer.
            let actions = state.withLock { $0.isHeld ? [] : $0.machine.tick(now: now) }
            if !actions.isEmpty { return link.close() }
        }
    }

    /// Sends; that the link is cut shows at the reader.
    private func carryOut(_ actions: [ServerAction]) async {
        for case .send(let frame) in actions {
            do throws(LinkError) { try await link.send(frame) } catch { return }
        }
    }

    private static func json(_ failure: AgentFailure) -> [UInt8] {
        var short = failure
        short.detail = String(failure.detail.prefix(4096))
        // A code and a short text can always be written.
        do throws(WireError) { return try Messages.encode(short) } catch { return Array("{}".utf8) }
    }
}
