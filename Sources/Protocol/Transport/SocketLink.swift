import Model
import NIOCore
import NIOSSL
import NIOTLS
import Wire

/// A link over a socket.
final class SocketLink: Link, Sendable {
    let peer: PeerIdentity
    private let channel: any Channel
    private let inbox: Inbox
    private let outbox: Outbox

    init(peer: PeerIdentity, channel: any Channel, inbox: Inbox, outbox: Outbox) {
        self.peer = peer
        self.channel = channel
        self.inbox = inbox
        self.outbox = outbox
    }

    func send(_ frame: Frame) async throws(LinkError) {
        let count = WireLimits.headerByteCount + frame.payload.count
        try outbox.add(count)
        var buffer = channel.allocator.buffer(capacity: count)
        buffer.writeBytes(frame.header())
        buffer.writeBytes(frame.payload)
        let promise = channel.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { [outbox] result in
            if case .failure(let error) = result { outbox.finish(.closed("\(error)")) }
            outbox.wrote(count)
        }
        channel.writeAndFlush(buffer, promise: promise)
        try await outbox.room()
    }

    func receive() async throws(LinkError) -> Frame? {
        let result = await inbox.take { [channel] in channel.read() }
        return try result.get()
    }

    func close() {
        inbox.finish(.failure(.closed("closed at this end")), drops: true)
        outbox.finish(.closed("closed at this end"))
        channel.close(promise: nil)
    }
}

/// On the event loop: bytes to frames, and the end of the handshake.
final class LinkHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var decoder = FrameDecoder()
    private let inbox = Inbox()
    private let outbox = Outbox()
    private let verdict: PeerVerdict
    private var opened: EventLoopPromise<any Link>?
    private var timer: Scheduled<Void>?

    /// `opened` is given the link after the handshake, or why there is none.
    init(verdict: PeerVerdict, opened: EventLoopPromise<any Link>) {
        self.verdict = verdict
        self.opened = opened
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .nanoseconds(WireLimits.handshakeMax.nanoseconds)
        ) { [weak self] in
            self?.fail(.timeout("the TLS handshake took too long"))
            channel.close(promise: nil)
        }
        if channel.isActive { context.read() }
    }

    func channelActive(context: ChannelHandlerContext) {
        context.read()
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? TLSUserEvent, case .handshakeCompleted(let name) = event else { return }
        guard name == CredentialBox.protocolName else {
            fail(.untrusted("the other end does not speak \(CredentialBox.protocolName)"))
            return context.close(promise: nil)
        }
        guard case .success(let peer) = verdict.value else {
            fail(.untrusted("the other end showed no certificate"))
            return context.close(promise: nil)
        }
        timer?.cancel()
        timer = nil
        opened?.succeed(SocketLink(peer: peer, channel: context.channel, inbox: inbox, outbox: outbox))
        opened = nil
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        guard opened == nil else { return context.close(promise: nil) }
        var frames: [Frame] = []
        do {
            try buffer.withUnsafeReadableBytes { try decoder.feed($0, into: &frames) }
            inbox.put(frames)
        } catch {
            inbox.put(frames)
            fail((error as? WireError).map(LinkError.wire) ?? .closed("\(error)"))
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if !inbox.isPaused { context.read() }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(LinkHandler.words(for: error, verdict: verdict))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        do throws(WireError) {
            try decoder.end()
            inbox.finish(.success(nil))
        } catch { inbox.finish(.failure(.wire(error))) }
        fail(.closed("the other end closed the connection"))
        context.fireChannelInactive()
    }

    private func fail(_ error: LinkError) {
        inbox.finish(.failure(error))
        outbox.finish(error)
        // What the check of the certificate said is the better reason.
        if case .failure(let refusal) = verdict.value { opened?.fail(refusal) } else { opened?.fail(error) }
        opened = nil
    }

    private static func words(for error: any Error, verdict: PeerVerdict) -> LinkError {
        if case .failure(let refusal) = verdict.value { return refusal }
        switch error {
        case let error as NIOSSLError where error == .uncleanShutdown:
            return .closed("the connection was cut")
        case NIOSSLError.handshakeFailed(let cause):
            return .untrusted("the TLS handshake failed: \(cause)")
        case let error as BoringSSLError:
            // With TLS 1.3 a client learns only after its own handshake that the server refused its certificate.
            return .untrusted("the other end refused: \(error)")
        default: return .closed("\(error)")
        }
    }
}

extension Duration {
    /// Whole nanoseconds; for the short times of the protocol.
    var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }
}
