import CLI
import Foundation
import Model
// Goal: a file that is uploaded arrives whole, once, and goes on where a cut left it, also in another run of the command.
// Method: the program against a tus server of the test's own that keeps what it got and fails as it is told.
import NIOHTTP1
import Synchronization
import Testing

/// Keeps uploads; fails the next requests with the statuses it is given (0: the connection is cut).
private final class TusServer: Sendable {
    struct State: Sendable {
        var bytes: [UInt8] = []
        var made = 0
        var isGone = false
        var failures: [Int] = []
        var image: String?
    }
    let state = Mutex(State())

    func answer(_ request: ScriptedServer.Request) -> ScriptedServer.Reply {
        state.withLock { state in
            let tus = [("tus-resumable", "1.0.0")]
            switch (request.method, request.path) {
            case ("POST", "/v1/uploads"):
                state.made += 1
                state.bytes = []
                state.isGone = false
                return .init(status: 201, headers: tus + [("location", "/v1/uploads/u\(state.made)")])
            case ("HEAD", _):
                guard !state.isGone else { return .init(status: 404) }
                return .init(headers: tus + [("upload-offset", "\(state.bytes.count)")])
            case ("PATCH", _):
                if let failure = state.failures.first {
                    state.failures.removeFirst()
                    // Half of it had become durable.
                    state.bytes += request.body.prefix(request.body.count / 2)
                    return failure == 0 ? .init(length: 5, isCut: true) : .problem(failure, "told-to-fail")
                }
                guard request.headers.first(name: "upload-offset") == "\(state.bytes.count)" else {
                    return .problem(409, "upload-offset-mismatch")
                }
                let sum = Data(Digest.sha256(request.body).bytes).base64EncodedString()
                guard request.headers.first(name: "upload-checksum") == "sha256 \(sum)" else {
                    return .problem(460, "checksum-mismatch")
                }
                state.bytes += request.body
                return .init(status: 204, headers: tus + [("upload-offset", "\(state.bytes.count)")])
            case ("POST", "/v1/images"):
                state.image = request.text
                return .json("{\"job\":{\"id\":\"j\",\"type\":\"add-image\"},\"image\":{\"id\":\"i\"}}", status: 202)
            default: return .json("{\"items\":[{\"id\":\"s1\",\"name\":\"st\"}]}")
            }
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(1)))
struct SendTests {
    private static let content: [UInt8] = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }

    /// Runs the command as often as there are plans, on one file; each plan is what fails in that run.
    private func add(
        _ plans: [[Int]], more: [String] = [], between: (TusServer, Command) throws -> Void = { _, _ in }
    ) async throws -> (results: [Command.Result], state: TusServer.State, patches: [String]) {
        let tus = TusServer()
        let server = try await ScriptedServer { tus.answer($0) }
        let command = try Command(server)
        defer { command.remove() }
        let file = command.path("debian.raw")
        try Data(Self.content).write(to: URL(fileURLWithPath: file))
        var results: [Command.Result] = []
        for (number, plan) in plans.enumerated() {
            if number > 0 { try between(tus, command) }
            tus.state.withLock { $0.failures = plan }
            results.append(
                try await command.run(["image", "add", "--storage", "st", "--file", file] + more))
        }
        try await server.close()
        let patches = server.requests.filter { $0.method == "PATCH" }
            .compactMap { $0.headers.first(name: "upload-offset") }
        return (results, tus.state.withLock { $0 }, patches)
    }

    private func image(_ state: TusServer.State) throws -> JSONValue {
        try #require(JSONValue.parse(Data((state.image ?? "").utf8)))
    }

    @Test func fileArrives() async throws {
        let (results, state, patches) = try await add([[]])
        #expect(results[0].status == 0, "\(results[0].errors)")
        #expect(state.bytes == Self.content)
        #expect(patches == ["0"])
        let image = try image(state)
        #expect(image["name"].text == "debian")
        #expect(image["format"].text == "raw")
        #expect(image["type"].text == "disk")
        #expect(image["source"]["uploadId"].text == "u1")
        // What was read here is what must arrive.
        #expect(image["checksum"].text == Digest.sha256(Self.content).description)
    }

    @Test(arguments: [0, 409, 460, 503])
    func cutsAreTakenUp(failure: Int) async throws {
        let (results, state, patches) = try await add([[failure]])
        #expect(results[0].status == 0, "\(results[0].errors)")
        #expect(state.bytes == Self.content)
        #expect(patches == ["0", "100000"])
        #expect(state.made == 1)
    }

    @Test func otherRunGoesOn() async throws {
        let (results, state, patches) = try await add([[422], []])
        #expect(results[0].status == CLI.ExitStatus.failed.rawValue)
        #expect(results[1].status == 0, "\(results[1].errors)")
        #expect(results[1].errors.contains("Going on after 97.7 KiB"))
        #expect(patches == ["0", "100000"])
        #expect(state.bytes == Self.content)
        #expect(state.made == 1)
    }

    @Test func uploadThatExpiredBeginsAnew() async throws {
        let (results, state, _) = try await add([[422], []]) { tus, _ in tus.state.withLock { $0.isGone = true } }
        #expect(results[1].status == 0, "\(results[1].errors)")
        #expect(state.made == 2)
        #expect(state.bytes == Self.content)
    }

    @Test func fileThatChangedBeginsAnew() async throws {
        let (results, state, _) = try await add([[422], []]) { _, command in
            try Data(Self.content.reversed()).write(to: URL(fileURLWithPath: command.path("debian.raw")))
        }
        #expect(results[1].status == 0, "\(results[1].errors)")
        #expect(state.made == 2)
        #expect(state.bytes == Self.content.reversed())
    }

    @Test func finishedUploadIsNotUsedTwice() async throws {
        let (results, state, _) = try await add([[], []])
        #expect(results.map(\.status) == [0, 0])
        #expect(state.made == 2)
    }

    @Test func wrongChecksumMakesNoImage() async throws {
        let (results, state, _) = try await add(
            [[]], more: ["--checksum", "sha256:" + String(repeating: "0", count: 64)])
        #expect(results[0].status == CLI.ExitStatus.failed.rawValue)
        #expect(state.image == nil)
    }
}
