// Goal: a job that fails leaves nothing of what it did, or tells exactly what it had to leave.
// Method: each step fails in turn; undos fail for good, for a while and for ever.
import ControllerTestSupport
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct UndoTests {
    @Test(arguments: 0..<3) func aFailingStepUndoesItselfAndAllBeforeItInReverse(_ failing: Int) async throws {
        let script = Script()
        script.onRun(script.stepNames[failing]) { (_) throws(StepFailure) in throw .failed(broken) }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        let touched = script.stepNames.prefix(failing + 1)
        #expect(script.journal == touched.map { "run \($0)" } + touched.reversed().map { "undo \($0)" })
        #expect(job.state == .failed && job.error == broken && job.finishedAt != nil)
        #expect(job.stepStates == (0..<3).map { $0 <= failing ? .undone : .pending })
        await bench.stop()
    }

    @Test func anUndoSeesWhatTheStepsFound() async throws {
        let script = Script()
        let seen = Mutex<[String: Int?]>([:])
        script.onRun("a") { (_) throws(StepFailure) in "7" }
        script.onRun("b") { (_) throws(StepFailure) in throw .failed(broken) }
        for step in ["a", "b"] {
            script.onUndo(step) { (context) throws(StepFailure) in
                let (a, b) = (
                    try context.output(of: "a", as: Int.self), try context.output(of: "b", as: Int.self)
                )
                seen.withLock { $0 = ["a": a, "b": b] }
            }
        }
        let bench = try SchedulerBench(script)
        _ = try await bench.run()
        #expect(seen.withLock { $0 } == ["a": 7, "b": nil])
        await bench.stop()
    }

    @Test func aStepWithoutAnUndoIsPassedOver() async throws {
        let script = Script()
        script.onRun("c") { (_) throws(StepFailure) in throw .failed(broken) }
        let bench = try SchedulerBench([script.type(withoutUndo: ["b"])])
        let job = try await bench.run()
        #expect(script.journal.suffix(2) == ["undo c", "undo a"])
        #expect(job.stepStates == [.undone, .undone, .undone])
        await bench.stop()
    }

    @Test func anUndoThatFailsForGoodIsToldAndTheRestIsUndone() async throws {
        let script = Script()
        script.onRun("c") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("b") { (_) throws(StepFailure) in throw .failed(Failure(code: "x", detail: "the disk is gone")) }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        #expect(script.journal.suffix(3) == ["undo c", "undo b", "undo a"])
        #expect(job.state == .failed)
        #expect(job.error?.code == broken.code && job.error?.field == broken.field)
        #expect(job.error?.detail == "it broke; 'b' could not be undone: the disk is gone")
        #expect(job.steps.map(\.undoFailure) == [nil, "the disk is gone", nil])
        #expect(job.stepStates == [.undone, .done, .undone])
        await bench.stop()
    }

    enum Passing: CaseIterable { case retry, wait, cancelled }

    @Test(arguments: Passing.allCases) func anUndoIsTriedAgainButNotForEver(_ passing: Passing) async throws {
        let script = Script()
        script.onRun("b") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("b") { (_) throws(StepFailure) in
            switch passing {
            case .retry: throw .retry(Failure(code: "x", detail: "busy"))
            case .wait: throw .wait("busy")
            case .cancelled: throw .cancelled
            }
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        #expect(script.count("undo b") == SchedulerLimits.undoAttemptsMax && script.count("undo a") == 1)
        #expect(job.state == .failed && job.steps[1].undoFailure != nil && job.stepStates[0] == .undone)
        #expect(job.error?.detail.contains("'b' could not be undone") == true)
        #expect(bench.pauses.count == SchedulerLimits.undoAttemptsMax - 1)
        #expect(bench.pauses.max() == SchedulerLimits.retryDelayMax)
        await bench.stop()
    }

    @Test func anUndoThatSucceedsAtLastLeavesNoTrace() async throws {
        let script = Script()
        let left = Mutex(3)
        script.onRun("b") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("b") { (_) throws(StepFailure) in
            let fails = left.withLock { left in
                left -= 1
                return left >= 0
            }
            if fails { throw .retry(Failure(code: "x", detail: "busy")) }
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        #expect(job.error == broken && job.steps.allSatisfy { $0.undoFailure == nil } && job.waitingFor == nil)
        #expect(script.count("undo b") == 4)
        await bench.stop()
    }

    @Test func whatEndsAFailedJobSeesWhatWasLeft() async throws {
        let script = Script()
        let seen = Mutex<JobRecord?>(nil)
        script.onRun("a") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("a") { (_) throws(StepFailure) in throw .failed(Failure(code: "x", detail: "no")) }
        let type = script.type(ended: { (_, job) throws(SchedulerError) in seen.withLock { $0 = job } })
        let bench = try SchedulerBench([type])
        let job = try await bench.run()
        #expect(seen.withLock { $0?.state } == .failed)
        #expect(seen.withLock { $0?.error } == job.error)
        await bench.stop()
    }
}
