import Model
import Synchronization
import Wire

/// What an exchange needs of its caller.
struct Exchange: Sendable {
    var body: [UInt8]
    var silence: ClientMachine.Silence
    var onProgress: @Sendable (VerbProgress) -> Void = { _ in }
    var onPiece: (@Sendable ([UInt8]) async throws -> Void)?
    var nextPiece: (@Sendable () async throws -> [UInt8]?)?
}

/// One connection to an agent; one exchange at a time.
final class AgentConnection: Sendable {
    private enum Outcome: Sendable {
        case ready
        case reply([UInt8])
        case failure([UInt8])
    }

    private enum Event: Sendable {
        case heard(Result<Outcome, AgentLinkError>)
        case sent(SendEnd)
        case silent(AgentLinkError?)
    }

    private enum SendEnd: Sendable { case done, callerWithdrew }

    private let link: any Link
    private let machine: Mutex<ClientMachine>
    private let time: MonotonicClock

    private init(link: any Link, hello: Hello, time: MonotonicClock) {
        self.link = link
        self.time = time
        machine = Mutex(ClientMachine(hello: hello, peer: link.peer, now: time.now()))
    }

    /// Greets the agent at the other end of a fresh link.
    static func greet(_ link: any Link, hello: Hello, time: MonotonicClock) async throws(AgentLinkError)
        -> AgentConnection
    {
        let connection = AgentConnection(link: link, hello: hello, time: time)
        do throws(AgentLinkError) {
            _ = try await connection.drive(Exchange(body: [], silence: .ofLink(WireLimits.handshakeMax)), asks: false)
            return connection
        } catch {
            link.close()
            throw error
        }
    }

    /// Whether another exchange may be asked.
    var isUsable: Bool { machine.withLock { $0.isIdle } }

    /// Closes the connection.
    func close() { link.close() }

    /// Waits until something comes on an idle connection, which means that it is over. Cancel the task to use it again.
    func watchIdle() async -> Bool {
        do throws(LinkError) {
            _ = try await link.receive()
            return false
        } catch { return error == .cancelled }
    }

    /// Runs an exchange and answers the JSON of its reply.
    func run(_ exchange: Exchange) async throws(AgentLinkError) -> [UInt8] {
        switch try await drive(exchange, asks: true) {
        case .reply(let body): return body
        case .failure(let body): throw .failed(try AgentConnection.decoded(AgentFailure.self, body))
        case .ready: throw .protocolViolation("a second hello")
        }
    }

    static func decoded<T: Decodable>(_ type: T.Type, _ body: [UInt8]) throws(AgentLinkError) -> T {
        do throws(WireError) { return try Messages.decode(type, from: body) } catch {
            throw .protocolViolation("\(error)")
        }
    }

    /// Sends what begins, then runs the receiver, the sender and the watch of silence beside each other.
    private func drive(_ exchange: Exchange, asks: Bool) async throws(AgentLinkError) -> Outcome {
        let now = time.now()
        let first = machine.withLock { machine in
            asks
                ? machine.ask(
                    exchange.body, sendsData: exchange.nextPiece != nil, silence: exchange.silence, now: now)
                : machine.connected()
        }
        let result = await withTaskGroup(of: Event.self, returning: Result<Outcome, AgentLinkError>.self) { group in
            let (asked, hasAsked) = AsyncStream.makeStream(of: Never.self)
            group.addTask { await .heard(self.hear(exchange, first: first, hasAsked: hasAsked)) }
            group.addTask { await .silent(self.watchSilence()) }
            if let nextPiece = exchange.nextPiece {
                group.addTask {
                    // The agent takes no data before the request: two tasks that send have no order of their own.
                    for await _ in asked {}
                    return await .sent(self.sendPieces(nextPiece))
                }
            }
            var hasWithdrawn = false
            for await event in group {
                switch event {
                case .heard(let result):
                    group.cancelAll()
                    return hasWithdrawn ? .failure(.cancelled) : result
                case .silent(let error?):
                    link.close()
                    group.cancelAll()
                    return .failure(hasWithdrawn ? .cancelled : error)
                case .sent(.callerWithdrew):
                    // The end of the exchange is awaited, so that what the agent keeps is settled when this returns.
                    hasWithdrawn = true
                    await withdraw()
                case .sent(.done), .silent(nil): continue
                }
            }
            return .failure(.cancelled)
        }
        if case .failure = result, !isUsable { link.close() }
        return try result.get()
    }

    private func hear(
        _ exchange: Exchange, first: [ClientAction], hasAsked: AsyncStream<Never>.Continuation
    ) async -> Result<Outcome, AgentLinkError> {
        defer { hasAsked.finish() }
        do throws(AgentLinkError) {
            var hasWithdrawn = false
            for action in first { _ = try await perform(action, exchange, &hasWithdrawn) }
            hasAsked.finish()
            while true {
                guard let frame = try await received() else {
                    throw .unreachable("the agent closed the connection")
                }
                let now = time.now()
                for action in machine.withLock({ $0.received(frame, now: now) }) {
                    guard let outcome = try await perform(action, exchange, &hasWithdrawn) else { continue }
                    if hasWithdrawn { throw .cancelled }
                    return .success(outcome)
                }
            }
        } catch { return .failure(error) }
    }

    private func perform(_ action: ClientAction, _ exchange: Exchange, _ hasWithdrawn: inout Bool)
        async throws(AgentLinkError) -> Outcome?
    {
        switch action {
        case .send(let frame):
            do throws(LinkError) { try await link.send(frame) } catch {
                // What the agent said before it closed is still to be read; only then is the cut the reason.
                if frame.kind == .hello || frame.kind == .request { throw AgentLinkError(error) }
            }
        case .ready: return .ready
        case .progress(let body):
            exchange.onProgress(try AgentConnection.decoded(VerbProgress.self, body))
        case .data(let piece):
            guard let onPiece = exchange.onPiece else { throw .protocolViolation("data that was not asked for") }
            machine.withLock { $0.hold() }
            do { try await onPiece(piece) } catch {
                hasWithdrawn = true
                await withdraw()
            }
            let now = time.now()
            machine.withLock { $0.unhold(now: now) }
        case .reply(let body): return .reply(body)
        case .failure(let body): return .failure(body)
        case .violation(.noCommonVersion(let words)): throw .noCommonVersion(words)
        case .violation(let error): throw .protocolViolation("\(error)")
        case .timeout(let words): throw .timeout(words)
        }
        return nil
    }

    private func received() async throws(AgentLinkError) -> Frame? {
        do throws(LinkError) { return try await link.receive() } catch { throw AgentLinkError(error) }
    }

    /// Tells the agent that the caller wants no more.
    private func withdraw() async {
        let now = time.now()
        await carryOut(machine.withLock { $0.cancel(now: now) })
    }

    private func sendPieces(_ nextPiece: @Sendable () async throws -> [UInt8]?) async -> SendEnd {
        while true {
            let piece: [UInt8]?
            do { piece = try await nextPiece() } catch { return .callerWithdrew }
            let actions = machine.withLock { machine in
                piece.map { machine.piece($0) } ?? machine.endData()
            }
            // No action: the exchange has ended meanwhile, and its reply or failure says how.
            guard !actions.isEmpty else { return .done }
            await carryOut(actions)
            if piece == nil { return .done }
        }
    }

    private func watchSilence() async -> AgentLinkError? {
        while !Task.isCancelled {
            guard let deadline = machine.withLock({ $0.deadline }) else { return nil }
            // At least a little: a deadline in the past must not spin.
            await time.sleep(max(.milliseconds(5), deadline - time.now()))
            let now = time.now()
            for action in machine.withLock({ $0.tick(now: now) }) {
                if case .timeout(let words) = action { return .timeout(words) }
                await carryOut([action])
            }
        }
        return nil
    }

    /// Sends; that the link is cut shows at the receiver.
    private func carryOut(_ actions: [ClientAction]) async {
        for case .send(let frame) in actions {
            do throws(LinkError) { try await link.send(frame) } catch { return }
        }
    }
}

extension AgentLinkError {
    /// The link's error in the words of this room.
    init(_ error: LinkError) {
        self =
            switch error {
            case .unreachable(let words), .closed(let words): .unreachable(words)
            case .untrusted(let words): .wrongIdentity(words)
            case .wire(.noCommonVersion(let words)): .noCommonVersion(words)
            case .wire(let error): .protocolViolation("\(error)")
            case .timeout(let words): .timeout(words)
            case .cancelled: .cancelled
            }
    }
}
