import ControllerTestSupport
import Foundation
import Inventory
import Logging
import Model
import Scheduler
import Synchronization

/// A job type whose steps do what a test says, and write down when they were asked.
final class Script: Sendable {
    typealias Run = @Sendable (StepContext) async throws(StepFailure) -> String?
    typealias Undo = @Sendable (StepContext) async throws(StepFailure) -> Void

    let stepNames: [String]
    private let lines = Mutex<[String]>([])
    private let runs = Mutex<[String: Run]>([:])
    private let undos = Mutex<[String: Undo]>([:])

    init(_ stepNames: [String] = ["a", "b", "c"]) { self.stepNames = stepNames }

    /// `run a`, `undo b`, … in the order in which they were asked.
    var journal: [String] { lines.withLock { $0 } }

    func count(_ line: String) -> Int { journal.count { $0 == line } }

    /// What a step does from now on; a step without it says nothing and succeeds.
    func onRun(_ step: String, _ action: @escaping Run) { runs.withLock { $0[step] = action } }

    func onUndo(_ step: String, _ action: @escaping Undo) { undos.withLock { $0[step] = action } }

    func type(
        _ name: String = "test", attemptsMax: Int = SchedulerLimits.attemptsMax, isCancellable: Bool = true,
        withoutUndo: Set<String> = [],
        ended: @escaping @Sendable (Transaction<SchedulerError>, JobRecord) throws(SchedulerError) -> Void = {
            _, _ throws(SchedulerError) in
        }
    ) -> JobType {
        JobType(
            name: name,
            steps: stepNames.map { step in
                let undo: Undo = { (context) throws(StepFailure) in
                    self.lines.withLock { $0.append("undo \(step)") }
                    try await self.undos.withLock { $0[step] }?(context)
                }
                return JobStepType(
                    step, attemptsMax: attemptsMax,
                    run: { (context) throws(StepFailure) -> String? in
                        self.lines.withLock { $0.append("run \(step)") }
                        return try await self.runs.withLock { $0[step] }?(context)
                    }, undo: withoutUndo.contains(step) ? nil : undo)
            }, isCancellable: isCancellable, ended: ended)
    }
}

/// A scheduler over a real inventory, which a test can end and start again.
final class SchedulerBench: Sendable {
    private struct Running: Sendable {
        var scheduler: Scheduler
        var task: Task<Void, Never>
    }

    let bench: InventoryBench
    private let types: Mutex<[JobType]>
    private let limits = Mutex<[String: Int]>([:])
    private let running: Mutex<Running?> = Mutex(nil)
    private let taken = Mutex<[Duration]>([])
    /// At which every pause stands while it is set.
    let pauseGate = Mutex<Gate?>(nil)

    init(_ types: [JobType], bench: InventoryBench? = nil) throws {
        self.bench = try bench ?? InventoryBench()
        self.types = Mutex(types)
        start()
    }

    convenience init(_ script: Script) throws { try self.init([script.type()]) }

    var inventory: Inventory { bench.inventory }

    var scheduler: Scheduler {
        guard let scheduler = running.withLock({ $0?.scheduler }) else { preconditionFailure("it was not started") }
        return scheduler
    }

    /// How long it paused, pause for pause.
    var pauses: [Duration] { taken.withLock { $0 } }

    func setLimit(_ limit: Int, of key: String) { limits.withLock { $0[key] = limit } }

    func start(_ given: [JobType]? = nil) {
        if let given { types.withLock { $0 = given } }
        let scheduler = Scheduler(
            inventory: bench.inventory, types: types.withLock { $0 }, clock: bench.clock.wall,
            randomness: bench.randomness, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            sleep: { duration in
                self.taken.withLock { $0.append(duration) }
                await self.pauseGate.withLock { $0 }?.wait()
                await Task.yield()
                try Task.checkCancellation()
            },
            limit: { key in self.limits.withLock { $0[key] } ?? 1 })
        let task = Task { await scheduler.run() }
        running.withLock { $0 = Running(scheduler: scheduler, task: task) }
    }

    /// Ends it as a signal ends the controller.
    func stop() async {
        let ending = running.withLock { $0?.task }
        ending?.cancel()
        await ending?.value
    }

    /// The next life of the controller.
    func restart(_ types: [JobType]? = nil) async throws {
        await stop()
        try bench.reopen()
        start(types)
    }

    /// Adds a job and lets it run.
    @discardableResult
    func add(_ type: String = "test", arguments: [String] = [], key: String? = nil) async throws -> JobID {
        let scheduler = self.scheduler
        // What is added before the scheduler has started is taken up by age.
        bench.clock.advance(milliseconds: 1)
        let job = try await bench.write { transaction throws(InventoryError) in
            try scheduler.insert(
                transaction, type: type, arguments: arguments,
                resource: ResourceReference(type: "thing", id: "1"), concurrencyKey: key, requestedBy: "tester")
        }
        await scheduler.enqueue(job)
        return job.id
    }

    /// Adds a job and waits for its end.
    func run(_ type: String = "test", arguments: [String] = []) async throws -> JobRecord {
        try await inventory.ended(try await add(type, arguments: arguments))
    }
}

extension JobRecord {
    var stepStates: [JobStepState] { steps.map(\.state) }
}

let broken = Failure(code: "broken", detail: "it broke", field: "/x")
