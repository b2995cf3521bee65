// Goal: what a hostile peer does on the port ends its own connection, soon and with a reason, and nothing else.
// Method: TLS clients made by hand: no certificate, TLS 1.2, no ALPN, no TLS at all, broken frames.
import Identity
import LinkTestSupport
import Model
import NIOCore
import NIOPosix
import NIOSSL
import Testing
import Transport
import Wire

struct HostileTests {
    static let agent = TransportTests.agent

    /// Connects with a TLS configuration of the test (none: plain TCP), sends bytes, and waits for the end.
    private func attack(
        _ port: Int, configuration: TLSConfiguration?, sends bytes: [UInt8]
    ) async throws {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let configuration else { return }
                    let handler = try NIOSSLClientHandler(
                        context: NIOSSLContext(configuration: configuration), serverHostname: nil)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }.connect(host: "127.0.0.1", port: port).get()
        channel.writeAndFlush(channel.allocator.buffer(bytes: bytes), promise: nil)
        try await channel.closeFuture.get()
    }

    private func client(_ credentials: Credentials?) throws -> TLSConfiguration {
        var client = TLSConfiguration.makeClientConfiguration()
        client.certificateVerification = .none
        client.applicationProtocols = ["lamina/1"]
        guard let credentials else { return client }
        client.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(credentials.certificatePEM.utf8)).map {
            .certificate($0)
        }
        client.privateKey = .privateKey(
            try NIOSSLPrivateKey(bytes: Array(credentials.keyPEM.utf8), format: .pem))
        return client
    }

    /// Runs an attack and answers what the listener said; afterwards an honest controller is still served.
    private func refused(
        _ authority: TestAuthority, _ configuration: TLSConfiguration?, sends bytes: [UInt8]
    ) async throws -> LinkError? {
        let refusals = Refusals()
        let listener = try await authority.listen(as: Self.agent, onRefusal: { refusals.add($1) }) { link in
            do throws(LinkError) {
                while let frame = try await link.receive() { try await link.send(frame) }
            } catch { refusals.add(error) }
        }
        try await attack(listener.ports[0], configuration: configuration, sends: bytes)
        let error = await refusals.first()
        let honest = SocketDialer(
            credentials: try CredentialBox(try authority.credentials(TestAuthority.controller)))
        let link = try await honest.dial(host: "127.0.0.1", port: listener.ports[0], expecting: Self.agent)
        try await link.send(Frame(.ping))
        #expect(try await link.receive() == Frame(.ping))
        await listener.close()
        return error
    }

    @Test func noCertificate() async throws {
        let authority = try TestAuthority()
        let error = try await refused(authority, client(nil), sends: Frame(.ping).encoded())
        guard case .untrusted = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func anOldTLS() async throws {
        let authority = try TestAuthority()
        var old = try client(authority.credentials(TestAuthority.controller))
        old.minimumTLSVersion = .tlsv12
        old.maximumTLSVersion = .tlsv12
        let error = try await refused(authority, old, sends: Frame(.ping).encoded())
        guard case .untrusted = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func anotherProtocol() async throws {
        let authority = try TestAuthority()
        var other = try client(authority.credentials(TestAuthority.controller))
        other.applicationProtocols = ["h2"]
        let error = try await refused(authority, other, sends: Frame(.ping).encoded())
        #expect(error == .untrusted("the other end does not speak lamina/1"))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "LMNA", String(repeating: "\u{1}", count: 5000),
    ])
    func noTLS(_ text: String) async throws {
        // "LMNA" is too short to be refused at once: that is the slow handshake below.
        guard text.utf8.count > 4 else { return }
        #expect(try await refused(TestAuthority(), nil, sends: Array(text.utf8)) != nil)
    }

    @Test func brokenFrames() async throws {
        let authority = try TestAuthority()
        let good = try client(authority.credentials(TestAuthority.controller))
        #expect(
            try await refused(authority, good, sends: [UInt8](repeating: 0x47, count: 64))
                == .wire(.badMagic(offset: 0)))
        var long = Frame(.data).header()
        long.replaceSubrange(16..<20, with: [1, 0, 0x80, 0])
        let checksum = CRC32C.checksum(Array(long[..<28]))
        long.replaceSubrange(28..<32, with: (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * $0)) })
        #expect(
            try await refused(authority, good, sends: long)
                == .wire(.tooLong(byteCount: 8 << 20 + 1, limit: 1 << 20, offset: 16)))
        var flipped = Frame(.data, payload: [1, 2, 3]).encoded()
        flipped[33] ^= 0x80
        #expect(try await refused(authority, good, sends: flipped) == .wire(.badPayloadChecksum(offset: 32)))
    }

    /// Takes ten seconds: the limit itself is waited for.
    @Test(.timeLimit(.minutes(1))) func aSlowHandshakeIsEnded() async throws {
        let error = try await refused(TestAuthority(), nil, sends: [0x16, 0x03])
        #expect(error == .timeout("the TLS handshake took too long"))
    }
}
