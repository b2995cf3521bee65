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
import Operations
import Synchronization
import Testing
// Goal: one who follows events misses none and sees none twice, also after a cut. Method: the stream is read as it is
// written, by a writer of the test's own; the cut is a second request with `Last-Event-ID`.
import Wire

/// Keeps what is written to a body.
private final class Collected: ResponseBodyWriter, Sendable {
    private let state = Mutex(("", false))
    var text: String { state.withLock { $0.0 } }
    var hasEnded: Bool { state.withLock { $0.1 } }
    func write(_ buffer: ByteBuffer) async throws { state.withLock { $0.0 += String(buffer: buffer) } }
    func finish(_ trailers: HTTPFields?) async throws { state.withLock { $0.1 = true } }

    /// The numbers of the events so far.
    var numbers: [Int] {
        text.split(separator: "\n").filter { $0.hasPrefix("id: ") }.compactMap { Int($0.dropFirst(4)) }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct EventTests {
    private func follow(_ bench: APIBench, last: String?) async throws -> (Response, Collected, Task<Void, any Error>) {
        var fields: HTTPFields = [.authorization: "Bearer \(bench.tokens[.viewer] ?? "")"]
        fields[.named("Last-Event-ID")] = last
        let request = Request(
            head: .init(method: .get, scheme: "https", authority: "x", path: "/v1/events", headerFields: fields),
            body: RequestBody(buffer: ByteBuffer()))
        let response = try await bench.answer(request, on: NIOAsyncTestingChannel())
        let collected = Collected()
        let writing = Task { try await response.body.write(collected) }
        return (response, collected, writing)
    }

    /// Changes that make one event each.
    private func change(_ bench: APIBench, _ description: String) async throws {
        let answer = try await bench.send(
            .patch, "/v1/images/\(bench.image)", json: "{\"description\":\"\(description)\"}")
        #expect(answer.code == 200)
    }

    @Test func eventsComeAsTheyHappen() async throws {
        let bench = try await APIBench()
        let (response, collected, writing) = try await follow(bench, last: nil)
        #expect(response.status == .ok)
        #expect(response.headers[.contentType] == "text/event-stream")
        #expect(response.headers[.cacheControl] == "no-store")
        #expect(response.headers[.named("X-Accel-Buffering")] == "no")
        #expect(await eventually { collected.text.contains("retry: 2000\n\n") })
        try await change(bench, "a")
        #expect(await eventually { collected.numbers.count == 1 })
        let lines = collected.text.split(separator: "\n")
        #expect(lines.contains("event: image"))
        let data = try #require(lines.first { $0.hasPrefix("data: ") }).dropFirst(6)
        let event = try JSONDecoder().decode(Tree.self, from: Data(data.utf8))
        #expect(event["type"].text == "image")
        #expect(event["change"].text == "updated")
        #expect(event["id"].text == bench.image.description)
        bench.ending.raise()
        try await writing.value
        #expect(collected.hasEnded)
    }

    @Test func cutIsTakenUpWithoutGap() async throws {
        let bench = try await APIBench()
        for number in 0..<5 { try await change(bench, "\(number)") }
        let newest = Int(try await bench.records.inventory.lastEventSequence())
        let (_, all, first) = try await follow(bench, last: "0")
        #expect(await eventually { all.numbers == Array(1...newest) })
        let (_, rest, second) = try await follow(bench, last: "\(newest - 2)")
        #expect(await eventually { rest.numbers == [newest - 1, newest] })
        try await change(bench, "live")
        #expect(await eventually { rest.numbers == [newest - 1, newest, newest + 1] })
        #expect(await eventually { all.numbers == Array(1...newest + 1) })
        bench.ending.raise()
        try await first.value
        try await second.value
    }

    @Test func progressHasNoNumber() async throws {
        let bench = try await APIBench()
        let (_, collected, writing) = try await follow(bench, last: nil)
        #expect(await eventually { collected.text.contains("retry") })
        bench.records.inventory.note(
            JobProgress(fraction: 0.5, doneBytes: 7, phase: "slice"), of: JobID(random: (5, 5)))
        #expect(await eventually { collected.text.contains("\"change\":\"progressed\"") })
        #expect(collected.text.contains("\"fraction\":0.5"))
        #expect(collected.numbers.isEmpty)
        bench.ending.raise()
        try await writing.value
    }

    @Test(arguments: ["x", "-1", "1.5", "99999999999999999999999", " "])
    func numbersThatAreNone(last: String) async throws {
        let bench = try await APIBench()
        try await bench.send(.get, "/v1/events", headers: [.named("Last-Event-ID"): last])
            .expectProblem(422, "invalid-value", field: "Last-Event-ID")
    }

    @Test func readerThatGoesAwayIsForgotten() async throws {
        let bench = try await APIBench()
        let (_, collected, writing) = try await follow(bench, last: nil)
        #expect(await eventually { collected.text.contains("retry") })
        writing.cancel()
        _ = await writing.result
        // Whoever else changes things is not kept waiting by it.
        try await change(bench, "after")
        #expect(!collected.text.contains("after"))
    }
}
