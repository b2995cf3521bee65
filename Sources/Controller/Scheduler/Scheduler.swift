// Scheduler: durable jobs of steps.
//
// Hides: queues, retries, the order of undoing, how a job survives the controller.
// Invariants: a step's output is durable before the next step begins; a job that is not at its end in the inventory is
// gone on with at the next start, at its first step that is not done, or with the rest of its undoing; what ends a job
// and what follows from it is one transaction.
// Is not: aware of images, hosts or agents.
import Foundation
import Inventory
import Logging
import Model
import Secrets

/// Why the scheduler did not do what was asked.
package enum SchedulerError: Error, Sendable, Equatable, InventoryFailing {
    /// The inventory failed.
    case inventory(InventoryError)
    /// The job has ended.
    case finished(JobState)
    /// Jobs of this type run to their end.
    case notCancellable
    /// The caller withdrew before there was an answer.
    case cancelled

    /// Wraps the inventory's error.
    package init(_ error: InventoryError) { self = .inventory(error) }
}

/// Runs jobs.
package actor Scheduler {
    /// Pauses; a parameter so that tests need not wait. Throws when the task is cancelled.
    package typealias Sleep = @Sendable (Duration) async throws -> Void

    private struct Active {
        var key: String?
        var task: Task<Void, Never>
        /// The step's attempt or the pause before the next: what a cancel cuts short.
        var interrupt: (@Sendable () -> Void)?
        /// A cancel came; what begins now is cut short at once.
        var isCancelled = false
        /// What was done is being undone: a cancel is too late to cut anything short.
        var isUndoing = false
        /// Passing failures of the step in a row.
        var attempts = 0
        /// Waits of the step in a row.
        var waits = 0
    }

    private let inventory: Inventory
    private let types: [String: JobType]
    private let clock: WallClock
    private let randomness: Randomness
    private let sleep: Sleep
    private let limit: @Sendable (String) async -> Int
    private let log: Logger
    private var active: [JobID: Active] = [:]
    private var queues: [String: [JobID]] = [:]
    private var isStarted = false
    private var isStopping = false

    /// Creates a scheduler; nothing runs before `run`.
    /// - Parameter limit: how many jobs of a concurrency key may run at once; asked each time one could start.
    package init(
        inventory: Inventory, types: [JobType], clock: WallClock, randomness: Randomness, log: Logger,
        sleep: @escaping Sleep, limit: @escaping @Sendable (String) async -> Int
    ) {
        self.inventory = inventory
        self.types = Dictionary(types.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.clock = clock
        self.randomness = randomness
        self.log = log
        self.sleep = sleep
        self.limit = limit
    }

    /// Adds a job inside the transaction that makes it necessary. Call `enqueue` when that is committed.
    package nonisolated func insert<Failure: InventoryFailing>(
        _ transaction: Transaction<Failure>, type: String, arguments: some Encodable, resource: ResourceReference,
        concurrencyKey: String? = nil, requestedBy: String
    ) throws(Failure) -> JobRecord {
        guard let steps = types[type]?.steps else { preconditionFailure("the job type \(type) is not registered") }
        let job = JobRecord(
            id: randomness.id(), type: type, stepNames: steps.map(\.name), arguments: StepOutput.encode(arguments),
            resource: resource, concurrencyKey: concurrencyKey, requestedBy: requestedBy,
            createdAt: transaction.now)
        try transaction.insert(job)
        return job
    }

    /// Lets a job run when its turn comes.
    package func enqueue(_ job: JobRecord) async {
        // Before the start there is nothing to do: the start takes up all that is unfinished.
        guard isStarted, !isStopping, active[job.id] == nil else { return }
        guard let key = job.concurrencyKey else { return begin(job.id, key: nil) }
        guard queues[key]?.contains(job.id) != true else { return }
        queues[key, default: []].append(job.id)
        await pump(key)
    }

    /// Takes up every unfinished job, runs jobs until the task is cancelled, and then lets go of them as they are: the
    /// next start goes on with them.
    package func run() async {
        isStarted = true
        while !Task.isCancelled {
            do throws(SchedulerError) {
                for job in try await unfinished() { await enqueue(job) }
                break
            } catch {
                log.error("jobs cannot be read", metadata: ["error": "\(error)"])
                await pause(SchedulerLimits.inventoryDelay)
            }
        }
        let (forever, waiter) = AsyncStream.makeStream(of: Never.self)
        await withTaskCancellationHandler {
            for await _ in forever {}
        } onCancel: {
            waiter.finish()
        }
        isStopping = true
        let ending = active.values
        for job in ending { job.interrupt?() }
        for job in ending { await job.task.value }
    }

    private func unfinished() async throws(SchedulerError) -> [JobRecord] {
        try await inventory.read { transaction throws(SchedulerError) in try transaction.unfinishedJobs() }
    }

    /// Withdraws a job: the step that runs is cut short, and what was done is undone. Returns at once.
    /// - Throws: `.finished`, `.notCancellable`, `.inventory(.notFound)`.
    package func cancel(_ id: JobID) async throws(SchedulerError) -> JobRecord {
        let types = self.types
        let job = try await inventory.write { transaction throws(SchedulerError) in
            let job = try transaction.get(JobRecord.self, id)
            guard !job.state.isFinal else { throw .finished(job.state) }
            guard types[job.type]?.isCancellable ?? true else { throw .notCancellable }
            return try transaction.change(JobRecord.self, id) { job in job.isCancelRequested = true }
        }
        if let key = job.concurrencyKey, queues[key]?.contains(id) == true {
            // It has no turn to wait for any more.
            queues[key]?.removeAll { $0 == id }
            begin(id, key: nil)
        } else if active[id]?.isUndoing == false {
            // Asked of what runs here: the undoing may have begun after the record was written.
            active[id]?.isCancelled = true
            active[id]?.interrupt?()
        }
        return job
    }

    /// Returns when a job has ended (or is gone). Throws `.cancelled` when the task is, `.inventory` when that fails: it
    /// is not known then whether the job has ended.
    package func waitUntilEnded(_ id: JobID) async throws(SchedulerError) {
        while true {
            let job = try await inventory.read { transaction throws(SchedulerError) in
                try transaction.find(JobRecord.self, id)
            }
            guard let job, !job.state.isFinal else { return }
            guard !Task.isCancelled else { throw .cancelled }
            await pause(SchedulerLimits.lookDelay)
        }
    }

    /// The bound of a concurrency key may have changed.
    package func limitChanged(_ key: String) async { await pump(key) }

    private func pump(_ key: String) async {
        let bound = max(1, await limit(key))
        while !isStopping, let next = queues[key]?.first, active.values.count(where: { $0.key == key }) < bound {
            queues[key]?.removeFirst()
            if queues[key]?.isEmpty == true { queues[key] = nil }
            begin(next, key: key)
        }
    }

    private func begin(_ id: JobID, key: String?) {
        guard active[id] == nil, !isStopping else { return }
        active[id] = Active(
            key: key,
            task: Task {
                await self.execute(id)
                await self.ended(id)
            })
    }

    private func ended(_ id: JobID) async {
        let key = active.removeValue(forKey: id)?.key
        if let key { await pump(key) }
    }

    // MARK: - One job

    private func execute(_ id: JobID) async {
        while !isStopping {
            do throws(SchedulerError) {
                guard try await advance(id) else { return }
            } catch {
                // What was done and not recorded is done again: steps may be repeated.
                log.error("a job cannot go on", metadata: ["job": "\(id)", "error": "\(error)"])
                await interruptiblePause(id, SchedulerLimits.inventoryDelay)
            }
        }
    }

    /// One attempt of one step. False: the job has ended.
    private func advance(_ id: JobID) async throws(SchedulerError) -> Bool {
        let job = try await inventory.read { transaction throws(SchedulerError) in
            try transaction.find(JobRecord.self, id)
        }
        guard let job, !job.state.isFinal else { return false }
        guard let type = types[job.type], type.steps.map(\.name) == job.steps.map(\.name) else {
            let failure = Failure(code: "internal", detail: "this version does not know the job '\(job.type)'")
            try await finish(job, nil, .failed, failure)
            return false
        }
        if job.isUndoing { return try await undoOne(job, type) }
        if job.isCancelRequested {
            try await beginUndo(job, nil, at: nil)
            return true
        }
        return try await runOne(job, type)
    }

    private func runOne(_ job: JobRecord, _ type: JobType) async throws(SchedulerError) -> Bool {
        guard let index = job.steps.firstIndex(where: { $0.state != .done }) else {
            try await finish(job, type, .succeeded, nil)
            return false
        }
        let started = try await change(job.id) { job, now in
            job.state = .running
            job.startedAt = job.startedAt ?? now
            job.steps[index].state = .running
            job.steps[index].startedAt = job.steps[index].startedAt ?? now
            if job.steps[index].startedAt == now { job.progress.phase = job.steps[index].name }
        }
        let sink = ProgressSink(from: started.progress, clock: clock) { [inventory] progress in
            inventory.note(progress, of: job.id)
        }
        let outcome = await attempt(started, type.steps[index], sink)
        switch outcome {
        case .success(let output):
            resetCounts(job.id)
            let isLast = index == type.steps.count - 1
            try await change(job.id, ending: isLast ? type : nil) { job, now in
                job.steps[index].state = .done
                job.steps[index].finishedAt = now
                job.steps[index].output = output
                job.waitingFor = nil
                job.progress = sink.latest
                job.notes += sink.notes
                // A cancel that came while the last step ended comes too late only if this is committed first.
                if isLast, !job.isCancelRequested { Scheduler.close(&job, .succeeded, at: now) }
            }
            return true
        case .failure(.cancelled):
            // Nobody cut it short: a step that says so all the same must not be asked again without a pause.
            if !isStopping, active[job.id]?.isCancelled != true {
                try await holdUp(job, "the step was cut short", isWait: true)
            }
        case .failure(.wait(let reason)):
            try await holdUp(job, reason, isWait: true)
        case .failure(.retry(let failure)):
            if (active[job.id]?.attempts ?? 0) + 1 >= type.steps[index].attemptsMax {
                try await beginUndo(job, failure, at: index)
            } else {
                try await holdUp(job, failure.detail, isWait: false)
            }
        case .failure(.failed(let failure)):
            try await beginUndo(job, failure, at: index)
        }
        return true
    }

    // Waiting is not failing: each has its own count, and only failures have a bound.
    private func holdUp(_ job: JobRecord, _ reason: String, isWait: Bool) async throws(SchedulerError) {
        if job.waitingFor != reason {
            try await change(job.id) { job, _ in job.waitingFor = reason }
        }
        let count = (isWait ? active[job.id]?.waits : active[job.id]?.attempts) ?? 0
        if isWait { active[job.id]?.waits = count + 1 } else { active[job.id]?.attempts = count + 1 }
        let longest = isWait ? SchedulerLimits.waitDelayMax : SchedulerLimits.retryDelayMax
        await interruptiblePause(job.id, min(SchedulerLimits.retryDelayMin * (1 << min(count, 10)), longest))
    }

    private func resetCounts(_ id: JobID) {
        active[id]?.attempts = 0
        active[id]?.waits = 0
    }

    private func attempt(
        _ job: JobRecord, _ step: JobStepType, _ sink: ProgressSink
    ) async -> Result<String?, StepFailure> {
        let context = StepContext(job: job, report: { sink.report($0) }, note: { sink.note($0) })
        let writer = Task {
            for await progress in sink.phases { await self.keep(progress, of: job.id) }
        }
        let work = Task { () -> Result<String?, StepFailure> in
            do throws(StepFailure) { return .success(try await step.run(context)) } catch { return .failure(error) }
        }
        let outcome = await interruptible(job.id, work)
        sink.finish()
        await writer.value
        return outcome
    }

    // At a change of phase only, and not worth failing for: the next one, or the step's end, writes it again.
    private func keep(_ progress: JobProgress, of id: JobID) async {
        do throws(SchedulerError) {
            try await change(id) { job, _ in
                job.progress = progress
                job.waitingFor = nil
            }
        } catch {
            log.warning("progress was not kept", metadata: ["job": "\(id)", "error": "\(error)"])
        }
    }

    private func beginUndo(_ job: JobRecord, _ failure: Failure?, at index: Int?) async throws(SchedulerError) {
        resetCounts(job.id)
        try await change(job.id) { job, now in
            job.isUndoing = true
            job.state = .running
            job.startedAt = job.startedAt ?? now
            job.error = failure
            job.waitingFor = nil
            if let index {
                job.steps[index].state = .failed
                job.steps[index].finishedAt = now
            }
        }
    }

    private func undoOne(_ job: JobRecord, _ type: JobType) async throws(SchedulerError) -> Bool {
        // Only the end of the controller cuts an undo short.
        active[job.id]?.isUndoing = true
        let touched: [JobStepState] = [.done, .running, .failed]
        guard
            let index = job.steps.lastIndex(where: { touched.contains($0.state) && $0.undoFailure == nil })
        else {
            let wasCancelled = job.error == nil || job.error?.code == Scheduler.undoIncomplete
            try await finish(job, type, wasCancelled ? .cancelled : .failed, job.error)
            return false
        }
        var failure: StepFailure?
        if let undo = type.steps[index].undo {
            let context = StepContext(job: job, report: { _ in }, note: { _ in })
            let work = Task { () -> StepFailure? in
                do throws(StepFailure) { try await undo(context) } catch { return error }
                return nil
            }
            failure = await interruptible(job.id, work)
        }
        if isStopping, failure != nil { return true }
        guard let failure else {
            resetCounts(job.id)
            try await change(job.id) { job, now in
                job.steps[index].state = .undone
                job.steps[index].finishedAt = now
                job.waitingFor = nil
            }
            return true
        }
        let (why, isFinal) =
            switch failure {
            case .failed(let failure): (failure.detail, true)
            case .retry(let failure): (failure.detail, false)
            case .wait(let reason): (reason, false)
            case .cancelled: ("it was cut short", false)
            }
        if isFinal || (active[job.id]?.attempts ?? 0) + 1 >= SchedulerLimits.undoAttemptsMax {
            try await giveUpUndo(job, index, why)
        } else {
            try await holdUp(job, "to undo '\(job.steps[index].name)': \(why)", isWait: false)
        }
        return true
    }

    /// The code of a job that was cancelled and could not be undone wholly.
    package static let undoIncomplete = "undo-incomplete"

    private func giveUpUndo(_ job: JobRecord, _ index: Int, _ why: String) async throws(SchedulerError) {
        resetCounts(job.id)
        try await change(job.id) { job, now in
            let words = "'\(job.steps[index].name)' could not be undone: \(why)"
            job.steps[index].undoFailure = why
            job.steps[index].finishedAt = now
            job.waitingFor = nil
            job.error =
                job.error.map { Failure(code: $0.code, detail: "\($0.detail); \(words)", field: $0.field) }
                ?? Failure(code: Scheduler.undoIncomplete, detail: words)
        }
    }

    private func finish(
        _ job: JobRecord, _ type: JobType?, _ state: JobState, _ error: Failure?
    ) async throws(SchedulerError) {
        try await change(job.id, ending: type) { job, now in
            job.error = error
            Scheduler.close(&job, state, at: now)
        }
    }

    private static func close(_ job: inout JobRecord, _ state: JobState, at now: Timestamp) {
        job.state = state
        job.finishedAt = now
        job.waitingFor = nil
        job.progress.bytesPerSecond = 0
        job.progress.etaSeconds = nil
        if state == .succeeded { job.progress.fraction = 1 }
    }

    @discardableResult
    private func change(
        _ id: JobID, ending type: JobType? = nil, _ body: @escaping @Sendable (inout JobRecord, Timestamp) -> Void
    ) async throws(SchedulerError) -> JobRecord {
        let changed = try await inventory.write { transaction throws(SchedulerError) in
            let now = transaction.now
            let job = try transaction.change(JobRecord.self, id) { job in body(&job, now) }
            if job.state.isFinal, let type { try type.ended(transaction, job) }
            return job
        }
        if changed.state.isFinal { inventory.note(nil, of: id) }
        return changed
    }

    // MARK: - What can be cut short

    private func interruptible<T: Sendable>(_ id: JobID, _ work: Task<T, Never>) async -> T {
        active[id]?.interrupt = { work.cancel() }
        let isWithdrawn = active[id]?.isCancelled == true && active[id]?.isUndoing != true
        if isStopping || isWithdrawn { work.cancel() }
        let value = await work.value
        active[id]?.interrupt = nil
        return value
    }

    private func interruptiblePause(_ id: JobID, _ duration: Duration) async {
        await interruptible(id, Task { await self.pause(duration) })
    }

    private func pause(_ duration: Duration) async {
        // Cut short by a cancel: the caller looks again anyway.
        do { try await sleep(duration) } catch { return }
    }
}

/// JSON of steps and arguments.
package enum StepOutput {
    /// JSON with sorted keys, so that equal values give equal text.
    package static func encode(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            let text = String(decoding: try encoder.encode(value), as: UTF8.self)
            precondition(text.utf8.count <= SchedulerLimits.jsonByteCountMax, "steps keep facts, not data")
            return text
        } catch {
            preconditionFailure("values of our own always encode: \(error)")
        }
    }
}
