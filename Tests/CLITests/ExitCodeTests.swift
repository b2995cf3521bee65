import CLI
import Foundation
// Goal: a script knows from the exit code what kind of failure it was, and from the two streams what to read.
// Method: the program itself against a server that answers what the test says.
import Model
import NIOHTTP1
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct ExitCodeTests {
    private static let id = "11111111-2222-4333-8444-555555555555"
    private static let page = "{\"items\":[{\"id\":\"\(id)\",\"name\":\"berlin\",\"description\":\"Hall\"}]}"

    /// Runs a command against a script and closes everything.
    private func run(
        _ words: [String], _ script: @escaping ScriptedServer.Script
    ) async throws -> (Command.Result, [ScriptedServer.Request]) {
        let server = try await ScriptedServer(script)
        let command = try Command(server)
        defer { command.remove() }
        let result = try await command.run(words)
        try await server.close()
        return (result, server.requests)
    }

    @Test func done() async throws {
        let (result, requests) = try await run(["data-center", "list"]) { _ in .json(Self.page) }
        #expect(result.status == CLI.ExitStatus.done.rawValue)
        #expect(result.output.hasPrefix("ID"))
        #expect(result.output.contains("berlin  Hall"))
        #expect(result.errors.isEmpty)
        #expect(requests.first?.headers.first(name: "authorization") == "Bearer lamina_test")
        #expect(requests.first?.uri == "/v1/data-centers?limit=50")
    }

    @Test func jsonIsTheAPIsOwn() async throws {
        let (result, _) = try await run(["data-center", "list", "-o", "json"]) { _ in .json(Self.page) }
        #expect(JSONValue.parse(Data(result.output.utf8)) == JSONValue.parse(Data(Self.page.utf8)))
    }

    @Test(arguments: [
        (401, CLI.ExitStatus.notAllowed), (403, .notAllowed), (404, .notFound), (409, .failed), (412, .failed),
        (422, .failed), (429, .failed), (500, .failed), (503, .failed),
    ])
    func problems(status: Int, expected: CLI.ExitStatus) async throws {
        let (result, _) = try await run(["data-center", "list"]) { _ in .problem(status, "some-code") }
        #expect(result.status == expected.rawValue)
        #expect(result.output.isEmpty)
        #expect(result.errors == "lamina: it went wrong (some-code)\n")
    }

    @Test func nameThatFitsNothing() async throws {
        let (result, _) = try await run(["data-center", "show", "nowhere"]) { _ in .json("{\"items\":[]}") }
        #expect(result.status == CLI.ExitStatus.notFound.rawValue)
        #expect(result.errors.contains("'nowhere'"))
    }

    @Test func nameThatFitsSeveral() async throws {
        let (result, _) = try await run(["image", "show", "debian"]) { _ in
            .json("{\"items\":[{\"id\":\"a\"},{\"id\":\"b\"}]}")
        }
        #expect(result.status == CLI.ExitStatus.wrongUsage.rawValue)
        #expect(result.errors.contains("- a\n") && result.errors.contains("- b"))
    }

    @Test func idsAreAskedForByThemselves() async throws {
        let (result, requests) = try await run(["token", "delete", Self.id, "--yes"]) { request in
            request.method == "DELETE" ? .init(status: 204) : .json("{\"id\":\"\(Self.id)\",\"name\":\"ci\"}")
        }
        #expect(result.status == 0)
        #expect(
            requests.map { "\($0.method) \($0.uri)" } == [
                "GET /v1/api-tokens/\(Self.id)", "DELETE /v1/api-tokens/\(Self.id)",
            ])
    }

    @Test func nobodyThere() async throws {
        let server = try await ScriptedServer { _ in .json("{}") }
        let command = try Command(server)
        defer { command.remove() }
        try await server.close()
        let result = try await command.run(["data-center", "list"])
        #expect(result.status == CLI.ExitStatus.notReachable.rawValue)
        #expect(result.errors.contains("cannot be reached"))
    }

    @Test func notLoggedIn() async throws {
        let command = try Command()
        defer { command.remove() }
        let result = try await command.run(["image", "list"])
        #expect(result.status == CLI.ExitStatus.notAllowed.rawValue)
        #expect(result.errors.contains("lamina login"))
    }

    @Test(arguments: [
        ["nonsense"], ["image", "list", "--limit", "0"], ["image", "add", "--storage", "s"],
        ["data-center", "edit", "berlin"], ["data-center", "delete", "berlin"],
        ["image", "list", "--controller", "http://example.org"],
    ])
    func wrongUsage(words: [String]) async throws {
        let (result, requests) = try await run(words) { _ in .json(Self.page) }
        #expect(result.status == CLI.ExitStatus.wrongUsage.rawValue, "\(result.errors)")
        #expect(result.output.isEmpty)
        #expect(!result.errors.isEmpty)
        // Nothing was changed.
        #expect(requests.allSatisfy { $0.method == "GET" })
    }

    @Test func helpAndVersionAreDone() async throws {
        let command = try Command()
        defer { command.remove() }
        for (words, text) in [
            (["--version"], "lamina \(Lamina.version)\n"), (["image", "--help"], "OVERVIEW: Images."),
            (["--generate-completion-script", "bash"], "#!/bin/bash"), (["man"], ".TH LAMINA 1"),
        ] {
            let result = try await command.run(words)
            #expect(result.status == 0, "\(words)")
            #expect(result.output.hasPrefix(text), "\(words)")
            #expect(result.errors.isEmpty)
        }
    }

    @Test func answersThatAreNoJSON() async throws {
        let (result, _) = try await run(["data-center", "list"]) { _ in
            ScriptedServer.Reply(status: 200, headers: [], body: Array("<html>".utf8))
        }
        #expect(result.status == CLI.ExitStatus.failed.rawValue)
        let (other, _) = try await run(["data-center", "list"]) { _ in
            ScriptedServer.Reply(status: 502, headers: [], body: Array("<html>".utf8))
        }
        #expect(other.status == CLI.ExitStatus.failed.rawValue)
        #expect(other.errors.contains("http-502"))
    }

    @Test func pagesAreFollowed() async throws {
        let (result, requests) = try await run(["data-center", "list", "--all", "-o", "json"]) { request in
            request.uri.contains("cursor=abc")
                ? .json("{\"items\":[{\"id\":\"2\"}]}") : .json("{\"items\":[{\"id\":\"1\"}],\"nextCursor\":\"abc\"}")
        }
        #expect(requests.map(\.uri) == ["/v1/data-centers?limit=500", "/v1/data-centers?limit=500&cursor=abc"])
        let json = try #require(JSONValue.parse(Data(result.output.utf8)))
        #expect(json["items"].array?.compactMap { $0["id"].text } == ["1", "2"])
        let (few, _) = try await run(["data-center", "list", "--limit", "1"]) { _ in
            .json("{\"items\":[{\"id\":\"1\"}],\"nextCursor\":\"abc\"}")
        }
        #expect(few.errors.contains("There are more"))
    }

    @Test(arguments: [("succeeded", CLI.ExitStatus.done), ("failed", .failed), ("cancelled", .failed)])
    func jobsAreFollowedToTheirEnd(state: String, expected: CLI.ExitStatus) async throws {
        let (result, requests) = try await run(["job", "watch", Self.id]) { request in
            request.path == "/v1/events"
                ? .problem(503, "no-events")
                : .json(
                    "{\"id\":\"\(Self.id)\",\"type\":\"add-image\",\"state\":\"\(state)\","
                        + "\"error\":{\"code\":\"checksum-mismatch\",\"detail\":\"other bytes\"}}")
        }
        #expect(result.status == expected.rawValue)
        #expect(requests.contains { $0.path == "/v1/jobs/\(Self.id)" })
        if state == "failed" { #expect(result.errors.contains("other bytes (checksum-mismatch)")) }
    }

    @Test func workIsNotWaitedForWithoutATerminal() async throws {
        let (result, requests) = try await run(["storage", "reconnect", Self.id]) { request in
            request.method == "POST"
                ? .json("{\"job\":{\"id\":\"j1\",\"type\":\"reconnect\"}}", status: 202)
                : .json("{\"id\":\"\(Self.id)\"}")
        }
        #expect(result.status == 0)
        #expect(result.output == "Started job j1 (reconnect).\n")
        let post = try #require(requests.last)
        #expect(post.uri == "/v1/image-storages/\(Self.id)/reconnect")
        #expect(post.headers.first(name: "idempotency-key")?.count == 36)
    }

    @Test func parametersAreJSONWhereTheyCanBe() async throws {
        for (given, sent) in [
            ("7", "7"), ("true", "true"), ("[\"10.0.0.0/8\"]", "[\"10.0.0.0/8\"]"), ("never", "\"never\""),
        ] {
            let (_, requests) = try await run(["param", "set", "a.b", given]) { _ in .json("{\"value\":1}") }
            #expect(requests.first?.text == "{\"value\":\(sent)}")
            #expect(requests.first?.headers.first(name: "content-type") == "application/merge-patch+json")
        }
    }
}
