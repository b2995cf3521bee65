// Goal: what a mount path holds is taken over once, whatever is repeated, and let go of again when adding fails.
// Method: stores that were storages before, loose files, and calls that fail in the middle.
import AgentLink
import ControllerTestSupport
import Foundation
import Inventory
import Model
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct RetrieveImagesTests {
    /// A place with a store of two images and no storage.
    private func abandonedStore(_ lab: Lab) async throws -> [ImageRecord] {
        let storage = try await lab.addStorage()
        let images = [
            try await lab.addImage(storage.id, "a", seed: 1), try await lab.addImage(storage.id, "b", seed: 2),
        ]
        lab.host.taps.clear()
        let job = try await lab.operations.deleteImageStorage(storage.id, force: true, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        for image in images { #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil) }
        return images
    }

    @Test func imagesComeBackAsTheyWere() async throws {
        let lab = try await Lab()
        let before = try await abandonedStore(lab)
        let storage = try await lab.addStorage(lab.spec("back", retrieves: true))
        for image in before {
            let found = try await lab.image(image.id)
            #expect(found.imageStorageID == storage.id && found.status == .ready && found.sourceKind == .retrieved)
            #expect(found.name == image.name && found.contentDigest == image.contentDigest)
            #expect(found.virtualSizeBytes == image.virtualSizeBytes)
        }
        await lab.end()
    }

    @Test func withoutBeingAskedNothingIsTakenOver() async throws {
        let lab = try await Lab()
        _ = try await abandonedStore(lab)
        _ = try await lab.addStorage(lab.spec("back"))
        #expect(try await lab.inventory.list(ImageRecord.self, Query()).items.isEmpty)
        await lab.end()
    }

    @Test func looseFilesBecomeImagesOnce() async throws {
        let lab = try await Lab()
        let place = lab.host.place(of: "/srv/one")
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        try Data(Lab.disk()).write(to: URL(fileURLWithPath: place + "/found.raw"))
        // The step is repeated after it made the image.
        let held = lab.agentTaps.hold("list-loose-files", .after, cut: .unreachable("cut"))
        held.open()
        lab.agentTaps.fail("list-loose-files", .after, times: 1, with: .unreachable("cut"))
        let storage = try await lab.addStorage(lab.spec(retrieves: true))
        let images = try await lab.inventory.list(ImageRecord.self, Query()).items
        let image = try #require(images.first)
        #expect(images.count == 1 && image.name == "found" && image.imageStorageID == storage.id)
        let jobs = try await lab.inventory.list(JobRecord.self, Query(filters: ["type": ["add-image"]])).items
        let job = try #require(jobs.first)
        #expect(jobs.count == 1 && job.requestedBy == "admin")
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.image(image.id).sourceDigest == Digest.sha256(Lab.disk()))
        #expect(FileManager.default.fileExists(atPath: place + "/found.raw"))
        await lab.end()
    }

    // The images are taken over, and then the step fails: the records go, the store keeps its images.
    @Test func whatWasTakenOverIsLetGoOfWhenAddingFails() async throws {
        let lab = try await Lab()
        let before = try await abandonedStore(lab)
        lab.agentTaps.clear()
        lab.agentTaps.fail("list-loose-files", with: .failed(AgentFailure(code: .internal, detail: "bad")))
        let (job, storage) = try await lab.operations.addStandalone(
            lab.spec("back", retrieves: true), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error == Failure(code: "internal", detail: "bad"))
        try await lab.expectGone(storage.id)
        lab.agentTaps.clear()
        _ = try await lab.addStorage(lab.spec("again", retrieves: true))
        for image in before { #expect(try await lab.image(image.id).status == .ready) }
        await lab.end()
    }

    @Test func anImageThatIsKnownElsewhereIsLeftOutAndTold() async throws {
        let lab = try await Lab()
        let before = try await abandonedStore(lab)
        let other = try await lab.addStorage(lab.spec("other", mountPath: "/srv/other"))
        try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.insert(
                ImageRecord(
                    id: before[0].id, imageStorageID: other.id, name: "copy", description: "", type: .disk,
                    format: .raw, sourceKind: .hostPath, sourceText: "/x", createdAt: transaction.now))
        }
        let (job, storage) = try await lab.operations.addStandalone(
            lab.spec("back", retrieves: true), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .succeeded)
        #expect(ended.notes == ["image \(before[0].id) is known on another image storage and was left out"])
        #expect(try await lab.image(before[0].id).imageStorageID == other.id)
        #expect(try await lab.image(before[1].id).imageStorageID == storage.id)
        await lab.end()
    }
}
