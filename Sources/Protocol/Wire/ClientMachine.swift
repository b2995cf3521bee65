import Model

/// What the driver of a client machine must do, in order.
package enum ClientAction: Sendable, Equatable {
    /// Send this.
    case send(Frame)
    /// The hellos are done: requests may be asked.
    case ready(Hello, ProtocolVersion)
    /// Hand on a progress, in JSON.
    case progress([UInt8])
    /// Hand on a piece of data.
    case data([UInt8])
    /// The exchange ended with a reply, in JSON.
    case reply([UInt8])
    /// The exchange ended with a failure, in JSON.
    case failure([UInt8])
    /// Close the connection: the peer broke the protocol.
    case violation(WireError)
    /// Close the connection: nothing was heard in time; words for people.
    case timeout(String)
}

/// The asking end of a connection, without I/O and without a clock: one exchange at a time, so that TCP itself holds
/// back whoever is too quick. Times are since any fixed moment.
package struct ClientMachine: Sendable {
    private enum State: Sendable, Equatable {
        case expectsHello, idle, asking, cancelling, closed
    }

    /// How the end of silence is found.
    package enum Silence: Sendable, Equatable {
        /// Only frames of the exchange count: a peer that answers pings but not the request is not waited for.
        case ofExchange(Duration)
        /// Pongs count too: they come behind the data, so they show that data is taken.
        case ofLink(Duration)
    }

    private let hello: Hello
    private let peer: PeerIdentity
    private let startedAt: Duration
    private var state = State.expectsHello
    private var exchange: UInt64 = 0
    private var isSending = false
    private var isHeld = false
    private var silence = Silence.ofExchange(.zero)
    private var heardAt: Duration
    private var anyHeardAt: Duration
    private var pingedAt: Duration
    private var cancelledAt = Duration.zero

    /// Creates the machine of a fresh connection to `peer`.
    package init(hello: Hello, peer: PeerIdentity, now: Duration) {
        self.hello = hello
        self.peer = peer
        startedAt = now
        heardAt = now
        anyHeardAt = now
        pingedAt = now
    }

    /// Whether a request may be asked now.
    package var isIdle: Bool { state == .idle }
    /// Whether the connection has to end.
    package var isClosed: Bool { state == .closed }

    /// The connection is there.
    package func connected() -> [ClientAction] { [.send(hello.frame())] }

    /// Asks; the machine must be idle. `sendsData`: data and `end` follow.
    package mutating func ask(_ body: [UInt8], sendsData: Bool, silence: Silence, now: Duration) -> [ClientAction] {
        precondition(state == .idle, "one exchange at a time")
        state = .asking
        exchange += 1
        isSending = sendsData
        self.silence = silence
        heardAt = now
        anyHeardAt = now
        pingedAt = now
        return [.send(Frame(.request, exchange: exchange, flags: sendsData ? Frame.dataFollows : 0, payload: body))]
    }

    /// Sends a piece of data; nothing when the exchange has ended meanwhile.
    package mutating func piece(_ bytes: [UInt8]) -> [ClientAction] {
        guard state == .asking, isSending else { return [] }
        return [.send(Frame(.data, exchange: exchange, payload: bytes))]
    }

    /// No more data.
    package mutating func endData() -> [ClientAction] {
        guard state == .asking, isSending else { return [] }
        isSending = false
        return [.send(Frame(.end, exchange: exchange))]
    }

    /// Withdraws; the exchange still ends with a reply or a failure.
    package mutating func cancel(now: Duration) -> [ClientAction] {
        guard state == .asking else { return [] }
        state = .cancelling
        cancelledAt = now
        isSending = false
        return [.send(Frame(.cancel, exchange: exchange))]
    }

    /// The driver itself holds a piece back (its taker is slow): silence is not the peer's.
    package mutating func hold() { isHeld = true }

    /// The driver reads again.
    package mutating func unhold(now: Duration) {
        isHeld = false
        heardAt = now
        anyHeardAt = now
    }

    /// A frame came.
    package mutating func received(_ frame: Frame, now: Duration) -> [ClientAction] {
        guard state != .closed else { return [] }
        anyHeardAt = now
        switch (state, frame.kind) {
        case (.expectsHello, .hello): return greeted(frame)
        case (.expectsHello, _): return violated(.unexpected(frame.kind, during: "waiting for a hello"))
        case (_, .ping): return [.send(Frame(.pong))]
        case (_, .pong): return []
        case (.asking, .progress), (.asking, .data), (.cancelling, .progress), (.cancelling, .data):
            guard frame.exchange == exchange else { return wrongExchange(frame) }
            guard !(isSending && frame.kind == .data) else {
                return violated(.unexpected(.data, during: "sending data"))
            }
            heardAt = now
            if state == .cancelling { return [] }
            return [frame.kind == .progress ? .progress(frame.payload) : .data(frame.payload)]
        case (.asking, .reply), (.asking, .failure), (.cancelling, .reply), (.cancelling, .failure):
            guard frame.exchange == exchange else { return wrongExchange(frame) }
            return finished(frame)
        default:
            return violated(.unexpected(frame.kind, during: state == .idle ? "idle" : "an exchange runs"))
        }
    }

    /// Time went by; call it when `deadline` has come, or more often.
    package mutating func tick(now: Duration) -> [ClientAction] {
        switch state {
        case .closed, .idle: return []
        case .expectsHello:
            guard now - startedAt >= WireLimits.handshakeMax else { return [] }
            return timedOut("no hello from the agent in time")
        case .cancelling:
            guard now - cancelledAt >= WireLimits.cancelMax else { return [] }
            return timedOut("no end of a cancelled exchange in time")
        case .asking:
            switch silence {
            case _ where isHeld: break
            case .ofExchange(let max) where now - heardAt >= max:
                return timedOut("no answer and no progress for \(max.components.seconds) s")
            case .ofLink(let max) where now - anyHeardAt >= max:
                return timedOut("nothing was heard for \(max.components.seconds) s")
            default: break
            }
            guard now - (isHeld ? pingedAt : max(anyHeardAt, pingedAt)) >= WireLimits.pingAfter else { return [] }
            pingedAt = now
            return [.send(Frame(.ping))]
        }
    }

    /// When `tick` has something to do next; nil when never.
    package var deadline: Duration? {
        switch state {
        case .closed, .idle: nil
        case .expectsHello: startedAt + WireLimits.handshakeMax
        case .cancelling: cancelledAt + WireLimits.cancelMax
        case .asking where isHeld: pingedAt + WireLimits.pingAfter
        case .asking:
            switch silence {
            case .ofExchange(let max): min(heardAt + max, Swift.max(anyHeardAt, pingedAt) + WireLimits.pingAfter)
            case .ofLink(let max): min(anyHeardAt + max, Swift.max(anyHeardAt, pingedAt) + WireLimits.pingAfter)
            }
        }
    }

    private mutating func greeted(_ frame: Frame) -> [ClientAction] {
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

    private mutating func finished(_ frame: Frame) -> [ClientAction] {
        // The answer came before all data was sent: the agent throws the rest away until it hears this.
        let withdrawal: [ClientAction] = isSending ? [.send(Frame(.cancel, exchange: exchange))] : []
        isSending = false
        state = .idle
        return withdrawal + [frame.kind == .reply ? .reply(frame.payload) : .failure(frame.payload)]
    }

    private mutating func wrongExchange(_ frame: Frame) -> [ClientAction] {
        violated(.badExchange(found: frame.exchange, expected: exchange))
    }

    private mutating func violated(_ error: WireError) -> [ClientAction] {
        state = .closed
        return [.violation(error)]
    }

    private mutating func timedOut(_ words: String) -> [ClientAction] {
        state = .closed
        return [.timeout(words)]
    }
}
