import Glibc
import Logging
import Model
import Synchronization
import Wire

/// One ingest under way, whoever waits for it.
final class IngestRun: Sendable {
    private struct State {
        var progress: VerbProgress
        var version = 0
        var isCancelled = false
        var result: Result<IngestVerb.Reply, AgentFailure>?
    }

    let verb: IngestVerb
    private let state: Mutex<State>

    init(_ verb: IngestVerb) {
        self.verb = verb
        state = Mutex(State(progress: VerbProgress(phase: .fetch, doneBytes: 0, totalBytes: nil)))
    }

    var isCancelled: Bool { state.withLock { $0.isCancelled } }
    var result: Result<IngestVerb.Reply, AgentFailure>? { state.withLock { $0.result } }

    /// The progress and a number that rises with every change.
    var standing: (progress: VerbProgress, version: Int) { state.withLock { ($0.progress, $0.version) } }

    func report(_ progress: VerbProgress) {
        state.withLock { state in
            state.progress = progress
            state.version += 1
        }
    }

    func cancel() { state.withLock { $0.isCancelled = true } }

    func finish(_ result: Result<IngestVerb.Reply, AgentFailure>) { state.withLock { $0.result = result } }
}

/// The ingests of this agent, by session.
final class IngestRuns: Sendable {
    private struct State {
        var running: [SessionID: IngestRun] = [:]
        /// Replies of ingests that ended well, oldest first; their notes are nowhere else.
        var finished: [(session: SessionID, reply: IngestVerb.Reply)] = []
        var slicingCount = 0
        var slicingMax = 1
    }

    private let state = Mutex(State())
    private let threads = WorkerThreads(countMax: ServiceLimits.runCountMax)
    private let log: Logger

    init(log: Logger) { self.log = log }

    var runningCount: Int { state.withLock { $0.running.count } }

    func isRunning(_ session: SessionID) -> Bool { state.withLock { $0.running[session] != nil } }

    /// The run of a session that is under way, or a new one that does `work`.
    func join(
        _ verb: IngestVerb, work: @escaping @Sendable (IngestRun) throws(AgentFailure) -> IngestVerb.Reply
    ) throws(AgentFailure) -> IngestRun {
        let (run, isNew) = try state.withLock { state throws(AgentFailure) -> (IngestRun, Bool) in
            if let run = state.running[verb.session] {
                guard run.verb.declaration.id == verb.declaration.id else {
                    throw AgentFailure(code: .badRequest, detail: "the session \(verb.session) is for another image")
                }
                return (run, false)
            }
            guard state.running.count < ServiceLimits.runCountMax else {
                throw AgentFailure(
                    code: .sessionBusy,
                    detail: "\(ServiceLimits.runCountMax) images are being added already; ask again later",
                    isRetryable: true)
            }
            let run = IngestRun(verb)
            state.running[verb.session] = run
            return (run, true)
        }
        guard isNew else { return run }
        let log = log
        threads.start {
            do throws(AgentFailure) {
                let reply = try work(run)
                log.info("image \(verb.declaration.id) is stored")
                self.end(run, .success(reply))
            } catch {
                log.info("image \(verb.declaration.id) is not stored: \(error)")
                self.end(run, .failure(error))
            }
        }
        return run
    }

    /// The reply of a session that ended well not long ago.
    func finished(_ session: SessionID) -> IngestVerb.Reply? {
        state.withLock { $0.finished.last { $0.session == session }?.reply }
    }

    /// Asks the run of a session to stop; answers it when there is one.
    func cancel(_ session: SessionID) -> IngestRun? {
        let run = state.withLock { $0.running[session] }
        run?.cancel()
        return run
    }

    func cancelAll() { for run in state.withLock({ Array($0.running.values) }) { run.cancel() } }

    /// How many may slice at once.
    func setSlicingMax(_ count: Int) { state.withLock { $0.slicingMax = count } }

    /// Runs `body` when it is the run's turn to slice. Blocks.
    func sliceInTurn<T>(_ run: IngestRun, _ body: () throws(AgentFailure) -> T) throws(AgentFailure) -> T {
        while true {
            if run.isCancelled { throw AgentFailure(code: .cancelled, detail: "it was cancelled", isRetryable: true) }
            let isOurs = state.withLock { state in
                guard state.slicingCount < state.slicingMax else { return false }
                state.slicingCount += 1
                return true
            }
            if isOurs { break }
            usleep(ServiceLimits.waitMicroseconds)
        }
        defer { state.withLock { $0.slicingCount -= 1 } }
        return try body()
    }

    private func end(_ run: IngestRun, _ result: Result<IngestVerb.Reply, AgentFailure>) {
        state.withLock { state in
            state.running[run.verb.session] = nil
            if case .success(let reply) = result {
                state.finished.append((run.verb.session, reply))
                if state.finished.count > ServiceLimits.finishedCountMax { state.finished.removeFirst() }
            }
        }
        run.finish(result)
    }
}
