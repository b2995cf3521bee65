// Goal: a cancelled job undoes what it did, wherever it was; what cannot be cancelled says so.
// Method: jobs held at a step, in a pause, in the queue, in their undoing and in the moment of failing.
import ControllerTestSupport
import Dispatch
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct CancelTests {
    private func holding(_ script: Script, _ step: String, _ gate: Gate) {
        script.onRun(step) { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
    }

    @Test(arguments: 0..<3) func theStepIsCutShortAndWhatWasDoneIsUndone(_ index: Int) async throws {
        let script = Script()
        let gate = Gate()
        holding(script, script.stepNames[index], gate)
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await bench.scheduler.cancel(id).isCancelRequested)
        let job = try await bench.inventory.ended(id)
        let touched = script.stepNames.prefix(index + 1)
        #expect(script.journal == touched.map { "run \($0)" } + touched.reversed().map { "undo \($0)" })
        #expect(job.state == .cancelled && job.error == nil && job.finishedAt != nil)
        #expect(job.stepStates == (0..<3).map { $0 <= index ? .undone : .pending })
        await bench.stop()
    }

    @Test func aLastStepThatDidNotListenIsUndoneAsWell() async throws {
        let script = Script()
        let gate = Gate()
        script.onRun("c") { (_) throws(StepFailure) in
            _ = await gate.wait()
            return "done all the same"
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await bench.scheduler.cancel(id)
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .cancelled && job.stepStates == [.undone, .undone, .undone])
        #expect(script.journal.suffix(3) == ["undo c", "undo b", "undo a"])
        await bench.stop()
    }

    @Test func aPauseIsCutShort() async throws {
        let script = Script()
        script.onRun("b") { (_) throws(StepFailure) in throw .wait("what never comes") }
        let bench = try SchedulerBench(script)
        let gate = Gate()
        bench.pauseGate.withLock { $0 = gate }
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await bench.scheduler.cancel(id)
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .cancelled && job.waitingFor == nil && script.count("run b") == 1)
        await bench.stop()
    }

    @Test func aQueuedJobIsCancelledWithoutItsTurn() async throws {
        let script = Script()
        let gate = Gate()
        holding(script, "a", gate)
        let bench = try SchedulerBench(script)
        let first = try await bench.add(key: "k")
        let second = try await bench.add(key: "k")
        let third = try await bench.add(key: "k")
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await bench.scheduler.cancel(second)
        let job = try await bench.inventory.ended(second)
        #expect(job.state == .cancelled && job.stepStates == [.pending, .pending, .pending])
        #expect(script.journal == ["run a"])
        // The first was left alone and the third still has its turn.
        gate.open()
        #expect(try await bench.inventory.ended(first).state == .succeeded)
        #expect(try await bench.inventory.ended(third).state == .succeeded)
        await bench.stop()
    }

    @Test func aJobThatIsNotQueuedYetIsCancelledWhenItIs() async throws {
        let script = Script()
        let bench = try SchedulerBench(script)
        let scheduler = bench.scheduler
        // The scheduler has started, and does not take the job up by itself.
        _ = try await bench.inventory.ended(try await bench.add())
        let before = script.journal
        let job = try await bench.bench.write { transaction throws(InventoryError) in
            try scheduler.insert(
                transaction, type: "test", arguments: [String](),
                resource: ResourceReference(type: "thing", id: "1"), requestedBy: "tester")
        }
        _ = try await scheduler.cancel(job.id)
        await scheduler.enqueue(job)
        #expect(try await bench.inventory.ended(job.id).state == .cancelled)
        #expect(script.journal == before)
        await bench.stop()
    }

    @Test func anUndoIsNotCutShortByASecondCancel() async throws {
        let script = Script()
        let (run, undo) = (Gate(), Gate())
        holding(script, "b", run)
        script.onUndo("b") { (_) throws(StepFailure) in
            guard await undo.wait() else { throw .failed(Failure(code: "x", detail: "it was cut short")) }
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { run.arrivals == 1 })
        _ = try await bench.scheduler.cancel(id)
        #expect(await eventually { undo.arrivals == 1 })
        _ = try await bench.scheduler.cancel(id)
        undo.open()
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .cancelled && job.error == nil && job.steps[1].undoFailure == nil)
        await bench.stop()
    }

    // The writer is held, so that the cancel is written before the undoing, and told to the scheduler after it began.
    @Test func aCancelInTheMomentOfFailingDoesNotCutTheUndoShort() async throws {
        let script = Script()
        let gate = Gate()
        script.onRun("b") { (_) throws(StepFailure) in
            _ = await gate.wait()
            throw .failed(broken)
        }
        for step in ["a", "b"] {
            script.onUndo(step) { (_) throws(StepFailure) in if Task.isCancelled { throw .cancelled } }
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        let (held, release) = (Gate(), DispatchSemaphore(value: 0))
        let holder = Task {
            try await bench.bench.write { _ throws(InventoryError) in
                held.open()
                release.wait()
            }
        }
        await held.wait()
        let scheduler = bench.scheduler
        let cancelling = Task { try await scheduler.cancel(id) }
        for _ in 0..<2000 { await Task.yield() }
        gate.open()
        for _ in 0..<2000 { await Task.yield() }
        release.signal()
        try await holder.value
        _ = try? await cancelling.value
        let job = try await bench.inventory.ended(id)
        #expect(script.count("undo b") == 1 && script.count("undo a") == 1)
        #expect(job.steps.allSatisfy { $0.undoFailure == nil })
        await bench.stop()
    }

    @Test func aCancelledJobThatCouldNotBeUndoneSaysSo() async throws {
        let script = Script()
        let gate = Gate()
        holding(script, "b", gate)
        script.onUndo("a") { (_) throws(StepFailure) in throw .failed(Failure(code: "x", detail: "no way")) }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await bench.scheduler.cancel(id)
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .cancelled && job.error?.code == Scheduler.undoIncomplete)
        #expect(job.error?.detail == "'a' could not be undone: no way")
        await bench.stop()
    }

    @Test func whatCannotBeCancelledSaysSo() async throws {
        let script = Script()
        let gate = Gate()
        holding(script, "b", gate)
        let bench = try SchedulerBench([script.type(isCancellable: false)])
        let id = try await bench.add()
        await #expect(throws: SchedulerError.notCancellable) { try await bench.scheduler.cancel(id) }
        gate.open()
        #expect(try await bench.inventory.ended(id).state == .succeeded)
        await #expect(throws: SchedulerError.finished(.succeeded)) { try await bench.scheduler.cancel(id) }
        let unknown: JobID = InventoryBench.makeID(9)
        await #expect(throws: SchedulerError.inventory(.notFound(kind: "job", id: unknown.description))) {
            try await bench.scheduler.cancel(unknown)
        }
        await bench.stop()
    }
}
