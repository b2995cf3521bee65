// Goal: a certificate is believed only when our authority issued it for this use, it is in its time, and it was not
// withdrawn; what a request says of itself counts for nothing.
// Method: real keys and certificates, a clock of the test, and the same files read by the openssl program.
import Identity
import Model
import Testing

struct IdentityTests {
    static let now = Timestamp(milliseconds: 1_800_000_000_000)
    static let agent = PeerIdentity(role: .agent, id: PeerID(random: (7, 8)))
    static let controller = PeerIdentity(role: .controller, id: PeerID(random: (5, 6)))

    private func authority() throws -> Authority {
        var random = SystemRandomNumberGenerator()
        return try Authority(creating: "Lamina test", now: Self.now, using: &random)
    }

    private func issue(_ authority: Authority, _ peer: PeerIdentity, _ key: KeyPair = KeyPair()) throws
        -> IssuedCertificate
    {
        var random = SystemRandomNumberGenerator()
        return try authority.issue(requestPEM: key.request(), to: peer, now: Self.now, using: &random)
    }

    private func der(_ pem: String) throws -> [UInt8] {
        let lines = pem.split(separator: "\n").filter { !$0.hasPrefix("-") }.joined()
        return try #require(Base64.decode(lines))
    }

    private func verify(
        _ pem: String, _ authority: Authority, at time: Timestamp = now, denied: Set<String> = []
    ) async throws -> VerifiedPeer {
        let verifier = try PeerVerifier(
            rootsPEM: authority.certificatePEM, denied: DeniedSerials(denied), clock: WallClock { time })
        return try await verifier.verify(chain: [der(pem)])
    }

    @Test(arguments: [agent, controller])
    func aPeerIsRead(_ peer: PeerIdentity) async throws {
        let authority = try authority()
        let issued = try issue(authority, peer)
        let found = try await verify(issued.pem, authority)
        #expect(found.identity == peer)
        #expect(found.serial == issued.serial)
        #expect(found.expiresAt == issued.expiresAt)
        #expect(issued.expiresAt == Self.now.adding(seconds: 30 * 86_400))
        #expect(try CertificateFile.owner(of: issued.pem) == found)
    }

    @Test func anAuthorityIsReadBack() async throws {
        let first = try authority()
        let again = try Authority(certificatePEM: first.certificatePEM, keyPEM: first.keyPEM)
        _ = try await verify(try issue(again, Self.agent).pem, first)
        #expect(throws: IdentityError.self) {
            try Authority(certificatePEM: first.certificatePEM, keyPEM: KeyPair().pem)
        }
    }

    @Test func timesAreChecked() async throws {
        let authority = try authority()
        let issued = try issue(authority, Self.agent)
        for seconds in [-299, 0, 30 * 86_400] as [Int64] {
            _ = try await verify(issued.pem, authority, at: Self.now.adding(seconds: seconds))
        }
        for seconds in [-301, 30 * 86_400 + 1] as [Int64] {
            await #expect(throws: IdentityError.self, "\(seconds)") {
                try await verify(issued.pem, authority, at: Self.now.adding(seconds: seconds))
            }
        }
    }

    @Test func strangersAreRefused() async throws {
        let ours = try authority()
        let theirs = try authority()
        await #expect(throws: IdentityError.untrusted("no trusted authority issued it")) {
            try await verify(try issue(theirs, Self.agent).pem, ours)
        }
        // The root itself is no peer, nor is the certificate of the HTTPS server.
        await #expect(throws: IdentityError.self) { try await verify(ours.certificatePEM, ours) }
        var random = SystemRandomNumberGenerator()
        let server = try ours.issueServer(
            names: ["images.example"], addresses: [IPAddress(parsing: "10.0.0.1")], now: Self.now, using: &random)
        await #expect(throws: IdentityError.noIdentity("it must have one id and one role")) {
            try await verify(server.certificate.pem, ours)
        }
        let verifier = try PeerVerifier(rootsPEM: ours.certificatePEM, clock: WallClock { Self.now })
        for chain in [[], [[]], [[1, 2, 3]], [[UInt8]](repeating: [1], count: 9)] as [[[UInt8]]] {
            await #expect(throws: IdentityError.self) { try await verifier.verify(chain: chain) }
        }
    }

    @Test func aWithdrawnCertificateIsRefused() async throws {
        let authority = try authority()
        let issued = try issue(authority, Self.agent)
        await #expect(throws: IdentityError.denied(serial: issued.serial)) {
            try await verify(issued.pem, authority, denied: [issued.serial])
        }
    }

    @Test func twoRootsWhileTheyRollOver() async throws {
        let old = try authority()
        let new = try authority()
        let verifier = try PeerVerifier(
            rootsPEM: old.certificatePEM + new.certificatePEM, clock: WallClock { Self.now })
        for authority in [old, new] {
            _ = try await verifier.verify(chain: [der(try issue(authority, Self.agent).pem)])
        }
    }

    @Test func badRequestsAreRefused() throws {
        let authority = try authority()
        var random = SystemRandomNumberGenerator()
        let good = try KeyPair().request()
        // A request whose bytes were changed no longer carries a signature of its key.
        var bytes = try der(good)
        bytes[bytes.count - 3] ^= 1
        let forged =
            "-----BEGIN CERTIFICATE REQUEST-----\n" + Base64.encode(bytes) + "\n-----END CERTIFICATE REQUEST-----\n"
        for pem in ["", "hello", authority.certificatePEM, forged, String(repeating: "x", count: 300_000)] {
            #expect(throws: IdentityError.self, "\(pem.prefix(40))") {
                try authority.issue(requestPEM: pem, to: Self.agent, now: Self.now, using: &random)
            }
        }
    }

    @Test func keysAreReadBack() throws {
        let authority = try authority()
        let key = KeyPair()
        let again = try KeyPair(pem: key.pem)
        let issued = try issue(authority, Self.agent, key)
        #expect(try CertificateFile.isKey(again, of: issued.pem))
        #expect(try !CertificateFile.isKey(KeyPair(), of: issued.pem))
        #expect("\(key)" == "(private key)")
        #expect(throws: IdentityError.self) { try KeyPair(pem: "") }
    }
}

/// Base64 as PEM has it.
enum Base64 {
    private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func decode(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var bits = 0
        var count = 0
        for letter in text.utf8 where letter != 0x3d {
            guard let value = letters.firstIndex(of: letter) else { return nil }
            bits = bits << 6 | value
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        return out
    }

    static func encode(_ bytes: [UInt8]) -> String {
        var out: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = (0..<3).map { start + $0 < bytes.count ? Int(bytes[start + $0]) : 0 }
            let bits = group[0] << 16 | group[1] << 8 | group[2]
            for place in 0..<4 {
                out.append(start + place > bytes.count ? 0x3d : letters[bits >> (18 - 6 * place) & 63])
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
