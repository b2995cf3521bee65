// Goal: a link exists only between two ends that verified each other, and what a stranger sends costs next to nothing.
// Method: real sockets on the loopback, certificates of the test's own authority.
import Glibc
import Identity
import LinkTestSupport
import Model
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Testing
import Transport
import Wire

/// What a listener said of the connections it refused.
final class Refusals: Sendable {
    private let stream: AsyncStream<LinkError>
    private let input: AsyncStream<LinkError>.Continuation
    init() { (stream, input) = AsyncStream.makeStream() }
    func add(_ error: LinkError) { input.yield(error) }
    func first() async -> LinkError? { await stream.first { _ in true } }
}

struct TransportTests {
    static let agent = PeerIdentity(role: .agent, id: PeerID(random: (2, 2)))

    private func dialer(_ authority: TestAuthority, _ credentials: Credentials? = nil) throws -> SocketDialer {
        SocketDialer(
            credentials: try CredentialBox(credentials ?? authority.credentials(TestAuthority.controller)))
    }

    /// Sends back what comes.
    private static let echo: @Sendable (any Link) async -> Void = { link in
        do throws(LinkError) {
            while let frame = try await link.receive() { try await link.send(frame) }
        } catch { return }
    }

    private func refusal(
        _ credentials: Credentials?, authority: TestAuthority, expecting peer: PeerIdentity = agent
    ) async throws -> (client: LinkError?, server: LinkError?) {
        let refusals = Refusals()
        let listener = try await authority.listen(
            as: Self.agent, onRefusal: { refusals.add($1) }, onLink: Self.echo)
        var found: LinkError?
        let dialer = try dialer(authority, credentials)
        do throws(LinkError) {
            let link = try await dialer.dial(
                host: "127.0.0.1", port: listener.ports[0], expecting: peer)
            // With TLS 1.3 a client hears of the refusal of its certificate with the first answer.
            try await link.send(Frame(.ping))
            _ = try await link.receive()
        } catch { found = error }
        let said = await refusals.first()
        await listener.close()
        return (found, said)
    }

    @Test func framesGoBothWays() async throws {
        let authority = try TestAuthority()
        let listener = try await authority.listen(as: Self.agent, onLink: Self.echo)
        let link = try await dialer(authority).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        #expect(link.peer == Self.agent)
        for count in [0, 1, 70_000, 1 << 20] {
            let frame = Frame(.data, exchange: 7, payload: [UInt8](repeating: 5, count: count))
            try await link.send(frame)
            #expect(try await link.receive() == frame)
        }
        link.close()
        await #expect(throws: LinkError.self) { try await link.send(Frame(.ping)) }
        await #expect(throws: LinkError.self) { try await link.receive() }
        await listener.close()
        #expect(listener.connectionCount == 0)
    }

    @Test func anOrderlyCloseIsNil() async throws {
        let authority = try TestAuthority()
        let listener = try await authority.listen(as: Self.agent) { link in link.close() }
        let link = try await dialer(authority).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        #expect(try await link.receive() == nil)
        await listener.close()
    }

    @Test func strangersAreRefused() async throws {
        let ours = try TestAuthority(seed: 1)
        let theirs = try TestAuthority(seed: 2)
        // A client of another authority: the server refuses.
        let client = try await refusal(
            theirs.credentials(TestAuthority.controller, trusting: ours), authority: ours)
        #expect(client.client != nil)
        guard case .untrusted = client.server else {
            Issue.record("\(client)")
            return
        }
        // A client that trusts another authority: the client refuses.
        let server = try await refusal(ours.credentials(TestAuthority.controller, trusting: theirs), authority: ours)
        guard case .untrusted = server.client else {
            Issue.record("\(server)")
            return
        }
        // A certificate of ours whose time is over.
        let expired = try await refusal(
            ours.credentials(
                TestAuthority.controller, issuedAt: TestAuthority.now.adding(seconds: -40 * 86_400)),
            authority: ours)
        #expect(expired.client != nil)
        guard case .untrusted(let words) = expired.server else {
            Issue.record("\(expired)")
            return
        }
        #expect(words.contains("expired"))
    }

    @Test func theWrongPeerIsRefused() async throws {
        let authority = try TestAuthority()
        // The agent that answers is not the one that was meant.
        let other = PeerIdentity(role: .agent, id: PeerID(random: (3, 3)))
        let meant = try await refusal(nil, authority: authority, expecting: other)
        #expect(meant.client == .untrusted("\(Self.agent) answers where \(other) should"))
        // A good certificate of an agent, and of another controller, opens nothing at an agent.
        for peer in [other, PeerIdentity(role: .controller, id: other.id)] {
            let refused = try await refusal(authority.credentials(peer), authority: authority)
            #expect(refused.client != nil)
            #expect(refused.server == .untrusted("\(peer) may not connect here"))
        }
    }

    @Test func aPortWhereNobodyListensIsUnreachable() async throws {
        let authority = try TestAuthority()
        let listener = try await authority.listen(as: Self.agent, onLink: Self.echo)
        let port = listener.ports[0]
        await listener.close()
        let dialer = try dialer(authority)
        for port in [port, 0, 70_000] {
            var error: LinkError?
            do throws(LinkError) {
                _ = try await dialer.dial(host: "127.0.0.1", port: port, expecting: Self.agent)
            } catch let caught { error = caught }
            guard case .unreachable = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
        }
    }

    @Test func newCredentialsServeNewConnections() async throws {
        let old = try TestAuthority(seed: 1)
        let new = try TestAuthority(seed: 2)
        let box = try CredentialBox(try old.credentials(Self.agent))
        let listener = try await SocketListener.start(
            SocketListener.Settings(addresses: [IPAddress(parsing: "127.0.0.1")], port: 0), credentials: box,
            accepts: { $0.role == .controller }, onRefusal: { _, _ in }, onLink: Self.echo)
        let first = try await dialer(old).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        try box.replace(try new.credentials(Self.agent))
        let second = try await dialer(new).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        for link in [first, second] {
            try await link.send(Frame(.ping))
            #expect(try await link.receive() == Frame(.ping))
            link.close()
        }
        #expect(throws: LinkError.self) {
            try box.replace(Credentials(certificatePEM: "x", keyPEM: "y", authorityPEM: "z") { _ in Self.agent })
        }
        await listener.close()
    }

    @Test func connectionsFromOneHostAreLimited() async throws {
        let authority = try TestAuthority()
        let refusals = Refusals()
        var settings = SocketListener.Settings(addresses: [try IPAddress(parsing: "127.0.0.1")], port: 0)
        settings.connectionCountPerHostMax = 2
        let listener = try await SocketListener.start(
            settings, credentials: CredentialBox(authority.credentials(Self.agent)), accepts: { _ in true },
            onRefusal: { refusals.add($1) }, onLink: Self.echo)
        let dialer = try dialer(authority)
        var links: [any Link] = []
        for _ in 0..<2 {
            links.append(
                try await dialer.dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent))
        }
        await #expect(throws: LinkError.self) {
            try await dialer.dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        }
        #expect(await refusals.first() == .closed("too many connections"))
        for link in links { link.close() }
        await listener.close()
    }

    @Test func receivingCanBeCancelled() async throws {
        let authority = try TestAuthority()
        let listener = try await authority.listen(as: Self.agent, onLink: Self.echo)
        let link = try await dialer(authority).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        let waiting = Task { () async -> LinkError? in
            do throws(LinkError) {
                _ = try await link.receive()
                return nil
            } catch { return error }
        }
        waiting.cancel()
        #expect(await waiting.value == .cancelled)
        // The link is as good as before.
        try await link.send(Frame(.ping))
        #expect(try await link.receive() == Frame(.ping))
        await listener.close()
    }

    @Test(.timeLimit(.minutes(1))) func muchDataBothWaysAtOnceInLittleMemory() async throws {
        let authority = try TestAuthority()
        let listener = try await authority.listen(as: Self.agent, onLink: Self.echo)
        let link = try await dialer(authority).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        let count = 256
        let before = residentByteCount()
        let most = Mutex(before)
        async let sending: Void = {
            for number in 0..<count {
                try await link.send(
                    Frame(
                        .data, exchange: UInt64(number),
                        payload: [UInt8](repeating: UInt8(number & 255), count: 1 << 20)))
            }
        }()
        for number in 0..<count {
            let frame = try #require(try await link.receive())
            #expect(frame.exchange == UInt64(number))
            #expect(frame.payload == [UInt8](repeating: UInt8(number & 255), count: 1 << 20))
            let now = residentByteCount()
            most.withLock { $0 = max($0, now) }
        }
        try await sending
        // 256 MiB each way. Both ends live in this process; the bound has room for the tests that run beside.
        #expect(most.withLock { $0 } - before < 128 << 20)
        await listener.close()
    }

    /// A receiver that does not take holds the sender back after a few MiB.
    @Test(.timeLimit(.minutes(1))) func aSlowTakerHoldsTheSenderBack() async throws {
        let authority = try TestAuthority()
        let mayTake = AsyncStream<Void>.makeStream()
        let listener = try await authority.listen(as: Self.agent) { link in
            for await _ in mayTake.stream { break }
            await Self.echo(link)
        }
        let link = try await dialer(authority).dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        let sent = Mutex(0)
        let sending = Task {
            for _ in 0..<64 {
                try await link.send(Frame(.data, payload: [UInt8](repeating: 1, count: 1 << 20)))
                sent.withLock { $0 += 1 }
            }
        }
        // The sender stands still once all buffers are full: wait until it does not move for many turns.
        var last = -1
        var still = 0
        while still < 200 {
            let now = sent.withLock { $0 }
            still = now == last && now > 0 ? still + 1 : 0
            last = now
            try await Task.sleep(for: .milliseconds(1))
        }
        #expect(last < 32)
        mayTake.continuation.yield()
        for _ in 0..<64 { #expect(try await link.receive()?.payload.count == 1 << 20) }
        try await sending.value
        await listener.close()
    }
}

/// Bytes of memory that this process holds.
func residentByteCount() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { return 0 }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return (Int(text.split(separator: " ").dropFirst().first ?? "0") ?? 0) * 4096
}
