import NIOCore
import NIOHTTPTypes
import Synchronization

/// Counts connections by address and lets no address have more than its share.
package final class ConnectionCounter: Sendable {
    private struct State: Sendable {
        var all = 0
        var byAddress: [String: Int] = [:]
    }

    private let state = Mutex(State())
    private let perAddressMax: Int
    private let inAllMax: Int

    /// A counter with the standard bounds, or others for a test.
    package init(
        perAddressMax: Int = ConnectionLimits.perAddressMax, inAllMax: Int = ConnectionLimits.inAllMax
    ) {
        self.perAddressMax = perAddressMax
        self.inAllMax = inAllMax
    }

    /// Takes a place; false: there is none left.
    package func enter(_ address: String) -> Bool {
        state.withLock { state in
            guard state.all < inAllMax, state.byAddress[address, default: 0] < perAddressMax else { return false }
            state.all += 1
            state.byAddress[address, default: 0] += 1
            return true
        }
    }

    /// Gives a place back.
    package func leave(_ address: String) {
        state.withLock { state in
            state.all -= 1
            let rest = state.byAddress[address, default: 1] - 1
            state.byAddress[address] = rest > 0 ? rest : nil
        }
    }
}

/// Judges by the clock whether a client is too slow. Values in, a verdict out; no I/O.
/// Time counts against the client only while the controller waits for it: for a request's head, for body bytes that were
/// asked for, or for the client to take bytes of an answer.
package struct PaceWatch: Sendable {
    /// What is waited for.
    package enum Waiting: Equatable, Sendable {
        case nothing
        case head
        case body
        case answer
    }

    private let window: TimeAmount
    private let idleMax: TimeAmount
    private let byteCountMin: Int
    private var waiting = Waiting.head
    /// What was waited for last, beside nothing.
    private var kind = Waiting.head
    private var since: NIODeadline
    /// Time that was waited for this kind before `since`, and bytes that moved in it.
    private var spent = TimeAmount.zero
    private var byteCount = 0

    /// A watch over a connection that was just opened.
    package init(
        now: NIODeadline, window: TimeAmount = ConnectionLimits.rateWindow,
        idleMax: TimeAmount = ConnectionLimits.idleMax, byteCountMin: Int = ConnectionLimits.windowByteCountMin
    ) {
        since = now
        self.window = window
        self.idleMax = idleMax
        self.byteCountMin = byteCountMin
    }

    /// What is waited for changed. A pause of the controller's own ends no window: who sends a byte at a time must not
    /// begin a new one with each. Between requests a client may be idle as often as it likes.
    package mutating func wait(for waiting: Waiting, now: NIODeadline) {
        guard waiting != self.waiting else { return }
        if self.waiting != .nothing { spent = spent + (now - since) }
        self.waiting = waiting
        since = now
        guard waiting != .nothing else { return }
        if waiting != kind || waiting == .head {
            spent = .zero
            byteCount = 0
        }
        kind = waiting
    }

    /// Bytes came or went.
    package mutating func moved(_ count: Int, now: NIODeadline) {
        byteCount += count
        guard byteCount >= byteCountMin else { return }
        since = now
        spent = .zero
        byteCount = 0
    }

    /// Whether the client was too slow for too long.
    package func isTooSlow(now: NIODeadline) -> Bool {
        switch waiting {
        case .nothing: false
        case .head: now - since > idleMax
        case .body, .answer: spent + (now - since) > window
        }
    }
}

/// Closes connections of clients that send or take too slowly, and refuses those of an address that has too many.
/// Source: docs/security.md, "slow clients".
package final class PaceHandler: ChannelDuplexHandler, RemovableChannelHandler {
    package typealias InboundIn = HTTPRequestPart
    package typealias InboundOut = HTTPRequestPart
    package typealias OutboundIn = HTTPResponsePart
    package typealias OutboundOut = HTTPResponsePart

    private let counter: ConnectionCounter
    private var watch = PaceWatch(now: .now())
    private var loop: (any EventLoop)?
    private var address: String?
    private var check: Scheduled<Void>?
    private var isInRequest = false
    private var isInBody = false
    private var isReadAwaited = false
    private var waitingWriteCount = 0

    /// A handler for one connection.
    package init(counter: ConnectionCounter) { self.counter = counter }

    /// The time of the connection's own loop.
    private var now: NIODeadline { loop?.now ?? .now() }

    package func handlerAdded(context: ChannelHandlerContext) {
        let address = context.channel.remoteAddress?.ipAddress ?? "-"
        guard counter.enter(address) else {
            context.close(promise: nil)
            return
        }
        self.address = address
        loop = context.eventLoop
        watch = PaceWatch(now: now)
        schedule(context)
    }

    package func handlerRemoved(context: ChannelHandlerContext) { leave() }

    package func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            isInRequest = true
            isInBody = true
        case .body(let buffer): watch.moved(buffer.readableBytes, now: now)
        case .end: isInBody = false
        }
        isReadAwaited = false
        update()
        context.fireChannelRead(data)
    }

    package func read(context: ChannelHandlerContext) {
        isReadAwaited = true
        update()
        context.read()
    }

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let byteCount: Int
        switch unwrapOutboundIn(data) {
        case .head: byteCount = 0
        case .body(let buffer): byteCount = buffer.readableBytes
        case .end:
            byteCount = 0
            isInRequest = false
        }
        waitingWriteCount += 1
        update()
        let written = promise ?? context.eventLoop.makePromise()
        let box = NIOLoopBound(self, eventLoop: context.eventLoop)
        written.futureResult.whenComplete { _ in box.value.wrote(byteCount) }
        context.write(data, promise: written)
    }

    private func wrote(_ byteCount: Int) {
        waitingWriteCount -= 1
        // A small answer that went out whole is progress enough.
        watch.moved(waitingWriteCount == 0 ? ConnectionLimits.windowByteCountMin : byteCount, now: now)
        update()
    }

    private func update() {
        let waiting: PaceWatch.Waiting
        if waitingWriteCount > 0 {
            waiting = .answer
        } else if isInBody, isReadAwaited {
            waiting = .body
        } else {
            waiting = isInRequest || isInBody ? .nothing : .head
        }
        watch.wait(for: waiting, now: now)
    }

    private func schedule(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        check = context.eventLoop.scheduleTask(in: ConnectionLimits.checkInterval) {
            let (handler, context) = bound.value
            guard handler.address != nil else { return }
            if handler.watch.isTooSlow(now: handler.now) {
                context.close(promise: nil)
            } else {
                handler.schedule(context)
            }
        }
    }

    private func leave() {
        check?.cancel()
        check = nil
        guard let address else { return }
        self.address = nil
        counter.leave(address)
    }
}
