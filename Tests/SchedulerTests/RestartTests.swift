// Goal: no end of the controller loses a job or does it half: the next start goes on at the first step that is not done.
// Method: the controller is ended in every step and undo; a crash after a step's work and before its record is a copy
// of the inventory made in between, with which another controller starts.
import ControllerTestSupport
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RestartTests {
    @Test(arguments: 0..<3) func theNextStartGoesOnAtTheFirstStepThatIsNotDone(_ index: Int) async throws {
        let script = Script()
        let gate = Gate()
        let name = script.stepNames[index]
        script.onRun("a") { (_) throws(StepFailure) in "1" }
        script.onRun(name) { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return "2"
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        await bench.stop()
        let left = try #require(try await bench.inventory.find(JobRecord.self, id))
        #expect(left.state == .running && !left.isCancelRequested && left.steps[index].state == .running)
        gate.open()
        try await bench.restart()
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .succeeded && job.steps[index].output == "2")
        #expect(script.stepNames.map { script.count("run \($0)") } == (0..<3).map { $0 == index ? 2 : 1 })
        #expect(!script.journal.contains { $0.hasPrefix("undo") })
        #expect(job.startedAt == left.startedAt)
        await bench.stop()
    }

    @Test func aStepWhoseWorkWasDoneAndNotRecordedIsDoneAgain() async throws {
        let script = Script()
        let first = try SchedulerBench(script)
        let copy = InventoryBench.copyPath(in: first.bench)
        script.onRun("a") { (_) throws(StepFailure) in "1" }
        script.onRun("b") { (_) throws(StepFailure) in
            do throws(InventoryError) { try await first.inventory.backUp(to: copy) } catch { throw .failed(broken) }
            return "2"
        }
        let id = try await first.add()
        #expect(try await first.inventory.ended(id).state == .succeeded)
        await first.stop()

        let again = Script()
        again.onRun("b") { (context) throws(StepFailure) in
            let before = try context.output(of: "a", as: Int.self)
            return before == 1 ? "3" : nil
        }
        let second = try SchedulerBench([again.type()], bench: try InventoryBench(opening: copy))
        let job = try await second.inventory.ended(id)
        #expect(again.journal == ["run b", "run c"])
        #expect(job.state == .succeeded && job.steps.map(\.output) == ["1", "3", nil])
        await second.stop()
    }

    @Test func anUndoThatWasDoneAndNotRecordedIsDoneAgain() async throws {
        let script = Script()
        let first = try SchedulerBench(script)
        let copy = InventoryBench.copyPath(in: first.bench)
        script.onRun("c") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("b") { (_) throws(StepFailure) in
            do throws(InventoryError) { try await first.inventory.backUp(to: copy) } catch { throw .failed(broken) }
        }
        let id = try await first.add()
        _ = try await first.inventory.ended(id)
        await first.stop()

        let again = Script()
        let second = try SchedulerBench([again.type()], bench: try InventoryBench(opening: copy))
        let job = try await second.inventory.ended(id)
        #expect(again.journal == ["undo b", "undo a"])
        #expect(job.state == .failed && job.error == broken && job.stepStates == [.undone, .undone, .undone])
        await second.stop()
    }

    @Test func anUndoThatWasCutShortByTheEndGoesOn() async throws {
        let script = Script()
        let gate = Gate()
        script.onRun("c") { (_) throws(StepFailure) in throw .failed(broken) }
        script.onUndo("b") { (_) throws(StepFailure) in guard await gate.wait() else { throw .cancelled } }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        await bench.stop()
        let left = try #require(try await bench.inventory.find(JobRecord.self, id))
        #expect(left.state == .running && left.isUndoing && left.error == broken)
        gate.open()
        try await bench.restart()
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .failed && job.error == broken && job.stepStates == [.undone, .undone, .undone])
        #expect(script.count("undo c") == 1 && script.count("undo b") == 2 && script.count("undo a") == 1)
        await bench.stop()
    }

    @Test func aCancelThatCameBeforeTheEndIsNotForgotten() async throws {
        let script = Script()
        let gate = Gate()
        // Deaf to the cancel, so that the end of the controller comes first.
        script.onRun("b") { (_) throws(StepFailure) in
            _ = await gate.wait()
            throw .cancelled
        }
        let first = try SchedulerBench(script)
        let copy = InventoryBench.copyPath(in: first.bench)
        let id = try await first.add()
        #expect(await eventually { gate.arrivals == 1 })
        script.onUndo("b") { (_) throws(StepFailure) in }
        _ = try await first.bench.write { transaction throws(InventoryError) in
            try transaction.change(JobRecord.self, id) { $0.isCancelRequested = true }
        }
        try await first.inventory.backUp(to: copy)
        let again = Script()
        let second = try SchedulerBench([again.type()], bench: try InventoryBench(opening: copy))
        let job = try await second.inventory.ended(id)
        #expect(job.state == .cancelled && again.journal == ["undo b", "undo a"])
        await second.stop()
        await first.stop()
    }

    @Test func queuedJobsKeepTheirOrderAndTheirLimit() async throws {
        let script = Script(["a"])
        let gate = Gate()
        let order = Mutex<[String]>([])
        script.onRun("a") { (context) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            order.withLock { $0.append(context.job.arguments) }
            return nil
        }
        let bench = try SchedulerBench(script)
        var ids: [JobID] = []
        for number in 0..<4 {
            ids.append(try await bench.add(arguments: ["\(number)"], key: "k"))
            bench.bench.clock.advance(milliseconds: 1)
        }
        #expect(await eventually { gate.arrivals == 1 })
        try await bench.restart()
        #expect(await eventually { gate.arrivals == 2 })
        gate.open()
        for id in ids { #expect(try await bench.inventory.ended(id).state == .succeeded) }
        #expect(order.withLock { $0 } == (0..<4).map { "[\"\($0)\"]" })
        await bench.stop()
    }

    @Test func anEndedJobIsNotTakenUpAgain() async throws {
        let script = Script()
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        try await bench.restart()
        await bench.scheduler.enqueue(job)
        let other = try await bench.run()
        #expect(other.state == .succeeded && script.count("run a") == 2)
        await bench.stop()
    }
}
