// Goal: jobs of one concurrency key run at most so many at once, in order; others are not held up by them.
// Method: jobs held at a gate; the most that stood there at once is counted.
import ControllerTestSupport
import Inventory
import Model
import Scheduler
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct LimitTests {
    /// Counts those inside, and the most there ever were.
    private final class Room: Sendable {
        let state = Mutex((now: 0, most: 0))
        var most: Int { state.withLock { $0.most } }
        func enter() {
            state.withLock { state in
                state.now += 1
                state.most = max(state.most, state.now)
            }
        }
        func leave() { state.withLock { $0.now -= 1 } }
    }

    @Test(arguments: [1, 3]) func asManyRunAtOnceAsTheKeyAllows(_ limit: Int) async throws {
        let script = Script(["a"])
        let (gate, room) = (Gate(), Room())
        script.onRun("a") { (_) throws(StepFailure) in
            room.enter()
            defer { room.leave() }
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        bench.setLimit(limit, of: "k")
        var ids: [JobID] = []
        for _ in 0..<8 { ids.append(try await bench.add(key: "k")) }
        #expect(await eventually { gate.arrivals == limit })
        let queued = try await bench.inventory.find(JobRecord.self, ids[limit])
        #expect(queued?.state == .queued && queued?.startedAt == nil)
        gate.open()
        for id in ids { #expect(try await bench.inventory.ended(id).state == .succeeded) }
        #expect(room.most == limit)
        await bench.stop()
    }

    @Test func otherKeysAndJobsWithoutOneAreNotHeldUp() async throws {
        let script = Script(["a"])
        let gate = Gate()
        script.onRun("a") { (context) throws(StepFailure) in
            guard context.job.concurrencyKey == "held" else { return nil }
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let held = [try await bench.add(key: "held"), try await bench.add(key: "held")]
        #expect(try await bench.inventory.ended(try await bench.add(key: "free")).state == .succeeded)
        #expect(try await bench.inventory.ended(try await bench.add()).state == .succeeded)
        gate.open()
        for id in held { #expect(try await bench.inventory.ended(id).state == .succeeded) }
        await bench.stop()
    }

    @Test func aRaisedLimitLetsMoreStart() async throws {
        let script = Script(["a"])
        let gate = Gate()
        script.onRun("a") { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        for _ in 0..<4 { try await bench.add(key: "k") }
        #expect(await eventually { gate.arrivals == 1 })
        bench.setLimit(3, of: "k")
        await bench.scheduler.limitChanged("k")
        #expect(await eventually { gate.arrivals == 3 })
        gate.open()
        #expect(await eventually { script.count("run a") == 4 })
        await bench.stop()
    }

    @Test func aJobThatWaitsKeepsItsPlaceAndAFailedOneGivesItUp() async throws {
        let script = Script(["a"])
        let isBroken = Mutex(true)
        script.onRun("a") { (context) throws(StepFailure) in
            if context.job.arguments == "[\"bad\"]" {
                if isBroken.withLock({ $0 }) { throw .wait("repair") }
                throw .failed(broken)
            }
            return nil
        }
        let bench = try SchedulerBench(script)
        let bad = try await bench.add(arguments: ["bad"], key: "k")
        let good = try await bench.add(arguments: ["good"], key: "k")
        let waiting = try await bench.inventory.job(bad) { $0.waitingFor == "repair" }
        #expect(waiting.state == .running)
        #expect(try await bench.inventory.find(JobRecord.self, good)?.state == .queued)
        isBroken.withLock { $0 = false }
        #expect(try await bench.inventory.ended(bad).state == .failed)
        #expect(try await bench.inventory.ended(good).state == .succeeded)
        await bench.stop()
    }

    @Test func enqueuingTwiceRunsOnce() async throws {
        let script = Script(["a"])
        let gate = Gate()
        script.onRun("a") { (_) throws(StepFailure) in
            guard await gate.wait() else { throw .cancelled }
            return nil
        }
        let bench = try SchedulerBench(script)
        let first = try await bench.add(key: "k")
        let second = try await bench.add(key: "k")
        for id in [first, second, second] {
            let job = try #require(try await bench.inventory.find(JobRecord.self, id))
            await bench.scheduler.enqueue(job)
        }
        gate.open()
        for id in [first, second] { #expect(try await bench.inventory.ended(id).state == .succeeded) }
        #expect(script.count("run a") == 2)
        await bench.stop()
    }
}
