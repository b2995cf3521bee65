import Model

/// What the driver of a server machine must do, in order.
package enum ServerAction: Sendable, Equatable {
    /// Send this.
    case send(Frame)
    /// The hellos are done.
    case ready(Hello, ProtocolVersion)
    /// Begin to answer a request: its number, its JSON, and whether data follows.
    case start(exchange: UInt64, body: [UInt8], dataFollows: Bool)
    /// A piece of data for the handler that runs.
    case data([UInt8])
    /// All data has come.
    case dataEnded
    /// The asker withdrew: stop, and end the exchange.
    case cancelled
    /// Close the connection: the peer broke the protocol.
    case violation(WireError)
    /// Close the connection: nothing was heard in time; words for people.
    case timeout(String)
}

/// The answering end of a connection, without I/O and without a clock. Times are since any fixed moment.
package struct ServerMachine: Sendable {
    private enum State: Sendable, Equatable {
        case expectsHello, idle
        /// A handler runs; `takesData` until `end` or `cancel`.
        case running(takesData: Bool)
        /// The handler ended before the data did: the rest is thrown away until `end` or `cancel`.
        case discarding
        case closed
    }

    private let hello: Hello
    private let peer: PeerIdentity
    private let startedAt: Duration
    private var state = State.expectsHello
    private var exchange: UInt64 = 0
    private var isCancelled = false
    private var heardAt: Duration

    /// Creates the machine of a fresh connection from `peer`.
    package init(hello: Hello, peer: PeerIdentity, now: Duration) {
        self.hello = hello
        self.peer = peer
        startedAt = now
        heardAt = now
    }

    /// Whether no exchange runs.
    package var isIdle: Bool { state == .idle }

    /// The connection is there.
    package func connected() -> [ServerAction] { [.send(hello.frame())] }

    /// The driver held a frame back and reads again: the silence was not the peer's.
    package mutating func unhold(now: Duration) { heardAt = now }

    /// A frame came.
    package mutating func received(_ frame: Frame, now: Duration) -> [ServerAction] {
        heardAt = now
        switch (state, frame.kind) {
        case (.closed, _): return []
        case (.expectsHello, .hello): return greeted(frame)
        case (.expectsHello, _): return violated(.unexpected(frame.kind, during: "waiting for a hello"))
        case (_, .ping): return [.send(Frame(.pong))]
        case (_, .pong): return []
        case (.idle, .request):
            guard frame.exchange > exchange else { return wrongExchange(frame) }
            exchange = frame.exchange
            isCancelled = false
            let dataFollows = frame.flags & Frame.dataFollows != 0
            state = .running(takesData: dataFollows)
            return [.start(exchange: exchange, body: frame.payload, dataFollows: dataFollows)]
        case (.idle, .cancel), (.idle, .data), (.idle, .end):
            // They crossed our answer.
            return frame.exchange == exchange ? [] : wrongExchange(frame)
        case (.running(takesData: true), .data), (.running(takesData: true), .end):
            guard frame.exchange == exchange else { return wrongExchange(frame) }
            if frame.kind == .data { return [.data(frame.payload)] }
            state = .running(takesData: false)
            return [.dataEnded]
        case (.running, .cancel):
            guard frame.exchange == exchange else { return wrongExchange(frame) }
            guard !isCancelled else { return violated(.unexpected(.cancel, during: "cancelling")) }
            isCancelled = true
            state = .running(takesData: false)
            return [.cancelled]
        case (.discarding, .data), (.discarding, .end), (.discarding, .cancel):
            guard frame.exchange == exchange else { return wrongExchange(frame) }
            if frame.kind != .data { state = .idle }
            return []
        default: return violated(.unexpected(frame.kind, during: words))
        }
    }

    /// The handler says where it stands; nothing when the exchange is over.
    package func progress(_ body: [UInt8], of number: UInt64) -> [ServerAction] {
        isRunning(number) ? [.send(Frame(.progress, exchange: exchange, payload: body))] : []
    }

    /// The handler gives a piece of data; nothing when the exchange is over.
    package func data(_ bytes: [UInt8], of number: UInt64) -> [ServerAction] {
        isRunning(number) ? [.send(Frame(.data, exchange: exchange, payload: bytes))] : []
    }

    /// The handler ends the exchange with a reply or a failure, in JSON.
    package mutating func finish(_ kind: FrameKind, _ body: [UInt8], of number: UInt64) -> [ServerAction] {
        precondition(kind == .reply || kind == .failure)
        guard isRunning(number) else { return [] }
        state = state == .running(takesData: true) ? .discarding : .idle
        return [.send(Frame(kind, exchange: exchange, payload: body))]
    }

    /// Time went by. Not to be called while the driver itself holds a frame back.
    package mutating func tick(now: Duration) -> [ServerAction] {
        switch state {
        case .closed: return []
        case .expectsHello where now - startedAt >= WireLimits.handshakeMax:
            state = .closed
            return [.timeout("no hello in time")]
        case _ where now - heardAt >= WireLimits.serverSilenceMax:
            state = .closed
            return [.timeout("nothing was heard for \(WireLimits.serverSilenceMax.components.seconds) s")]
        default: return []
        }
    }

    /// When `tick` has something to do next; nil when never.
    package var deadline: Duration? {
        switch state {
        case .closed: nil
        case .expectsHello: startedAt + WireLimits.handshakeMax
        default: heardAt + WireLimits.serverSilenceMax
        }
    }

    private func isRunning(_ number: UInt64) -> Bool {
        guard case .running = state else { return false }
        return number == exchange
    }

    private var words: String {
        switch state {
        case .expectsHello: "waiting for a hello"
        case .idle: "idle"
        case .running: "an exchange runs"
        case .discarding: "data is thrown away"
        case .closed: "closed"
        }
    }

    private mutating func greeted(_ frame: Frame) -> [ServerAction] {
        do throws(WireError) {
            let theirs = try Hello(payload: frame.payload)
            guard theirs.identity == peer else {
                throw .badHello("it says \(theirs.identity), its certificate says \(peer)")
            }
            let version = try hello.agreed(with: theirs)
            state = .idle
            return [.ready(theirs, version)]
        } catch { return violated(error) }
    }

    private mutating func wrongExchange(_ frame: Frame) -> [ServerAction] {
        violated(.badExchange(found: frame.exchange, expected: exchange))
    }

    private mutating func violated(_ error: WireError) -> [ServerAction] {
        state = .closed
        return [.violation(error)]
    }
}
