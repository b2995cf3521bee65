// Goal: progress is shown at once where the phase changes and seldom in between, with a rate and a time that is left.
// Method: a clock that moves only when told to, a step that reports, and a listener to the inventory's events.
import ControllerTestSupport
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ProgressTests {
    /// Runs a job whose only step reports by `body`, held before its end; answers the job as it is shown then.
    private func shown(
        _ body: @escaping @Sendable (InventoryBench, StepContext) -> Void
    ) async throws -> (shown: JobRecord, ended: JobRecord, events: [JobProgress]) {
        let script = Script(["a"])
        let gate = Gate()
        let bench = try SchedulerBench(script)
        script.onRun("a") { (context) throws(StepFailure) in
            body(bench.bench, context)
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let events = try await bench.inventory.events(after: nil)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        let running = try #require(try await bench.inventory.find(JobRecord.self, id))
        gate.open()
        let ended = try await bench.inventory.ended(id)
        await bench.stop()
        try bench.inventory.close()
        var reported: [JobProgress] = []
        for await event in events { if let progress = event.progress { reported.append(progress) } }
        return (running, ended, reported)
    }

    @Test func aRateAndATimeThatIsLeft() async throws {
        let (shown, ended, _) = try await shown { bench, context in
            context.report(JobProgress(fraction: 0, doneBytes: 0, totalBytes: 10_000, phase: "fetch"))
            bench.clock.advance(seconds: 1)
            context.report(JobProgress(fraction: 0.1, doneBytes: 1_000, totalBytes: 10_000, phase: "fetch"))
            bench.clock.advance(seconds: 2)
            context.report(JobProgress(fraction: 0.7, doneBytes: 7_000, totalBytes: 10_000, phase: "fetch"))
        }
        // 1,000 a second at first, then 3,000: half of each.
        #expect(shown.progress.bytesPerSecond == 2_000)
        #expect(shown.progress.etaSeconds == 1)
        #expect(shown.progress.doneBytes == 7_000 && shown.progress.fraction == 0.7)
        #expect(ended.progress.doneBytes == 7_000 && ended.progress.fraction == 1)
        #expect(ended.progress.bytesPerSecond == 0 && ended.progress.etaSeconds == nil)
    }

    @Test func atMostFourASecondButEveryPhase() async throws {
        let (_, _, events) = try await shown { bench, context in
            for count in 0..<100 {
                context.report(JobProgress(doneBytes: UInt64(count), phase: "fetch"))
                bench.clock.advance(milliseconds: 10)
            }
            for phase in ["inspect", "slice", "commit"] { context.report(JobProgress(phase: phase)) }
        }
        #expect(events.count { $0.phase == "fetch" } == 4)
        #expect(events.map(\.phase).suffix(3) == ["inspect", "slice", "commit"])
    }

    @Test func fractionsAreBounded() async throws {
        for (given, expected) in [(Double.nan, 0), (-.infinity, 0), (-1, 0), (1.5, 1), (0.25, 0.25)] {
            let (shown, _, _) = try await shown { _, context in
                context.report(JobProgress(fraction: given, phase: "x"))
            }
            #expect(shown.progress.fraction == expected)
        }
    }

    @Test func aPhaseIsDurableAndClearsWhatWasWaitedFor() async throws {
        let script = Script(["a"])
        let gate = Gate()
        let isFirst = Mutex(true)
        script.onRun("a") { (context) throws(StepFailure) in
            let first = isFirst.withLock { first in
                defer { first = false }
                return first
            }
            if first { throw .wait("the agent") }
            context.report(JobProgress(fraction: 0.5, phase: "slice"))
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        // Only the disk tells another controller.
        let durable = try await bench.inventory.job(id) { $0.waitingFor == nil && $0.progress.phase == "slice" }
        #expect(durable.state == .running)
        try await bench.restart()
        #expect(await eventually { gate.arrivals == 2 })
        let known = try #require(try await bench.inventory.find(JobRecord.self, id))
        #expect(known.progress.phase == "slice" && known.progress.fraction == 0.5)
        gate.open()
        #expect(try await bench.inventory.ended(id).state == .succeeded)
        await bench.stop()
    }
}
