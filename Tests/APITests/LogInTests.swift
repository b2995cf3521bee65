import API
import AgentLink
import ControllerTestSupport
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Inventory
import Model
import NIOCore
import NIOEmbedded
// Goal: a log-in gives what the account may and no more, ends when it should, and cannot be guessed; no answer has a
// secret in it. Method: accounts, passwords and tokens through the API, with a clock that the test moves.
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(1)))
struct LogInTests {
    private func logIn(
        _ bench: APIBench, _ user: String, _ password: String, from address: String = "192.0.2.1"
    ) async throws -> (code: Int, tree: Tree, retryAfter: String?) {
        let channel = NIOAsyncTestingChannel()
        try await channel.connect(to: SocketAddress(ipAddress: address, port: 40_000)).get()
        let request = Request(
            head: .init(
                method: .post, scheme: "https", authority: "x", path: "/v1/sessions",
                headerFields: [.contentType: "application/json"]),
            body: RequestBody(
                buffer: ByteBuffer(string: "{\"username\":\"\(user)\",\"password\":\"\(password)\"}")))
        let response = try await bench.answer(request, on: channel)
        let collected = BodyBytes()
        try await response.body.write(collected)
        let tree = try JSONDecoder().decode(Tree.self, from: Data(await collected.bytes))
        return (response.status.code, tree, response.headers[.retryAfter])
    }

    private actor BodyBytes: ResponseBodyWriter {
        var bytes: [UInt8] = []
        func write(_ buffer: ByteBuffer) async throws { bytes += buffer.readableBytesView }
        nonisolated func finish(_ trailers: HTTPFields?) async throws {}
    }

    @Test func logInGivesTheRoleOfTheAccount() async throws {
        let bench = try await APIBench()
        let answer = try await logIn(bench, "operator", "operator-password-8")
        #expect(answer.code == 201)
        #expect(answer.tree["role"].text == "operator")
        let token = try #require(answer.tree["token"].text)
        let current = try await bench.send(
            .get, "/v1/sessions/current", headers: [.authorization: "bearer \(token)"])
        #expect(current.tree["username"].text == "operator")
        #expect(current.tree["token"] == .null)
        #expect(
            try await bench.send(.delete, "/v1/sessions/current", headers: [.authorization: "Bearer \(token)"]).code
                == 204)
        try await bench.send(.get, "/v1/sessions/current", headers: [.authorization: "Bearer \(token)"])
            .expectProblem(401, "unauthenticated")
    }

    @Test func wrongNameAndWrongPasswordFailAlike() async throws {
        let bench = try await APIBench()
        let name = try await logIn(bench, "nobody", "operator-password-8")
        let password = try await logIn(bench, "operator", "wrong-password", from: "192.0.2.2")
        #expect(name.code == 401 && password.code == 401)
        #expect(name.tree == password.tree)
        #expect(name.tree["code"].text == "authentication-failed")
    }

    @Test func accountIsGuardedFromManyAddresses() async throws {
        let bench = try await APIBench()
        for number in 1...5 {
            #expect(try await logIn(bench, "admin", "wrong", from: "192.0.2.\(number)").code == 401)
        }
        _ = try await logIn(bench, "admin", "wrong", from: "192.0.2.6")
        // Now even the right password waits, from wherever.
        let paused = try await logIn(bench, "admin", "admin-password-9", from: "192.0.2.7")
        #expect(paused.code == 429)
        #expect(paused.tree["code"].text == "too-many-attempts")
        let seconds = try #require(paused.retryAfter.flatMap(Int64.init))
        #expect((1...900).contains(seconds))
        #expect(try await logIn(bench, "operator", "operator-password-8", from: "192.0.2.7").code == 201)
        bench.records.clock.advance(seconds: seconds)
        #expect(try await logIn(bench, "admin", "admin-password-9", from: "192.0.2.7").code == 201)
    }

    @Test func addressIsGuardedAgainstManyAccounts() async throws {
        let bench = try await APIBench()
        for number in 1...6 { #expect(try await logIn(bench, "user\(number)", "wrong").code == 401) }
        #expect(try await logIn(bench, "admin", "admin-password-9").code == 429)
        #expect(try await logIn(bench, "admin", "admin-password-9", from: "192.0.2.9").code == 201)
    }

    @Test func sessionsEnd() async throws {
        let bench = try await APIBench()
        func code() async throws -> Int { try await bench.send(.get, "/v1/sessions/current", as: .viewer).code }
        bench.records.clock.advance(seconds: 29 * 60)
        #expect(try await code() == 200)
        bench.records.clock.advance(seconds: 29 * 60)
        #expect(try await code() == 200)
        bench.records.clock.advance(seconds: 30 * 60)
        #expect(try await code() == 401)
        // In use all the time, it still ends after twelve hours.
        let busy = try await logIn(bench, "viewer", "viewer-password-7").tree["token"].text ?? ""
        for turn in 1...49 {
            bench.records.clock.advance(seconds: 15 * 60)
            let answer = try await bench.send(
                .get, "/v1/sessions/current", headers: [.authorization: "Bearer \(busy)"])
            #expect(answer.code == (turn < 48 ? 200 : 401), "after \(turn) quarters of an hour")
        }
    }

    @Test func disabledAccountIsOut() async throws {
        let bench = try await APIBench()
        let id = try #require(bench.users[.viewer])
        #expect(try await bench.send(.patch, "/v1/users/\(id)", json: "{\"enabled\":false}").code == 200)
        #expect(try await bench.send(.get, "/v1/images", as: .viewer).code == 401)
        #expect(try await logIn(bench, "viewer", "viewer-password-7").code == 401)
    }

    @Test func roleThatWasTakenAwayIsGoneAtOnce() async throws {
        let bench = try await APIBench()
        let id = try #require(bench.users[.operator])
        #expect(try await bench.send(.patch, "/v1/users/\(id)", json: "{\"role\":\"viewer\"}").code == 200)
        try await bench.send(.delete, "/v1/images/\(bench.image)", as: .operator).expectProblem(403, "forbidden")
    }

    @Test func lastAdminStays() async throws {
        let bench = try await APIBench()
        let id = try #require(bench.users[.admin])
        for body in ["{\"role\":\"viewer\"}", "{\"enabled\":false}"] {
            try await bench.send(.patch, "/v1/users/\(id)", json: body).expectProblem(409, "last-admin")
        }
        try await bench.send(.delete, "/v1/users/\(id)").expectProblem(409, "last-admin")
    }

    @Test func tokensDoWhatTheyAreMadeFor() async throws {
        let bench = try await APIBench()
        let made = try await bench.send(
            .post, "/v1/api-tokens",
            json: "{\"name\":\"ci\",\"role\":\"viewer\",\"expiresAt\":\"2026-09-22T00:00:00Z\"}")
        #expect(made.code == 201, "\(made.text)")
        let fields: HTTPFields = [.authorization: "Bearer \(made.tree["token"].text ?? "")"]
        #expect(try await bench.send(.get, "/v1/images", headers: fields).code == 200)
        // Its role is the token's, though its owner is an admin.
        try await bench.send(.get, "/v1/users", headers: fields).expectProblem(403, "forbidden")
        // A log-out does not end it; its deletion and its time do.
        try await bench.send(.delete, "/v1/sessions/current", headers: fields).expectProblem(409, "not-a-session")
        bench.records.clock.advance(seconds: 24 * 3600)
        #expect(try await bench.send(.get, "/v1/images", headers: fields).code == 401)
        for body in [
            "{\"name\":\"ci\",\"expiresAt\":\"2020-01-01T00:00:00Z\"}", "{\"name\":\"ci\",\"expiresAt\":\"soon\"}",
        ] {
            let admin = try await logIn(bench, "admin", "admin-password-9").tree["token"].text ?? ""
            try await bench.send(
                .post, "/v1/api-tokens", json: body, headers: [.authorization: "Bearer \(admin)"]
            ).expectProblem(422, "invalid-value", field: "/expiresAt")
        }
    }

    /// Everything that was ever given in secret, looked for in all that is answered afterwards.
    @Test func noAnswerHasASecret() async throws {
        let bench = try await APIBench()
        let host = "{\"address\":\"192.0.2.8\",\"password\":\"SECRET-host\"}"
        let storage = try await bench.send(
            .post, "/v1/image-storages",
            json:
                "{\"type\":\"standalone\",\"name\":\"beta\",\"dataCenterId\":\"\(bench.dataCenter)\",\"host\":\(host),"
                + "\"disk\":{\"method\":\"localDirectory\"},\"mountPath\":\"/srv/beta\"}")
        let image = try await bench.send(
            .post, "/v1/images",
            json: "{\"imageStorageId\":\"\(bench.storage)\",\"name\":\"n\",\"type\":\"disk\",\"format\":\"raw\","
                + "\"source\":{\"url\":\"https://me:SECRET-url@example.org/a.raw?token=SECRET-query#SECRET-part\"}}")
        let user = try await bench.send(
            .post, "/v1/users", json: "{\"name\":\"eve\",\"role\":\"viewer\",\"password\":\"SECRET-user\"}")
        let changed = try await bench.send(
            .put, "/v1/image-storages/\(bench.storage)/password", json: "{\"privateKey\":\"SECRET-key\"}")
        let probed = try await bench.send(.post, "/v1/image-storages/probe", json: "{\"host\":\(host)}")
        let codes: [Int] = [storage.code, image.code, user.code, changed.code, probed.code]
        #expect(codes == [202, 202, 201, 200, 200] as [Int])
        #expect(image.tree["image"]["source"]["text"].text == "https://example.org/a.raw")
        let wrong = try await bench.send(
            .post, "/v1/users", json: "{\"name\":\"eve\",\"role\":\"viewer\",\"password\":\"SECRET-user\",\"x\":1}")
        var answers = [storage, image, user, changed, probed, wrong]
        for path in [
            "data-centers", "image-storages", "images", "jobs", "users", "api-tokens", "audit-log", "system-parameters",
            "image-storages/\(storage.tree["imageStorage"]["id"].text ?? "")",
            "images/\(image.tree["image"]["id"].text ?? "")", "jobs/\(image.tree["job"]["id"].text ?? "")",
        ] { answers.append(try await bench.send(.get, "/v1/\(path)?".dropLast().description)) }
        answers.append(try await bench.send(.get, "/metrics"))
        for answer in answers {
            #expect(answer.code < 500 && !answer.text.isEmpty)
            for secret in [
                "SECRET", "the-host-password", "scrypt$", bench.tokens[.admin] ?? "-", bench.tokens[.viewer] ?? "-",
                "PRIVATE KEY",
            ] { #expect(!answer.text.contains(secret), "\(secret) in \(answer.text.prefix(200))") }
        }
    }
}
