// Goal: a deleted storage leaves the host and the inventory and not its data; one that cannot be deleted stays usable;
// a forced deletion ends, whatever is broken.
// Method: every call to the host fails, is cut off and outlives the controller; hosts and agents that are gone.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Scheduler
import Secrets
import Testing
import Wire

@Suite(.timeLimit(.minutes(3)))
struct DeleteImageStorageTests {
    static let calls = ["remove", "undo-prepare"]

    private func delete(_ lab: Lab, _ id: ImageStorageID, force: Bool = false) async throws -> JobRecord {
        let (job, storage) = try await lab.operations.deleteImageStorage(id, force: force, caller: Lab.admin)
        #expect(storage.isBeingDeleted)
        return try await lab.inventory.ended(job.id)
    }

    @Test func theAgentGoesAndTheDataStays() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let ended = try await delete(lab, storage.id)
        #expect(ended.state == .succeeded && ended.notes.isEmpty)
        try await lab.expectGone(storage.id)
        #expect(lab.host.hasStore(at: "/srv/one"))
        #expect(try await lab.audit("image-storage.delete") == ["done one"])
        // The same place may be a storage again, with what it holds.
        let again = try await lab.addStorage(lab.spec(retrieves: true))
        #expect(again.storeID == storage.storeID)
        await lab.end()
    }

    @Test func imagesAndJobsStandInTheWay() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        let gate = lab.host.taps.hold("probe", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.reconnect(storage.id, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        let error = await refusal { () throws(OperationError) in
            try await lab.operations.deleteImageStorage(storage.id, force: false, caller: Lab.admin)
        }
        #expect(error?.code == "image-storage-in-use")
        #expect(error?.items.map(\.id) == [image.id.description, job.id.description])
        #expect(try await lab.storage(storage.id).isBeingDeleted == false)
        gate.open()
        _ = try await lab.inventory.ended(job.id)
        await lab.end()
    }

    @Test(arguments: calls) func aHostThatFailsKeepsTheStorageForAnotherTry(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.host.taps.fail(call, with: .host(code: .stopFailed, detail: "busy"))
        let ended = try await delete(lab, storage.id)
        #expect(ended.state == .failed && ended.error == Failure(code: "stop-failed", detail: "busy"))
        let left = try await lab.storage(storage.id)
        #expect(!left.isBeingDeleted && left.storeID == storage.storeID)
        #expect(try await lab.audit("image-storage.delete") == ["failed stop-failed", "done one"])
        lab.host.taps.clear()
        // It is not broken by it either.
        let reconnect = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(reconnect.id).state == .succeeded)
        #expect(try await delete(lab, storage.id).state == .succeeded)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test(arguments: calls) func aHostThatWasCutOffIsAskedAgain(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.host.taps.fail(call, .before, times: 1, with: .timeout(during: call))
        lab.host.taps.fail(call, .after, times: 1, with: .disconnected(during: call))
        #expect(try await delete(lab, storage.id).state == .succeeded)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test(arguments: calls) func theEndOfTheControllerInACall(_ call: String) async throws {
        for force in [false, true] {
            let lab = try await Lab()
            let storage = try await lab.addStorage()
            let gate = lab.host.taps.hold(call, .after, cut: .cancelled)
            let (job, _) = try await lab.operations.deleteImageStorage(storage.id, force: force, caller: Lab.admin)
            #expect(await eventually { gate.arrivals == 1 })
            try await lab.restart()
            let ended = try await lab.inventory.ended(job.id)
            #expect(ended.state == .succeeded && ended.notes.isEmpty)
            try await lab.expectGone(storage.id)
            await lab.end()
        }
    }

    @Test func anAgentThatIsNotThereIsAsGood() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.host.taps.fail("remove", with: .host(code: .notInstalled, detail: "no such instance"))
        #expect(try await delete(lab, storage.id).state == .succeeded)
        #expect(try await lab.inventory.find(ImageStorageRecord.self, storage.id) == nil)
        await lab.end()
    }

    @Test func aForcedDeletionForgetsAHostThatIsGoneAndSaysSo() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        lab.host.taps.fail("remove", with: .unreachable("127.0.0.1:22"))
        let ended = try await delete(lab, storage.id, force: true)
        #expect(ended.state == .succeeded && ended.notes.count == 1)
        #expect(ended.notes[0].contains("127.0.0.1:22") && ended.notes[0].contains("/srv/one"))
        #expect(try await lab.inventory.find(ImageStorageRecord.self, storage.id) == nil)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        #expect(try lab.host.agent(storage.id).images().map(\.declaration.id) == [image.id])
        await lab.end()
    }

    @Test func aForcedDeletionWithdrawsWhatRuns() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let gate = lab.agentTaps.hold("ingest", .before, cut: .cancelled)
        let (adding, image) = try await lab.operations.addImage(
            ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath(path)),
            caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await delete(lab, storage.id, force: true).state == .succeeded)
        #expect(try await lab.inventory.ended(adding.id).state == .cancelled)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    // A deletion of an image cannot be withdrawn and waits for its agent, which never comes back.
    @Test func aForcedDeletionDoesNotWaitForAnImageDeletionThatWaitsForTheAgent() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        await lab.host.stopAgent(storage.id)
        lab.host.taps.fail("remove", with: .unreachable("127.0.0.1:22"))
        let (deleting, _) = try await lab.operations.deleteImage(image.id, caller: Lab.admin)
        _ = try await lab.inventory.job(deleting.id) { $0.waitingFor != nil }
        let ended = try await delete(lab, storage.id, force: true)
        #expect(ended.state == .succeeded)
        #expect(try await lab.inventory.ended(deleting.id).state == .succeeded)
        #expect(try await lab.inventory.find(ImageStorageRecord.self, storage.id) == nil)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        await lab.end()
    }

    @Test func aStorageThatIsBeingAddedIsDeletedByForce() async throws {
        let lab = try await Lab()
        let gate = lab.host.taps.hold("install", .before, cut: .cancelled)
        let (adding, storage) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        let (job, _) = try await lab.operations.deleteImageStorage(storage.id, force: true, caller: Lab.admin)
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.inventory.ended(adding.id).state == .cancelled)
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func whatIsBeingDeletedTakesNothingNewAndCannotBeCancelled() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate = lab.host.taps.hold("remove", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.deleteImageStorage(storage.id, force: false, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        // Asked again: the same job.
        #expect(
            try await lab.operations.deleteImageStorage(storage.id, force: false, caller: Lab.admin).0.id == job.id)
        let refusals = [
            await refusal { () throws(OperationError) in
                try await lab.operations.reconnect(storage.id, caller: Lab.admin)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.addImage(
                    ImageSpec(
                        imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath("/a")),
                    caller: Lab.admin)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.createUpload(
                    imageStorageID: storage.id, byteCount: 1, fileName: nil, caller: Lab.admin)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.setCredential(storage.id, .password(Secret("x")), caller: Lab.admin)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.updateImageStorage(
                    storage.id, StoragePatch(), ifMatch: nil, caller: Lab.admin)
            },
        ]
        #expect(refusals.map { $0?.code } == Array(repeating: "image-storage-being-deleted", count: 5))
        let cancel = await refusal { () throws(OperationError) in
            try await lab.operations.cancelJob(job.id, caller: Lab.admin)
        }
        #expect(cancel?.code == "job-not-cancellable")
        gate.open()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        await lab.end()
    }

    @Test func severalHaveAnOutcomeEach() async throws {
        let lab = try await Lab()
        let empty = try await lab.addStorage()
        let full = try await lab.addStorage(lab.spec("two", mountPath: "/srv/two"))
        _ = try await lab.addImage(full.id)
        let unknown: ImageStorageID = InventoryBench.makeID(55)
        let results = try await lab.operations.deleteImageStorages(
            [empty.id, full.id, unknown], force: false, caller: Lab.admin)
        #expect(results.map(\.id) == [empty.id, full.id, unknown])
        let job = try results[0].outcome.get()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        let codes = results.dropFirst().map { result -> String? in
            if case .failure(let error) = result.outcome { error.code } else { nil }
        }
        #expect(codes == ["image-storage-in-use", "image-storage-not-found"])
        for count in [0, OperationsLimits.bulkMax + 1] {
            let error = await refusal { () throws(OperationError) in
                try await lab.operations.deleteImageStorages(
                    Array(repeating: unknown, count: count), force: false, caller: Lab.admin)
            }
            #expect(error?.field == "/ids")
        }
        await lab.end()
    }
}
