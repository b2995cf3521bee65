import Model
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Wire

/// Takes links from peers, on several addresses.
package final class SocketListener: Sendable {
    /// What a listener is started with.
    package struct Settings: Sendable {
        /// IP addresses to listen on; never a name.
        package var addresses: [IPAddress]
        /// The port on each; 0 lets the system choose.
        package var port: Int
        /// Connections at once.
        package var connectionCountMax = TransportLimits.connectionCountMax
        /// Connections at once from one address.
        package var connectionCountPerHostMax = TransportLimits.connectionCountPerHostMax

        /// Creates settings.
        package init(addresses: [IPAddress], port: Int) {
            self.addresses = addresses
            self.port = port
        }
    }

    private struct State {
        var listening: [any Channel] = []
        var connections: [ObjectIdentifier: (channel: any Channel, host: String)] = [:]
        var perHost: [String: Int] = [:]
        var isClosed = false
    }

    private let settings: Settings
    private let credentials: CredentialBox
    private let accepts: @Sendable (PeerIdentity) -> Bool
    private let onLink: @Sendable (any Link) async -> Void
    private let onRefusal: @Sendable (_ host: String, LinkError) -> Void
    private let state = Mutex(State())

    /// Starts to listen.
    /// - Parameters:
    ///   - accepts: whether a peer with a good certificate may connect here.
    ///   - onRefusal: told of every connection that did not become a link; for the log.
    ///   - onLink: run in a task of its own for every link; when it returns the link is closed.
    /// - Throws: `.unreachable` when an address cannot be bound; then none is.
    package static func start(
        _ settings: Settings, credentials: CredentialBox, accepts: @escaping @Sendable (PeerIdentity) -> Bool,
        onRefusal: @escaping @Sendable (_ host: String, LinkError) -> Void,
        onLink: @escaping @Sendable (any Link) async -> Void
    ) async throws(LinkError) -> SocketListener {
        let listener = SocketListener(settings, credentials, accepts, onRefusal, onLink)
        for address in settings.addresses {
            do {
                let channel = try await listener.bootstrap().bind(
                    host: address.description, port: settings.port
                ).get()
                listener.state.withLock { $0.listening.append(channel) }
            } catch {
                await listener.close()
                throw .unreachable("cannot listen on \(address) port \(settings.port): \(error)")
            }
        }
        return listener
    }

    private init(
        _ settings: Settings, _ credentials: CredentialBox, _ accepts: @escaping @Sendable (PeerIdentity) -> Bool,
        _ onRefusal: @escaping @Sendable (_ host: String, LinkError) -> Void,
        _ onLink: @escaping @Sendable (any Link) async -> Void
    ) {
        self.settings = settings
        self.credentials = credentials
        self.accepts = accepts
        self.onRefusal = onRefusal
        self.onLink = onLink
    }

    /// The ports that are listened on, in the order of the addresses.
    package var ports: [Int] { state.withLock { $0.listening.compactMap { $0.localAddress?.port } } }

    /// The connections at this moment.
    package var connectionCount: Int { state.withLock { $0.connections.count } }

    /// Takes no more connections; those that are stay.
    package func stopListening() async {
        let channels = state.withLock { state in
            defer { state.listening = [] }
            return state.listening
        }
        for channel in channels { await SocketListener.end(channel) }
    }

    /// Takes no more connections and ends those that are.
    package func close() async {
        state.withLock { $0.isClosed = true }
        await stopListening()
        await closeConnections()
    }

    /// Ends the connections that are; more may come.
    package func closeConnections() async {
        let connections = state.withLock { $0.connections.values.map(\.channel) }
        for channel in connections { await SocketListener.end(channel) }
    }

    /// Closes and waits for the end; a channel that is closed already is no error.
    private static func end(_ channel: any Channel) async {
        channel.close(promise: nil)
        do { try await channel.closeFuture.get() } catch { return }
    }

    private func bootstrap() -> ServerBootstrap {
        ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: TransportLimits.readByteCount)
            )
            .childChannelInitializer { channel in self.admit(channel) }
    }

    private func admit(_ channel: any Channel) -> EventLoopFuture<Void> {
        let host = channel.remoteAddress?.ipAddress ?? "?"
        let key = ObjectIdentifier(channel)
        let isAdmitted = state.withLock { state in
            guard !state.isClosed, state.connections.count < settings.connectionCountMax,
                state.perHost[host, default: 0] < settings.connectionCountPerHostMax
            else { return false }
            state.connections[key] = (channel, host)
            state.perHost[host, default: 0] += 1
            return true
        }
        guard isAdmitted else {
            onRefusal(host, .closed("too many connections"))
            return channel.eventLoop.makeFailedFuture(LinkError.closed("too many connections"))
        }
        channel.closeFuture.whenComplete { _ in
            self.state.withLock { state in
                state.connections[key] = nil
                let left = state.perHost[host, default: 1] - 1
                state.perHost[host] = left == 0 ? nil : left
            }
        }
        let material = credentials.current
        let verdict = PeerVerdict()
        let opened = channel.eventLoop.makePromise(of: (any Link).self)
        opened.futureResult.whenComplete { result in
            switch result {
            case .success(let link):
                Task {
                    await self.onLink(link)
                    link.close()
                }
            case .failure(let error):
                self.onRefusal(host, error as? LinkError ?? .closed("\(error)"))
                channel.close(promise: nil)
            }
        }
        let accepts = accepts
        return channel.eventLoop.makeCompletedFuture {
            let tls = NIOSSLServerHandler(
                context: material.server,
                customVerificationCallback: verdict.callback(check: material.check) { peer in
                    accepts(peer) ? nil : .untrusted("\(peer) may not connect here")
                })
            try channel.pipeline.syncOperations.addHandlers([tls, LinkHandler(verdict: verdict, opened: opened)])
        }
    }
}
