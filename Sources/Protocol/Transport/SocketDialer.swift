import Model
import NIOCore
import NIOPosix
import NIOSSL
import Wire

/// Makes links to agents.
package struct SocketDialer: Dialer {
    private let credentials: CredentialBox
    private let connectMax: Duration

    /// Creates a dialer that shows `credentials`. `connectMax` bounds the TCP connection; the TLS handshake has
    /// `WireLimits.handshakeMax` of its own.
    package init(credentials: CredentialBox, connectMax: Duration = .seconds(5)) {
        self.credentials = credentials
        self.connectMax = connectMax
    }

    /// Connects, and checks that the other end is `peer`.
    package func dial(host: String, port: Int, expecting peer: PeerIdentity) async throws(LinkError) -> any Link {
        guard (1...65535).contains(port) else { throw .unreachable("port \(port) is not 1 to 65535") }
        let material = credentials.current
        let verdict = PeerVerdict()
        let group = MultiThreadedEventLoopGroup.singleton
        let opened = group.next().makePromise(of: (any Link).self)
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(.nanoseconds(connectMax.nanoseconds))
            .channelOption(.autoRead, value: false)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: TransportLimits.readByteCount)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let tls = try NIOSSLClientHandler(
                        context: material.client, serverHostname: nil,
                        customVerificationCallback: verdict.callback(check: material.check) { found in
                            found == peer ? nil : .untrusted("\(found) answers where \(peer) should")
                        })
                    try channel.pipeline.syncOperations.addHandlers([
                        tls, LinkHandler(verdict: verdict, opened: opened),
                    ])
                }
            }
        let channel: any Channel
        do { channel = try await bootstrap.connect(host: host, port: port).get() } catch {
            let words = SocketDialer.words(for: error)
            opened.fail(LinkError.unreachable(words))
            throw .unreachable("\(host) port \(port): \(words)")
        }
        do {
            return try await withTaskCancellationHandler {
                try await opened.futureResult.get()
            } onCancel: {
                channel.close(promise: nil)
            }
        } catch {
            channel.close(promise: nil)
            if Task.isCancelled { throw .cancelled }
            throw error as? LinkError ?? .closed("\(error)")
        }
    }

    private static func words(for error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if error.connectionErrors.isEmpty { return "the host name cannot be resolved" }
            return error.connectionErrors.map { words(for: $0.error) }.joined(separator: "; ")
        case let error as IOError: return error.description
        case ChannelError.connectTimeout: return "no answer in time"
        default: return "\(error)"
        }
    }
}
