import Identity
import Model
import Synchronization
import Transport
import Wire

/// Numbers that a test can repeat.
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// Starts from a seed.
    package init(seed: UInt64) { state = seed }

    /// splitmix64.
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

/// A certificate authority of a test, and credentials made by it.
package final class TestAuthority: Sendable {
    /// The moment at which every test takes place.
    package static let now = Timestamp(milliseconds: 1_800_000_000_000)
    /// The controller of every test.
    package static let controller = PeerIdentity(role: .controller, id: PeerID(random: (1, 1)))

    /// The authority.
    package let authority: Authority
    private let generator: Mutex<SeededGenerator>

    /// Makes an authority.
    package init(seed: UInt64 = 1) throws {
        var seeded = SeededGenerator(seed: seed)
        authority = try Authority(creating: "test", now: TestAuthority.now, using: &seeded)
        generator = Mutex(seeded)
    }

    /// A certificate for a new key.
    package func issue(_ peer: PeerIdentity, now: Timestamp = now) throws -> (IssuedCertificate, KeyPair) {
        let key = KeyPair()
        let request = try key.request()
        let issued = try generator.withLock { generator in
            try authority.issue(requestPEM: request, to: peer, now: now, using: &generator)
        }
        return (issued, key)
    }

    /// Credentials for a new key that trust `trusted` (this authority when nil).
    package func credentials(
        _ peer: PeerIdentity, trusting trusted: TestAuthority? = nil, denied: DeniedSerials = DeniedSerials(),
        issuedAt: Timestamp = now
    ) throws -> Credentials {
        let (issued, key) = try issue(peer, now: issuedAt)
        let roots = (trusted ?? self).authority.certificatePEM
        let verifier = try PeerVerifier(rootsPEM: roots, denied: denied, clock: WallClock { TestAuthority.now })
        return Credentials(certificatePEM: issued.pem, keyPEM: key.pem, authorityPEM: roots) { chain in
            try await verifier.verify(chain: chain).identity
        }
    }

    /// An agent's listener on a free port of the loopback, serving `handler`.
    package func listen(
        as agent: PeerIdentity, onRefusal: @escaping @Sendable (String, LinkError) -> Void = { _, _ in },
        onLink: @escaping @Sendable (any Link) async -> Void
    ) async throws -> SocketListener {
        try await SocketListener.start(
            SocketListener.Settings(addresses: [IPAddress(parsing: "127.0.0.1")], port: 0),
            credentials: CredentialBox(try credentials(agent)), accepts: { $0 == TestAuthority.controller },
            onRefusal: onRefusal, onLink: onLink)
    }
}
