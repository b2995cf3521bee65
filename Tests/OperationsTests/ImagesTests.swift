// Goal: images are deleted from their store and the inventory or stay what they were; names go to the store as well;
// content is what was put in.
// Method: a real agent with a real store; every call to it fails in turn, before and after it was made.
import AgentLink
import ControllerTestSupport
import Inventory
import Model
import Operations
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct ImagesTests {
    private func delete(_ lab: Lab, _ id: ImageID) async throws -> JobRecord {
        let (job, image) = try await lab.operations.deleteImage(id, caller: Lab.operator)
        #expect(image.status == .expunged)
        return try await lab.inventory.ended(job.id)
    }

    @Test func aDeletedImageIsNowhere() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        #expect(try await delete(lab, image.id).state == .succeeded)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        #expect(try lab.host.agent(storage.id).images().isEmpty)
        #expect(try await lab.audit("image.delete") == ["done image"])
        let again = await refusal { () throws(OperationError) in
            try await lab.operations.deleteImage(image.id, caller: Lab.operator)
        }
        #expect(again?.code == "image-not-found")
        await lab.end()
    }

    @Test func aStoreThatRefusesKeepsTheImage() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        lab.agentTaps.fail("remove-image", with: .failed(AgentFailure(code: .storeDegraded, detail: "on fire")))
        let job = try await delete(lab, image.id)
        #expect(job.state == .failed && job.error == Failure(code: "store-degraded", detail: "on fire"))
        #expect(try await lab.image(image.id).status == .ready)
        #expect(try lab.host.agent(storage.id).images().count == 1)
        #expect(try await lab.audit("image.delete") == ["failed store-degraded", "done image"])
        lab.agentTaps.clear()
        #expect(try await delete(lab, image.id).state == .succeeded)
        await lab.end()
    }

    @Test func aRemovalWhoseAnswerIsLostIsAskedAgain() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        lab.agentTaps.fail("remove-image", .before, times: 1, with: .unreachable("cut"))
        lab.agentTaps.fail("remove-image", .after, times: 2, with: .timeout("cut"))
        #expect(try await delete(lab, image.id).state == .succeeded)
        #expect(lab.agentTaps.count("remove-image") == 4)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        await lab.end()
    }

    @Test(arguments: Taps<AgentLinkError>.Moment.allCases)
    func theEndOfTheControllerInARemoval(_ moment: Taps<AgentLinkError>.Moment) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        let gate = lab.agentTaps.hold("remove-image", moment, cut: .cancelled)
        let (job, _) = try await lab.operations.deleteImage(image.id, caller: Lab.operator)
        #expect(await eventually { gate.arrivals == 1 })
        try await lab.restart()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        #expect(try lab.host.agent(storage.id).images().isEmpty)
        await lab.end()
    }

    @Test func anImageThatIsBeingAddedIsWithdrawn() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let gate = lab.agentTaps.hold("ingest", .after, cut: .cancelled)
        let (adding, image) = try await lab.operations.addImage(
            ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath(path)),
            caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await delete(lab, image.id).state == .succeeded)
        #expect(try await lab.inventory.ended(adding.id).state == .cancelled)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        #expect(try lab.host.agent(storage.id).images().isEmpty)
        #expect(try lab.host.agent(storage.id).sessions().isEmpty)
        await lab.end()
    }

    // The deletion waits for the withdrawn job to take back what it did. The end of the controller in this wait must not
    // pass for the end of that job: the record that its undoing needs would be deleted under its feet.
    @Test func theEndOfTheControllerWhileADeletionWaitsForTheAdding() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let ingest = lab.agentTaps.hold("ingest", .after, cut: .cancelled)
        let abandon = lab.agentTaps.hold("abandon", .before, cut: .cancelled)
        let (adding, image) = try await lab.operations.addImage(
            ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath(path)),
            caller: Lab.admin)
        #expect(await eventually { ingest.arrivals == 1 })
        let (deleting, _) = try await lab.operations.deleteImage(image.id, caller: Lab.operator)
        #expect(await eventually { abandon.arrivals == 1 })
        await lab.stop()
        let left = try #require(try await lab.inventory.find(JobRecord.self, deleting.id))
        #expect(left.steps[0].name == "stop-jobs" && left.steps[0].state == .running)
        try await lab.restart()
        #expect(try await lab.inventory.ended(deleting.id).state == .succeeded)
        #expect(try await lab.inventory.ended(adding.id).state == .cancelled)
        #expect(try lab.host.agent(storage.id).images().isEmpty)
        #expect(try lab.host.agent(storage.id).sessions().isEmpty)
        await lab.end()
    }

    @Test func askedTwiceItIsOneDeletionWhichCannotBeCancelled() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        let gate = lab.agentTaps.hold("remove-image", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.deleteImage(image.id, caller: Lab.operator)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await lab.operations.deleteImage(image.id, caller: Lab.operator).0.id == job.id)
        let cancel = await refusal { () throws(OperationError) in
            try await lab.operations.cancelJob(job.id, caller: Lab.admin)
        }
        #expect(cancel?.code == "job-not-cancellable")
        let content = await refusal { () throws(OperationError) in
            try await lab.operations.content(image.id, format: .raw, caller: Lab.viewer)
        }
        #expect(content?.code == "image-not-ready")
        gate.open()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        await lab.end()
    }

    @Test func severalHaveAnOutcomeEach() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let first = try await lab.addImage(storage.id, "first")
        let unknown: ImageID = InventoryBench.makeID(5)
        let results = try await lab.operations.deleteImages([unknown, first.id], caller: Lab.operator)
        if case .failure(let error) = results[0].outcome {
            #expect(error.code == "image-not-found")
        } else {
            Issue.record("an unknown image was deleted")
        }
        let job = try results[1].outcome.get()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        let denied = await refusal { () throws(OperationError) in
            try await lab.operations.deleteImages([first.id], caller: Lab.viewer)
        }
        #expect(denied == .forbidden(needed: .operator))
        await lab.end()
    }

    @Test func aNewNameIsInTheStoreAsWell() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        let changed = try await lab.operations.updateImage(
            image.id, NamePatch(name: "new", description: "d"), ifMatch: image.revision, caller: Lab.operator)
        #expect(changed.name == "new" && changed.description == "d" && changed.revision == image.revision + 1)
        let stored = try lab.host.agent(storage.id).images().map(\.declaration)
        #expect(stored.map(\.name) == ["new"] && stored.map(\.description) == ["d"])
        let stale = await refusal { () throws(OperationError) in
            try await lab.operations.updateImage(
                image.id, NamePatch(name: "other"), ifMatch: image.revision, caller: Lab.operator)
        }
        #expect(stale == .preconditionFailed)
        // An agent that is away: neither side changes.
        await lab.host.stopAgent(storage.id)
        let away = await refusal { () throws(OperationError) in
            try await lab.operations.updateImage(
                image.id, NamePatch(name: "other"), ifMatch: nil, caller: Lab.operator)
        }
        #expect(away?.code == "image-storage-not-connected")
        #expect(try await lab.image(image.id).name == "new")
        await lab.end()
    }

    @Test func contentIsWhatWasPutInAndAnAgentThatGoesIsTold() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let image = try await lab.addImage(storage.id)
        let content = try await lab.operations.content(image.id, format: .raw, caller: Lab.viewer)
        let bytes = Lab.disk()
        #expect(content.byteCount == UInt64(bytes.count) && content.digest == Digest.sha256(bytes))
        #expect(content.suggestedFileName == "image.raw")
        let read = Mutex<[UInt8]>([])
        try await content.read(offset: 4000, byteCount: 300_000) { piece in read.withLock { $0 += piece } }
        #expect(read.withLock { $0 } == Array(bytes[4000..<304_000]))
        let container = try await lab.operations.content(image.id, format: .qcow2, caller: Lab.viewer)
        #expect(container.digest == nil && container.etag != content.etag)
        await lab.host.stopAgent(storage.id)
        let gone = await refusal { () throws(OperationError) in
            try await content.read(offset: 0, byteCount: 1) { _ in }
        }
        #expect(gone?.code == "image-storage-not-connected")
        await lab.end()
    }
}
