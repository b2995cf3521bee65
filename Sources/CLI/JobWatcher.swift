import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// Follows jobs to their end: woken by the controller's events, and by a clock in case they do not come.
struct JobWatcher {
    /// How long a controller may be away (it may be restarting, and resumes its jobs) before watching ends.
    private static let absenceMax = Duration.seconds(300)
    /// How often to look when events come, and when they do not.
    private static let pollInterval = (withEvents: Duration.seconds(3), without: Duration.seconds(1))
    /// The least time between two looks.
    private static let lookInterval = Duration.milliseconds(200)

    let api: APIClient
    let global: GlobalOptions

    /// Reports work that was started and, when `wait` says so, follows it.
    /// - Throws: `.jobFailed` when a followed job did not succeed.
    func follow(_ answers: [JSONValue], wait: WaitOptions) async throws {
        var results: [JSONValue] = []
        var failures: [String] = []
        for answer in answers {
            guard let id = answer["job"]["id"].text else {
                throw CLIError.unexpectedAnswer("the controller started work without naming its job")
            }
            guard wait.isWaiting else {
                if global.output == .table {
                    Terminal.print("Started job \(id) (\(CellText.plain(answer["job"]["type"]))).")
                    Terminal.note("Follow it with: lamina job watch \(id)")
                }
                results.append(answer)
                continue
            }
            let job = try await watch(id)
            results.append(await withFinal(job, answer))
            if let failure = JobWatcher.failure(job) {
                failures.append(failure)
            } else if global.output == .table {
                Terminal.print(JobWatcher.sentence(job, answer))
            }
        }
        if global.output == .json {
            Terminal.print(results.count == 1 ? results[0].pretty : JSONValue.list(results).pretty)
        }
        guard failures.isEmpty else { throw CLIError.jobFailed(failures.joined(separator: "\n")) }
    }

    /// Reports the per-id answers of a bulk request and follows the jobs among them.
    func followBulk(_ answer: JSONValue, wait: WaitOptions) async throws {
        let items = answer["items"].array ?? []
        let started = items.filter { !$0["job"].isNull }
        if !started.isEmpty || items.isEmpty { try await follow(started, wait: wait) }
        let refused = items.compactMap { item -> String? in
            guard !item["error"].isNull else { return nil }
            return "\(item["id"].text ?? "?"): \(Problem(status: 0, body: item["error"]).text)"
        }
        guard refused.isEmpty else { throw CLIError.jobFailed(refused.joined(separator: "\n")) }
    }

    /// Draws the progress of a job until it ends, and answers the job as it ended.
    func watch(_ id: String) async throws -> JSONValue {
        let (wakeups, waker) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await wakeUp(for: id, waker) }
            defer { group.cancelAll() }
            var line = ProgressLine()
            defer { line.clear() }
            var goneSince: ContinuousClock.Instant?
            var iterator = wakeups.makeAsyncIterator()
            while true {
                do throws(CLIError) {
                    let job = try await api.send(.GET, Noun.job.path(id)).json
                    goneSince = nil
                    if JobLine.hasEnded(job) { return job }
                    line.draw(JobLine.bar(job, columns: Terminal.columns))
                } catch {
                    guard error.exitStatus == .notReachable else { throw error }
                    let since = goneSince ?? ContinuousClock.now
                    goneSince = since
                    if ContinuousClock.now - since > JobWatcher.absenceMax { throw error }
                    line.draw("the controller does not answer; trying again")
                }
                try await Task.sleep(for: JobWatcher.lookInterval)
                _ = await iterator.next()
            }
        }
    }

    /// Wakes the watcher when an event tells of the job, and every few seconds anyway.
    private func wakeUp(for id: String, _ waker: AsyncStream<Void>.Continuation) async {
        await withTaskGroup(of: Void.self) { group in
            let events = EventsFlag()
            group.addTask {
                while !Task.isCancelled {
                    // Events only make the bar livelier: without them the clock below does.
                    try? await EventStream(api: api).read(after: nil) { event in
                        events.set(true)
                        if event.data.contains(id) { waker.yield() }
                    }
                    events.set(false)
                    try? await Task.sleep(for: JobWatcher.pollInterval.withEvents)
                }
            }
            group.addTask {
                while !Task.isCancelled {
                    let pause =
                        events.isSet ? JobWatcher.pollInterval.withEvents : JobWatcher.pollInterval.without
                    try? await Task.sleep(for: pause)
                    waker.yield()
                }
            }
            await group.waitForAll()
        }
    }

    /// The answer with the job as it ended and the resource as it is now.
    private func withFinal(_ job: JSONValue, _ answer: JSONValue) async -> JSONValue {
        guard case .object(var members) = answer else { return answer }
        members["job"] = job
        for (key, noun) in [("image", Noun.image), ("imageStorage", Noun.storage)] {
            guard let id = answer[key]["id"].text else { continue }
            // The resource may be gone (a delete): then the answer's own stands.
            if let now = try? await api.send(.GET, noun.path(id)).json { members[key] = now }
        }
        return .object(members)
    }

    private static func sentence(_ job: JSONValue, _ answer: JSONValue) -> String {
        var out = "Done: \(CellText.plain(job["type"]))"
        for key in ["image", "imageStorage"] {
            if let name = answer[key]["name"].text {
                out += " '\(CellText.harmless(name))' (\(answer[key]["id"].text ?? ""))"
            }
        }
        let progress = job["progress"]
        if let done = progress["doneBytes"].integer, done > 0 { out += ", " + ByteText.short(done) }
        if let reused = progress["reusedBytes"].integer, reused > 0 { out += ", reused " + ByteText.short(reused) }
        out += "."
        for note in job["notes"].array ?? [] { out += "\nNote: \(CellText.plain(note))" }
        return out
    }

    /// Why a job that ended did not succeed; nil when it did.
    static func failure(_ job: JSONValue) -> String? {
        let id = job["id"].text ?? "?"
        switch job["state"].text {
        case "succeeded": return nil
        case "cancelled": return "job \(id) was cancelled"
        default:
            let error = job["error"]
            return "job \(id) failed: " + (error.isNull ? "no reason given" : Problem(status: 0, body: error).text)
        }
    }
}

/// Whether events come; set by the one who reads them.
private final class EventsFlag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false  // guarded by `lock`

    var isSet: Bool { lock.withLock { value } }
    func set(_ value: Bool) { lock.withLock { self.value = value } }
}
