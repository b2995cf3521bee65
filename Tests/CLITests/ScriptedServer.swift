import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// An HTTP server that answers what a test says.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        var method: String
        /// The path and the query.
        var uri: String
        var headers: HTTPHeaders
        var body: [UInt8]

        var path: String { String(uri.prefix { $0 != "?" }) }
        var text: String { String(decoding: body, as: UTF8.self) }
    }

    struct Reply: Sendable {
        var status = 200
        var headers: [(String, String)] = []
        var body: [UInt8] = []
        /// The length that the head says; that of the body when nil.
        var length: Int?
        /// Whether the connection is cut after the body.
        var isCut = false

        static func json(_ text: String, status: Int = 200, headers: [(String, String)] = []) -> Reply {
            Reply(status: status, headers: headers + [("content-type", "application/json")], body: Array(text.utf8))
        }

        static func problem(_ status: Int, _ code: String) -> Reply {
            .json("{\"code\":\"\(code)\",\"detail\":\"it went wrong\",\"status\":\(status)}", status: status)
        }
    }

    typealias Script = @Sendable (Request) -> Reply

    private let channel: any Channel
    private let seen = Mutex<[Request]>([])
    private let script: Script
    private let scheme: String

    /// Every request so far.
    var requests: [Request] { seen.withLock { $0 } }
    var url: String { "\(scheme)://127.0.0.1:\(channel.localAddress?.port ?? 0)" }

    /// Listens on a free port of the loopback.
    init(tls: NIOSSLContext? = nil, _ script: @escaping Script) async throws {
        let holder = Holder()
        self.script = script
        scheme = tls == nil ? "http" : "https"
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 64)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Answering(holder: holder))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        holder.server.withLock { $0 = self }
    }

    func close() async throws { try await channel.close() }

    fileprivate func answer(_ request: Request) -> Reply {
        seen.withLock { $0.append(request) }
        return script(request)
    }

    /// What connections find their server by.
    fileprivate final class Holder: Sendable {
        let server = Mutex<ScriptedServer?>(nil)
    }

    private final class Answering: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let holder: Holder
        private var head: HTTPRequestHead?
        private var body: [UInt8] = []

        init(holder: Holder) { self.holder = holder }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                self.head = head
                body = []
            case .body(let buffer): body += buffer.readableBytesView
            case .end:
                guard let head, let server = holder.server.withLock({ $0 }) else { return }
                send(
                    server.answer(
                        Request(method: head.method.rawValue, uri: head.uri, headers: head.headers, body: body)),
                    to: head.method, context)
            }
        }

        private func send(_ reply: Reply, to method: HTTPMethod, _ context: ChannelHandlerContext) {
            var headers = HTTPHeaders(reply.headers)
            if reply.status != 204 {
                headers.replaceOrAdd(name: "content-length", value: String(reply.length ?? reply.body.count))
            }
            let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: reply.status), headers: headers)
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            if !reply.body.isEmpty, method != .HEAD {
                context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: reply.body)))), promise: nil)
            }
            if reply.isCut {
                context.flush()
                context.close(promise: nil)
            } else {
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            }
        }
    }
}
