// Goal: a reconnect brings a storage back with what is stored now, never wipes anything, and when it fails leaves the
// storage as it was but for its status.
// Method: every call to the host and to a real agent fails in turn, before and after it was made.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Foundation
import Inventory
import Model
import Operations
import Secrets
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(3)))
struct ReconnectImageStorageTests {
    @Test func theStorageComesBackWithANewCertificateAndPassword() async throws {
        let lab = try await Lab()
        let before = try await lab.addStorage()
        let marked = try await lab.operations.setCredential(
            before.id, .privateKey(Secret("-----BEGIN\nkey-----")), caller: Lab.admin)
        #expect(marked.requiresReconnect && marked.credentialKind == .privateKey)
        let image = try await lab.addImage(before.id)
        lab.bench.clock.advance(seconds: 3600)
        let (job, connecting) = try await lab.operations.reconnect(before.id, caller: Lab.admin)
        #expect(connecting.status == .connecting)
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        let after = try await lab.storage(before.id)
        #expect(after.status == .connected && !after.requiresReconnect && after.storeID == before.storeID)
        let (issued, first) = (try #require(after.certificateIssuedAt), try #require(before.certificateIssuedAt))
        #expect(issued > first)
        #expect(try lab.host.agent(before.id).images().map(\.declaration.id) == [image.id])
        guard case .privateKey(let key) = try #require(lab.host.targets.last).credential else {
            Issue.record("the old credential was used")
            return
        }
        #expect(key.reveal.contains("BEGIN"))
        #expect(lab.host.targets.last?.expectedHostKey == LabHost.hostKey)
        #expect(try await lab.audit("image-storage.reconnect") == ["done one"])
        await lab.end()
    }

    @Test func aDiskThatHadToBeConfirmedIsNeverWipedAgain() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage(lab.spec(disk: .freeDisk(device: "/dev/vdc", serial: "S2")))
        lab.host.report.withLock { $0.otherDisks = [] }
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        let input = try #require(lab.host.prepared(storage.id))
        #expect(
            input.disk
                == .freeDisk(DiskChoice(device: "/dev/vdc", id: "serial:S2", sizeBytes: 1 << 40, serial: "S2")))
        #expect(input.retrieveExistingImages)
        await lab.end()
    }

    @Test(arguments: LabHost.addCalls) func aHostThatFailsChangesOnlyTheStatus(_ call: String) async throws {
        let lab = try await Lab()
        let before = try await lab.addStorage()
        lab.host.taps.clear()
        lab.host.taps.fail(call, with: .host(code: .inputOutput, detail: "on fire"))
        let (job, _) = try await lab.operations.reconnect(before.id, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error == Failure(code: "input-output", detail: "on fire"))
        var after = try await lab.storage(before.id)
        #expect(after.status == .disconnected && after.statusReason == "reconnect failed: on fire")
        // Nothing is taken back: what runs goes on, and the ping finds it.
        #expect(lab.host.taps.count("remove") == 0 && lab.host.taps.count("undo-prepare") == 0)
        #expect(lab.host.instance(before.id)?.agent != nil)
        await lab.operations.pingOnce(within: .seconds(10))
        after = try await lab.storage(before.id)
        #expect(after.status == .connected && after.statusReason == nil)
        lab.host.taps.clear()
        let again = try await lab.operations.reconnect(before.id, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(again.id).state == .succeeded)
        await lab.end()
    }

    @Test(arguments: LabHost.addCalls) func aHostThatWasCutOffIsAskedAgain(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.host.taps.clear()
        lab.host.taps.fail(call, .before, times: 1, with: .timeout(during: call))
        lab.host.taps.fail(call, .after, times: 1, with: .disconnected(during: call))
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(lab.host.taps.count(call) == 3)
        #expect(try await lab.storage(storage.id).status == .connected)
        await lab.end()
    }

    @Test(arguments: LabHost.addCalls + ["status", "configure"])
    func theEndOfTheControllerInACall(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate =
            LabHost.addCalls.contains(call)
            ? lab.host.taps.hold(call, .after, cut: .cancelled) : lab.agentTaps.hold(call, .after, cut: .cancelled)
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        try await lab.restart()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.storage(storage.id).status == .connected)
        await lab.end()
    }

    @Test(arguments: ["status", "configure"]) func anAgentThatFailsLeavesItDisconnected(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.agentTaps.fail(call, with: .failed(AgentFailure(code: .storeDegraded, detail: "on fire")))
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).error == Failure(code: "store-degraded", detail: "on fire"))
        let after = try await lab.storage(storage.id)
        #expect(after.status == .disconnected && after.statusReason == "reconnect failed: on fire")
        #expect(after.storeID == storage.storeID)
        await lab.end()
    }

    @Test func aCancelledReconnectSaysSo() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate = lab.host.taps.hold("install", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await lab.operations.cancelJob(job.id, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).state == .cancelled)
        let after = try await lab.storage(storage.id)
        #expect(after.status == .disconnected && after.statusReason == "reconnect was cancelled")
        await lab.end()
    }

    @Test func oneJobOfAStorageAtATime() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate = lab.host.taps.hold("probe", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        let error = await refusal { () throws(OperationError) in
            try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        }
        #expect(error?.code == "job-running" && error?.items.map(\.id) == [job.id.description])
        gate.open()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        await lab.end()
    }

    @Test func aStoreThatIsGoneIsNotMadeAnew() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        await lab.host.stopAgent(storage.id)
        try FileManager.default.removeItem(atPath: lab.host.place(of: "/srv/one") + "/lamina")
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "store-missing")
        #expect(!lab.host.hasStore(at: "/srv/one"))
        #expect(try await lab.storage(storage.id).storeID == storage.storeID)
        await lab.end()
    }

    @Test func anotherStoreAtTheMountPathIsRefused() async throws {
        let lab = try await Lab()
        let first = try await lab.addStorage()
        let second = try await lab.addStorage(lab.spec("two", mountPath: "/srv/two"))
        for storage in [first, second] { await lab.host.stopAgent(storage.id) }
        // Forgotten, so that its store is not known as another storage's.
        let deleting = try await lab.operations.deleteImageStorage(second.id, force: true, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(deleting.id).state == .succeeded)
        let (one, two) = (lab.host.place(of: "/srv/one"), lab.host.place(of: "/srv/two"))
        try FileManager.default.removeItem(atPath: one)
        try FileManager.default.moveItem(atPath: two, toPath: one)
        let (job, _) = try await lab.operations.reconnect(first.id, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "wrong-store")
        #expect(try await lab.storage(first.id).storeID == first.storeID)
        #expect(try await lab.storage(first.id).status == .disconnected)
        await lab.end()
    }

    @Test func aChangedHostKeyIsAHardStopUntilItIsAccepted() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let changed = "SHA256:" + String(repeating: "C", count: 43)
        lab.host.report.withLock { $0.hostKey = changed }
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).error?.code == "ssh-host-key-changed")
        #expect(try await lab.storage(storage.id).hostKey == LabHost.hostKey)
        var patch = StoragePatch()
        patch.hostKey = .clear
        #expect(
            try await lab.operations.updateImageStorage(storage.id, patch, ifMatch: nil, caller: Lab.admin)
                .requiresReconnect)
        let again = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(again.id).state == .succeeded)
        #expect(try await lab.storage(storage.id).hostKey == changed)
        await lab.end()
    }

    @Test func onlyAnAdminReconnectsAndOnlyWhatIsThere() async throws {
        let lab = try await Lab()
        let unknown: ImageStorageID = InventoryBench.makeID(55)
        let denied = await refusal { () throws(OperationError) in
            try await lab.operations.reconnect(unknown, caller: Lab.operator)
        }
        #expect(denied == .forbidden(needed: .admin))
        let missing = await refusal { () throws(OperationError) in
            try await lab.operations.reconnect(unknown, caller: Lab.admin)
        }
        #expect(missing?.code == "image-storage-not-found")
        await lab.end()
    }
}
