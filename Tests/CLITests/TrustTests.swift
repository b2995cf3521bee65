import CLI
import Foundation
import Identity
import Model
// Goal: a password is sent only to the controller whose authority was pinned. Method: a server with an authority of its
// own, and one that pretends to be it.
import NIOHTTP1
import NIOSSL
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct TrustTests {
    private static let password = "the-password-1"

    /// An authority, and a server certificate of it for the loopback.
    private struct Trust {
        let authorityPEM: String
        let context: NIOSSLContext

        init() throws {
            var generator = SystemRandomNumberGenerator()
            let now = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
            let authority = try Authority(creating: "test", now: now, using: &generator)
            let (certificate, key) = try authority.issueServer(
                names: ["localhost"], addresses: [try IPAddress(parsing: "127.0.0.1")], now: now, using: &generator)
            authorityPEM = authority.certificatePEM
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(certificate.pem.utf8)).map {
                    .certificate($0)
                },
                privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.pem.utf8), format: .pem)))
            configuration.minimumTLSVersion = .tlsv13
            context = try NIOSSLContext(configuration: configuration)
        }

        var fingerprint: String { get throws { try CertificateFingerprint.sha256(pem: authorityPEM) } }
    }

    private static func script(_ authorityPEM: String) -> ScriptedServer.Script {
        { request in
            switch (request.method, request.path) {
            case ("GET", "/ca.pem"): .init(body: Array(authorityPEM.utf8))
            case ("POST", "/v1/sessions"):
                .json(
                    "{\"token\":\"lamina_abc\",\"role\":\"admin\",\"expiresAt\":\"2030-01-01T00:00:00Z\"}", status: 201)
            default: .json("{\"items\":[],\"username\":\"admin\",\"role\":\"admin\"}")
            }
        }
    }

    private static func logIn(_ command: Command, _ server: ScriptedServer, _ more: [String]) async throws
        -> Command.Result
    {
        try await command.run(
            ["login", server.url, "--username", "admin", "--password-stdin"] + more, input: password + "\n")
    }

    @Test func rightFingerprintIsPinned() async throws {
        let trust = try Trust()
        let server = try await ScriptedServer(tls: trust.context, Self.script(trust.authorityPEM))
        let command = try Command()
        defer { command.remove() }
        let result = try await Self.logIn(command, server, ["--fingerprint", try trust.fingerprint.lowercased()])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("Logged in"))
        let body = try #require(server.requests.last { $0.path == "/v1/sessions" }).text
        #expect(body.contains(Self.password))
        let profile = try #require(try Profile.load(from: command.path("config/lamina/config.json")))
        #expect(profile.token == "lamina_abc")
        #expect(profile.authorityPEM == trust.authorityPEM)
        // From now on it needs nothing more.
        let next = try await command.run(["whoami"])
        #expect(next.status == 0, "\(next.errors)")
        #expect(server.requests.last?.headers.first(name: "authorization") == "Bearer lamina_abc")
        let out = try await command.run(["logout"])
        #expect(out.status == 0)
        #expect(try Profile.load(from: command.path("config/lamina/config.json"))?.token == nil)
        try await server.close()
    }

    @Test func wrongFingerprintSendsNothing() async throws {
        let trust = try Trust()
        let server = try await ScriptedServer(tls: trust.context, Self.script(trust.authorityPEM))
        let command = try Command()
        defer { command.remove() }
        let result = try await Self.logIn(
            command, server, ["--fingerprint", String(repeating: "AB:", count: 31) + "AB"])
        #expect(result.status == CLI.ExitStatus.notReachable.rawValue)
        #expect(result.errors.contains("another fingerprint"))
        #expect(!server.requests.contains { $0.method == "POST" })
        #expect(!FileManager.default.fileExists(atPath: command.path("config/lamina/config.json")))
        try await server.close()
    }

    /// One in the middle who shows the right authority cannot show a certificate of it.
    @Test func authorityThatDidNotSignTheServer() async throws {
        let (real, other) = (try Trust(), try Trust())
        let server = try await ScriptedServer(tls: other.context, Self.script(real.authorityPEM))
        let command = try Command()
        defer { command.remove() }
        let result = try await Self.logIn(command, server, ["--fingerprint", try real.fingerprint])
        #expect(result.status == CLI.ExitStatus.notReachable.rawValue)
        #expect(!server.requests.contains { $0.method == "POST" })
        try await server.close()
    }

    @Test func authorityFromAFile() async throws {
        let trust = try Trust()
        let server = try await ScriptedServer(tls: trust.context, Self.script(trust.authorityPEM))
        let command = try Command()
        defer { command.remove() }
        try Data(trust.authorityPEM.utf8).write(to: URL(fileURLWithPath: command.path("ca.pem")))
        let result = try await Self.logIn(command, server, ["--ca", command.path("ca.pem")])
        #expect(result.status == 0, "\(result.errors)")
        // Nobody was asked for an authority.
        #expect(!server.requests.contains { $0.path == "/ca.pem" })
        try Data("no certificate".utf8).write(to: URL(fileURLWithPath: command.path("ca.pem")))
        #expect(
            try await Self.logIn(command, server, ["--ca", command.path("ca.pem")]).status
                == CLI.ExitStatus.wrongUsage.rawValue)
        try await server.close()
    }

    @Test func unknownAuthorityIsNotTrustedUnasked() async throws {
        let trust = try Trust()
        let server = try await ScriptedServer(tls: trust.context, Self.script(trust.authorityPEM))
        var command = try Command()
        defer { command.remove() }
        let result = try await Self.logIn(command, server, [])
        #expect(result.status == CLI.ExitStatus.wrongUsage.rawValue)
        #expect(result.errors.contains(try trust.fingerprint))
        #expect(!server.requests.contains { $0.method == "POST" })
        // A token is not sent either.
        command.environment = ["LAMINA_URL": server.url, "LAMINA_TOKEN": "lamina_test"]
        #expect(try await command.run(["image", "list"]).status == CLI.ExitStatus.notReachable.rawValue)
        #expect(!server.requests.contains { $0.path == "/v1/images" })
        try await server.close()
    }

    /// The token of one controller is not shown to another.
    @Test func tokenIsForItsController() async throws {
        let (first, second) = (
            try await ScriptedServer(Self.script("")), try await ScriptedServer(Self.script(""))
        )
        let command = try Command()
        defer { command.remove() }
        #expect(try await Self.logIn(command, first, []).status == 0)
        let result = try await command.run(["image", "list", "--controller", second.url])
        #expect(result.status == CLI.ExitStatus.notAllowed.rawValue)
        #expect(second.requests.isEmpty)
        try await first.close()
        try await second.close()
    }
}
