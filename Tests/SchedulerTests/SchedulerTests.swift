// Goal: a job's steps run in order, hand on what they found out, are tried again within bounds, and end in one state.
// Method: a scheduler over a real inventory, steps that do what the test says, pauses that take no time.
import ControllerTestSupport
import Foundation
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct SchedulerTests {
    @Test func stepsRunInOrderAndHandOnWhatTheyFound() async throws {
        let script = Script()
        script.onRun("a") { (context) throws(StepFailure) in
            let words = try context.arguments([String].self)
            return StepOutput.encode(words + ["a"])
        }
        script.onRun("c") { (context) throws(StepFailure) in
            let found = try context.output(of: "a", as: [String].self) ?? []
            let nothing = try context.output(of: "b", as: [String].self)
            return StepOutput.encode(found + [nothing == nil ? "nothing" : "something"])
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run(arguments: ["given"])
        #expect(script.journal == ["run a", "run b", "run c"])
        #expect(job.state == .succeeded && job.error == nil && job.progress.fraction == 1)
        #expect(job.stepStates == [.done, .done, .done])
        #expect(job.steps.map(\.output) == ["[\"given\",\"a\"]", nil, "[\"given\",\"a\",\"nothing\"]"])
        #expect(job.startedAt != nil && job.finishedAt != nil && job.steps.allSatisfy { $0.finishedAt != nil })
        #expect(bench.pauses == [])
        await bench.stop()
    }

    @Test func anOutputIsDurableBeforeTheNextStepBegins() async throws {
        let script = Script()
        let seen = Mutex<String?>(nil)
        script.onRun("a") { (_) throws(StepFailure) in "1" }
        let bench = try SchedulerBench(script)
        script.onRun("b") { (context) throws(StepFailure) in
            do {
                let job = try await bench.inventory.find(JobRecord.self, context.job.id)
                seen.withLock { $0 = job?.steps[0].output }
            } catch { throw .failed(broken) }
            return nil
        }
        #expect(try await bench.run().state == .succeeded)
        #expect(seen.withLock { $0 } == "1")
        await bench.stop()
    }

    @Test func argumentsOfAnotherVersionFailTheJobWithACode() async throws {
        let script = Script()
        script.onRun("b") { (context) throws(StepFailure) in
            _ = try context.arguments([Int].self)
            return nil
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run(arguments: ["words"])
        #expect(job.state == .failed && job.error?.code == "internal")
        #expect(job.stepStates == [.undone, .undone, .pending])
        await bench.stop()
    }

    @Test func whatPassesIsTriedAgainAfterLongerPauses() async throws {
        let script = Script()
        let failures = Mutex(4)
        script.onRun("b") { (_) throws(StepFailure) in
            let fails = failures.withLock { count in
                count -= 1
                return count >= 0
            }
            if fails { throw .retry(broken) }
            return "1"
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        #expect(job.state == .succeeded && job.waitingFor == nil && job.error == nil)
        #expect(script.count("run b") == 5 && script.count("undo b") == 0)
        #expect(bench.pauses == [1, 2, 4, 8].map { Duration.seconds($0) })
        await bench.stop()
    }

    @Test(arguments: [1, 3]) func attemptsHaveABound(_ attemptsMax: Int) async throws {
        let script = Script()
        script.onRun("b") { (_) throws(StepFailure) in throw .retry(broken) }
        let bench = try SchedulerBench([script.type(attemptsMax: attemptsMax)])
        let job = try await bench.run()
        #expect(job.state == .failed && job.error == broken && job.waitingFor == nil)
        #expect(script.count("run b") == attemptsMax)
        #expect(job.stepStates == [.undone, .undone, .pending])
        await bench.stop()
    }

    @Test func whatIsWaitedForHasNoBoundAndIsToldAndShortPauses() async throws {
        let script = Script()
        let waits = Mutex(20)
        let told = Mutex<Set<String?>>([])
        let bench = try SchedulerBench(script)
        script.onRun("b") { (context) throws(StepFailure) in
            told.withLock { _ = $0.insert(context.job.waitingFor) }
            let waitsStill = waits.withLock { count in
                count -= 1
                return count >= 0
            }
            if waitsStill { throw .wait("the agent") }
            return nil
        }
        let job = try await bench.run()
        #expect(job.state == .succeeded && job.waitingFor == nil)
        #expect(script.count("run b") == 21)
        #expect(told.withLock { $0 } == [nil, "the agent"])
        #expect(bench.pauses.max() == SchedulerLimits.waitDelayMax)
        await bench.stop()
    }

    @Test func waitingDoesNotUseUpTheAttempts() async throws {
        let script = Script()
        let turn = Mutex(0)
        script.onRun("a") { (_) throws(StepFailure) in
            let number = turn.withLock { turn in
                turn += 1
                return turn
            }
            if number <= 10 { throw .wait("something") }
            if number < 15 { throw .retry(broken) }
            return nil
        }
        let bench = try SchedulerBench(script)
        #expect(try await bench.run().state == .succeeded)
        #expect(script.count("run a") == 15)
        await bench.stop()
    }

    @Test func aStepThatSaysCancelledUnaskedIsAskedAgainAfterAPause() async throws {
        let script = Script()
        let isFirst = Mutex(true)
        script.onRun("b") { (_) throws(StepFailure) in
            let first = isFirst.withLock { first in
                defer { first = false }
                return first
            }
            if first { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let job = try await bench.run()
        #expect(job.state == .succeeded && script.count("run b") == 2)
        #expect(!bench.pauses.isEmpty)
        await bench.stop()
    }

    @Test func notesAreKeptInOrderAndBounded() async throws {
        let script = Script()
        script.onRun("a") { (context) throws(StepFailure) in
            context.note("first")
            return nil
        }
        script.onRun("b") { (context) throws(StepFailure) in
            for number in 0..<SchedulerLimits.notesMax + 10 { context.note("\(number)") }
            return nil
        }
        let bench = try SchedulerBench(script)
        let notes = try await bench.run().notes
        #expect(notes.prefix(3) == ["first", "0", "1"])
        #expect(notes.count == 1 + SchedulerLimits.notesMax)
        await bench.stop()
    }

    @Test func whatFollowsFromTheEndIsInTheSameTransaction() async throws {
        let script = Script()
        let states = Mutex<[JobState]>([])
        let id: DataCenterID = InventoryBench.makeID(1)
        let type = script.type(ended: { (transaction, job) throws(SchedulerError) in
            states.withLock { $0.append(job.state) }
            try transaction.insert(
                DataCenterRecord(id: id, name: "made", description: "", createdAt: transaction.now))
        })
        let bench = try SchedulerBench([type])
        let job = try await bench.run()
        #expect(job.state == .succeeded && states.withLock { $0 } == [.succeeded])
        #expect(try await bench.inventory.find(DataCenterRecord.self, id)?.name == "made")
        await bench.stop()
    }

    @Test func aJobOfAnUnknownVersionFailsAndIsNotUndone() async throws {
        let script = Script()
        let gate = Gate()
        script.onRun("b") { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        #expect(await eventually { gate.arrivals == 1 })
        try await bench.restart([Script(["a", "other"]).type()])
        let job = try await bench.inventory.ended(id)
        #expect(job.state == .failed && job.error?.code == "internal")
        #expect(script.journal == ["run a", "run b"])
        await bench.stop()
    }

    @Test func waitingForTheEndOfAJob() async throws {
        let script = Script()
        let gate = Gate()
        script.onRun("b") { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let id = try await bench.add()
        let scheduler = bench.scheduler
        // Whoever is cut short must not take the job for ended.
        let cut = Task { () -> Bool in
            do throws(SchedulerError) { try await scheduler.waitUntilEnded(id) } catch { return true }
            return false
        }
        #expect(await eventually { gate.arrivals == 1 })
        cut.cancel()
        #expect(await cut.value)
        let waiter = Task { try await scheduler.waitUntilEnded(id) }
        gate.open()
        try await waiter.value
        #expect(try await bench.inventory.find(JobRecord.self, id)?.state == .succeeded)
        try await scheduler.waitUntilEnded(InventoryBench.makeID(9))
        await bench.stop()
    }
}
