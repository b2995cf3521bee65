// Goal: an image storage is added wholly or not at all, whatever fails, is repeated, is cancelled or is cut off by the
// end of the controller, and adding it again succeeds.
// Method: every call to the host and to a real agent fails in turn, before and after it was made.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Scheduler
import Secrets
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(5)))
struct AddStandaloneStorageTests {
    static let steps = ["check", "install", "prepare", "enrol", "start", "connect", "configure", "retrieve"]
    static let agentCalls = ["status", "configure", "list-images", "list-loose-files"]
    /// The step of each call.
    static let stepOfCall = [
        "probe": 0, "install": 1, "prepare": 2, "enrol": 3, "install-certificate": 3, "start": 4, "status": 5,
        "configure": 6, "list-images": 7, "list-loose-files": 7,
    ]

    @Test func aStorageIsConnectedConfiguredAndPinned() async throws {
        let lab = try await Lab()
        let (job, made) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        #expect(made.status == .connecting && job.requestedBy == "admin")
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .succeeded && ended.steps.map(\.name) == AddStandaloneStorageTests.steps)
        let storage = try await lab.storage(made.id)
        #expect(storage.status == .connected && storage.state == .enabled && storage.statusReason == nil)
        #expect(storage.hostKey == LabHost.hostKey && storage.hostScope == .system)
        #expect(storage.agentPort == lab.host.instance(made.id)?.port && storage.agentVersion == "1.0-lab")
        #expect(storage.storeID != nil && storage.usage?.images == 0 && storage.lastSeenAt != nil)
        #expect(storage.certificateIssuedAt != nil && storage.certificateExpiresAt != nil)
        #expect(!storage.requiresReconnect && !storage.isBeingDeleted)
        let configured = try #require(lab.host.instance(made.id)?.configuration)
        let told = try Messages.decode(ConfigureVerb.self, from: configured)
        #expect(told.reservedCapacityBytes == 1 << 20 && told.sessionExpiryHours == 24)
        #expect(try await lab.audit("image-storage.add") == ["done one"])
        #expect(lab.host.taps.journal == LabHost.addCalls)
        #expect(lab.host.targets.map(\.expectedHostKey) == [nil])
        // No secret is where it can be read.
        #expect(!job.arguments.contains("p4ss") && ended.steps.allSatisfy { $0.output?.contains("p4ss") != true })
        await lab.end()
    }

    @Test(arguments: LabHost.addCalls) func aHostThatFailsLeavesNothingAndCanBeTriedAgain(_ call: String) async throws {
        let lab = try await Lab()
        lab.host.taps.fail(call, with: .host(code: .inputOutput, detail: "the disk is on fire"))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(retrieves: true), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed, "\(String(describing: ended.error))")
        #expect(ended.error == Failure(code: "input-output", detail: "the disk is on fire"))
        let failed = try #require(AddStandaloneStorageTests.stepOfCall[call])
        #expect(ended.steps.map(\.state) == (0..<8).map { $0 <= failed ? .undone : .pending })
        #expect(lab.host.taps.count(call) == 1)
        try await lab.expectGone(storage.id)
        #expect(try await lab.audit("image-storage.add") == ["failed input-output", "done one"])
        lab.host.taps.clear()
        #expect(try await lab.addStorage(lab.spec(retrieves: true)).status == .connected)
        await lab.end()
    }

    @Test(arguments: LabHost.addCalls) func aHostThatWasCutOffIsAskedAgain(_ call: String) async throws {
        for moment in [Taps<BootstrapError>.Moment.before, .after] {
            let lab = try await Lab()
            lab.host.taps.fail(call, moment, times: 2, with: .disconnected(during: call))
            let storage = try await lab.addStorage()
            #expect(storage.status == .connected && lab.host.taps.count(call) == 3)
            #expect(lab.host.taps.count("remove") == 0 && lab.host.taps.count("undo-prepare") == 0)
            await lab.end()
        }
    }

    @Test(arguments: agentCalls) func anAgentThatFailsIsTakenBack(_ call: String) async throws {
        let lab = try await Lab()
        lab.agentTaps.fail(call, with: .failed(AgentFailure(code: .storeDegraded, detail: "the disk is on fire")))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(retrieves: true), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed, "\(String(describing: ended.error))")
        #expect(ended.error?.code == "store-degraded" && ended.error?.detail == "the disk is on fire")
        let failed = try #require(AddStandaloneStorageTests.stepOfCall[call])
        #expect(ended.steps.map(\.state) == (0..<8).map { $0 <= failed ? .undone : .pending })
        try await lab.expectGone(storage.id)
        lab.agentTaps.clear()
        #expect(try await lab.addStorage(lab.spec(retrieves: true)).status == .connected)
        await lab.end()
    }

    @Test(arguments: agentCalls) func anAgentThatWasCutOffIsAskedAgain(_ call: String) async throws {
        for moment in [Taps<AgentLinkError>.Moment.before, .after] {
            let lab = try await Lab()
            lab.agentTaps.fail(call, moment, times: 2, with: .unreachable("the link was cut"))
            let storage = try await lab.addStorage(lab.spec(retrieves: true))
            #expect(storage.status == .connected && lab.host.taps.count("remove") == 0)
            await lab.end()
        }
    }

    @Test(arguments: LabHost.addCalls) func theEndOfTheControllerInACallToTheHost(_ call: String) async throws {
        for moment in [Taps<BootstrapError>.Moment.before, .after] {
            let lab = try await Lab()
            let gate = lab.host.taps.hold(call, moment, cut: .cancelled)
            let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
            #expect(await eventually { gate.arrivals == 1 })
            try await lab.restart()
            #expect(try await lab.inventory.ended(job.id).state == .succeeded)
            #expect(try await lab.storage(storage.id).status == .connected)
            #expect(lab.host.taps.count(call) == 2)
            await lab.end()
        }
    }

    @Test(arguments: agentCalls) func theEndOfTheControllerInACallToTheAgent(_ call: String) async throws {
        for moment in [Taps<AgentLinkError>.Moment.before, .after] {
            let lab = try await Lab()
            let gate = lab.agentTaps.hold(call, moment, cut: .cancelled)
            let (job, storage) = try await lab.operations.addStandalone(lab.spec(retrieves: true), caller: Lab.admin)
            #expect(await eventually { gate.arrivals == 1 })
            try await lab.restart()
            #expect(try await lab.inventory.ended(job.id).state == .succeeded)
            #expect(try await lab.storage(storage.id).status == .connected)
            await lab.end()
        }
    }

    @Test(arguments: LabHost.addCalls) func aCancelInACallToTheHost(_ call: String) async throws {
        for moment in [Taps<BootstrapError>.Moment.before, .after] {
            let lab = try await Lab()
            let gate = lab.host.taps.hold(call, moment, cut: .cancelled)
            let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
            #expect(await eventually { gate.arrivals == 1 })
            _ = try await lab.operations.cancelJob(job.id, caller: Lab.admin)
            let ended = try await lab.inventory.ended(job.id)
            #expect(ended.state == .cancelled && ended.error == nil)
            try await lab.expectGone(storage.id)
            await lab.end()
        }
    }

    @Test(arguments: agentCalls) func aCancelInACallToTheAgent(_ call: String) async throws {
        let lab = try await Lab()
        let gate = lab.agentTaps.hold(call, .after, cut: .cancelled)
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(retrieves: true), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await lab.operations.cancelJob(job.id, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .cancelled && ended.error == nil)
        try await lab.expectGone(storage.id)
        #expect(lab.host.hasStore(at: "/srv/one"))
        await lab.end()
    }

    @Test(arguments: ["remove", "undo-prepare"]) func anUndoThatWasCutOffIsAskedAgain(_ call: String) async throws {
        let lab = try await Lab()
        lab.host.taps.fail("start", with: .host(code: .startFailed, detail: "no"))
        lab.host.taps.fail(call, .before, times: 2, with: .timeout(during: call))
        lab.host.taps.fail(call, .after, times: 1, with: .disconnected(during: call))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.error == Failure(code: "start-failed", detail: "no"))
        #expect(lab.host.taps.count(call) == 4)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func anUndoThatFailsIsToldAndTheStorageIsForgotten() async throws {
        let lab = try await Lab()
        lab.host.taps.fail("start", with: .host(code: .startFailed, detail: "no"))
        lab.host.taps.fail("remove", with: .host(code: .stopFailed, detail: "it does not stop"))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "start-failed")
        #expect(ended.error?.detail == "no; 'enrol' could not be undone: it does not stop")
        #expect(try await lab.inventory.find(ImageStorageRecord.self, storage.id) == nil)
        // What could be undone was.
        #expect(lab.host.prepared(storage.id) == nil && lab.host.instance(storage.id) != nil)
        await lab.end()
    }

    @Test func anUnreachableHostIsTriedAFewTimes() async throws {
        let lab = try await Lab()
        lab.host.taps.fail("probe", with: .unreachable("127.0.0.1:22"))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "host-unreachable")
        #expect(lab.host.taps.count("probe") == SchedulerLimits.attemptsMax)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func anAgentThatNeverAnswersIsNotWaitedForForever() async throws {
        let lab = try await Lab()
        lab.agentTaps.fail("status", with: .unreachable("no route"))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "image-storage-not-connected")
        #expect(ended.error?.detail == "the agent does not answer: no route")
        #expect(lab.agentTaps.count("status") == OperationsLimits.connectAttemptsMax)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func anAgentThatDoesNotStayUpIsToldWithItsLog() async throws {
        let lab = try await Lab()
        lab.host.staysUp.withLock { $0 = false }
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.error == Failure(code: "start-failed", detail: "the agent does not stay up: no room"))
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func anotherAgentAtTheAddressIsRefused() async throws {
        let lab = try await Lab()
        lab.agentTaps.fail("status", with: .wrongIdentity("agent x"))
        let (job, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).error?.code == "agent-identity-wrong")
        #expect(lab.agentTaps.count("status") == 1)
        try await lab.expectGone(storage.id)
        await lab.end()
    }
}
