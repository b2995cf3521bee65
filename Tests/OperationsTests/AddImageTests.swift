// Goal: an image is added wholly or not at all, from each kind of source, whatever fails, is repeated, is cancelled or
// is cut off; no secret of its source stays longer than it is needed.
// Method: a real agent with a real store; every call to it fails in turn, before and after it was made.
import AgentLink
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Testing
import Wire

@Suite(.timeLimit(.minutes(3)))
struct AddImageTests {
    private func spec(
        _ storage: ImageStorageRecord, _ source: ImageSourceSpec, format: ImageFormat = .raw, checksum: Digest? = nil
    ) -> ImageSpec {
        ImageSpec(
            imageStorageID: storage.id, name: "image", description: "d", type: .disk, format: format, source: source,
            checksum: checksum.map { "sha256:\($0.hex)" })
    }

    private func add(_ lab: Lab, _ spec: ImageSpec) async throws -> (job: JobRecord, image: ImageRecord) {
        let (job, image) = try await lab.operations.addImage(spec, caller: Lab.admin)
        #expect(image.status == .creating)
        return (try await lab.inventory.ended(job.id), image)
    }

    private func expectNothingIn(
        _ lab: Lab, _ storage: ImageStorageRecord, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let agent = try lab.host.agent(storage.id)
        #expect(try agent.images().isEmpty, sourceLocation: sourceLocation)
        #expect(try agent.sessions().isEmpty, sourceLocation: sourceLocation)
    }

    private func sealedSource(_ lab: Lab, _ id: ImageID) async throws -> Bool {
        try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.unseal(ImageRecord.self, id, field: "source") != nil
        }
    }

    @Test func fromAPathOnTheHost() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let bytes = Lab.disk()
        let path = try lab.importFile("a.raw", bytes)
        let (job, made) = try await add(lab, spec(storage, .hostPath(path), checksum: Digest.sha256(bytes)))
        #expect(job.state == .succeeded && job.steps.map(\.name) == ["ingest", "publish"])
        let image = try await lab.image(made.id)
        #expect(image.status == .ready && image.failure == nil && image.sourceDigest == Digest.sha256(bytes))
        #expect(image.virtualSizeBytes == UInt64(bytes.count) && image.sourceText == path)
        #expect(try lab.host.agent(storage.id).images().map(\.declaration.name) == ["image"])
        #expect(try lab.host.agent(storage.id).sessions().isEmpty)
        #expect(try await lab.audit("image.add") == ["done image from \(path)"])
        await lab.end()
    }

    @Test func fromAURLWhoseSecretsAreForgottenWhenItIsThere() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let server = try OneFileServer(Lab.disk())
        try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.setSystemParameter("url-import.deny", .networks([]))
        }
        let (job, made) = try await add(lab, spec(storage, .url(Secret(server.url))))
        #expect(job.state == .succeeded, "\(String(describing: job.error))")
        let image = try await lab.image(made.id)
        #expect(image.status == .ready && image.sourceText == "http://127.0.0.1:\(server.port)/image")
        #expect(server.lines.contains { $0.hasPrefix("GET /image?secret=1 ") })
        #expect(try await !sealedSource(lab, made.id))
        let texts = [job.arguments, "\(image)", "\(try await lab.audit("image.add"))"]
        #expect(texts.allSatisfy { !$0.contains("word") && !$0.contains("secret=1") })
        server.close()
        await lab.end()
    }

    @Test func aURLToADeniedNetworkIsRefusedAndItsSecretsAreForgotten() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let server = try OneFileServer(Lab.disk())
        let (job, made) = try await add(lab, spec(storage, .url(Secret(server.url))))
        #expect(job.state == .failed && job.error?.code == "source-denied")
        #expect(job.error?.detail.contains("word") == false && server.lines.isEmpty)
        let image = try await lab.image(made.id)
        #expect(image.status == .failed && image.failure == job.error)
        #expect(try await !sealedSource(lab, made.id))
        try expectNothingIn(lab, storage)
        server.close()
        await lab.end()
    }

    @Test func fromAnUploadWhichIsUsedUp() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        let (job, made) = try await add(lab, spec(storage, .upload(upload.id)))
        #expect(job.state == .succeeded, "\(String(describing: job.error))")
        #expect(try await lab.image(made.id).status == .ready)
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        #expect(try lab.host.agent(storage.id).sessions().isEmpty)
        await lab.end()
    }

    @Test func aRefusedUploadIsTheClientsAgain() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        let (job, made) = try await add(lab, spec(storage, .upload(upload.id), checksum: Digest.sha256([1])))
        #expect(job.state == .failed && job.error?.code == "checksum-mismatch")
        #expect(try await lab.image(made.id).status == .failed)
        let left = try #require(try await lab.inventory.find(UploadRecord.self, upload.id))
        #expect(left.imageID == nil && left.durableByteCount == left.byteCount)
        // Another try with the right checksum takes the same bytes.
        let (again, second) = try await add(lab, spec(storage, .upload(upload.id), checksum: Digest.sha256(Lab.disk())))
        #expect(again.state == .succeeded, "\(String(describing: again.error))")
        #expect(try await lab.image(second.id).status == .ready)
        await lab.end()
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        var code: String
        var bytes: [UInt8]
        var format: ImageFormat
        var checksum: Digest?
        var testDescription: String { code }
    }

    @Test(arguments: [
        Refused(code: "image-format-mismatch", bytes: Lab.disk(), format: .qcow2),
        Refused(code: "checksum-mismatch", bytes: Lab.disk(), format: .raw, checksum: Digest.sha256([7])),
    ]) func whatTheAgentRefusesStaysAsFailedWithTheReason(_ refused: Refused) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a", refused.bytes)
        let (job, made) = try await add(
            lab, spec(storage, .hostPath(path), format: refused.format, checksum: refused.checksum))
        #expect(job.state == .failed && job.error?.code == refused.code && job.error?.detail.isEmpty == false)
        #expect(job.steps.map(\.state) == [.undone, .pending])
        let image = try await lab.image(made.id)
        #expect(image.status == .failed && image.failure == job.error && image.contentDigest == nil)
        try expectNothingIn(lab, storage)
        #expect(try await lab.audit("image.add").first == "failed \(refused.code)")
        #expect(try await lab.addImage(storage.id, "again").status == .ready)
        await lab.end()
    }

    @Test func aFileThatIsNotThereIsRefused() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        for path in ["/etc/passwd", lab.host.imports + "/missing.raw"] {
            let (job, made) = try await add(lab, spec(storage, .hostPath(path)))
            #expect(job.error?.code == "host-path-refused")
            #expect(try await lab.image(made.id).status == .failed)
        }
        try expectNothingIn(lab, storage)
        await lab.end()
    }

    @Test func anIngestWhoseAnswerIsLostIsAskedAgain() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        lab.agentTaps.fail("ingest", .before, times: 2, with: .unreachable("cut"))
        lab.agentTaps.fail("ingest", .after, times: 2, with: .unreachable("cut"))
        let (job, made) = try await add(lab, spec(storage, .hostPath(path)))
        #expect(job.state == .succeeded && lab.agentTaps.count("ingest") == 5)
        #expect(try lab.host.agent(storage.id).images().map(\.declaration.id) == [made.id])
        await lab.end()
    }

    @Test func anAgentThatIsAwayIsWaitedForAndTheJobSaysSo() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        await lab.host.stopAgent(storage.id)
        let (job, image) = try await lab.operations.addImage(spec(storage, .hostPath(path)), caller: Lab.admin)
        let waiting = try await lab.inventory.job(job.id) { $0.waitingFor != nil }
        #expect(waiting.state == .running && waiting.waitingFor?.contains("the agent does not answer") == true)
        try await lab.host.startAgent(storage.id)
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.image(image.id).status == .ready)
        await lab.end()
    }

    @Test(arguments: Taps<AgentLinkError>.Moment.allCases)
    func aCancelledIngestLeavesNothing(_ moment: Taps<AgentLinkError>.Moment) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let gate = lab.agentTaps.hold("ingest", moment, cut: .cancelled)
        let (job, image) = try await lab.operations.addImage(spec(storage, .hostPath(path)), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        _ = try await lab.operations.cancelJob(job.id, caller: Lab.operator)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .cancelled && ended.error == nil)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        try expectNothingIn(lab, storage)
        await lab.end()
    }

    @Test(arguments: ["abandon", "remove-image"]) func anUndoThatWasCutOffIsAskedAgain(_ call: String) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        // The image is committed, and then its answer is an error for good.
        lab.agentTaps.fail("ingest", .after, with: .protocolViolation("nonsense"))
        lab.agentTaps.fail(call, .before, times: 2, with: .unreachable("cut"))
        lab.agentTaps.fail(call, .after, times: 2, with: .timeout("cut"))
        let (job, made) = try await add(lab, spec(storage, .hostPath(path)))
        #expect(job.state == .failed && job.error?.code == "agent-protocol-violation")
        #expect(job.steps[0].undoFailure == nil && lab.agentTaps.count(call) == 5)
        #expect(try await lab.image(made.id).status == .failed)
        try expectNothingIn(lab, storage)
        await lab.end()
    }

    @Test func aSessionThatIsNotThereDoesNotSaveTheImage() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        lab.agentTaps.fail("ingest", .after, with: .protocolViolation("nonsense"))
        lab.agentTaps.fail("abandon", with: .failed(AgentFailure(code: .sessionNotFound, detail: "it has ended")))
        let (job, _) = try await add(lab, spec(storage, .hostPath(path)))
        #expect(job.state == .failed && job.steps[0].undoFailure == nil)
        try expectNothingIn(lab, storage)
        await lab.end()
    }

    @Test func aCancelWhileTheAgentIsGoneForGoodEndsAndSaysWhatIsLeft() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        await lab.host.stopAgent(storage.id)
        let (job, image) = try await lab.operations.addImage(spec(storage, .hostPath(path)), caller: Lab.admin)
        _ = try await lab.inventory.job(job.id) { $0.waitingFor != nil }
        _ = try await lab.operations.cancelJob(job.id, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .cancelled && ended.error?.code == "undo-incomplete")
        #expect(ended.error?.detail.contains("the agent does not answer") == true)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        await lab.end()
    }

    @Test(arguments: Taps<AgentLinkError>.Moment.allCases)
    func theEndOfTheControllerInAnIngest(_ moment: Taps<AgentLinkError>.Moment) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let gate = lab.agentTaps.hold("ingest", moment, cut: .cancelled)
        let (job, image) = try await lab.operations.addImage(spec(storage, .hostPath(path)), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        try await lab.restart()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.image(image.id).status == .ready)
        #expect(try lab.host.agent(storage.id).images().map(\.declaration.id) == [image.id])
        await lab.end()
    }

    // `publish` of an upload has a call in its middle: the image is ready and the step is not recorded.
    @Test(arguments: Taps<AgentLinkError>.Moment.allCases)
    func theEndOfTheControllerWhileTheImageIsPublished(_ moment: Taps<AgentLinkError>.Moment) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        let gate = Gate()
        // Deaf, so that the controller waits for the call to end and then is told that it was cut.
        lab.agentTaps.on("remove-upload", moment) { await gate.wait() ? nil : .cancelled }
        let (job, image) = try await lab.operations.addImage(spec(storage, .upload(upload.id)), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await lab.image(image.id).status == .ready)
        try await lab.restart()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.image(image.id).status == .ready)
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        await lab.end()
    }

    @Test func anUploadThatCannotBeRemovedIsLeftToExpireAndTheImageIsThere() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        lab.agentTaps.fail("remove-upload", with: .unreachable("cut"))
        let (job, made) = try await add(lab, spec(storage, .upload(upload.id)))
        #expect(job.state == .succeeded)
        #expect(try await lab.image(made.id).status == .ready)
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        await lab.end()
    }

    @Test func asManyAtOnceAsTheStorageMayUploadBlobs() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate = Gate()
        lab.agentTaps.on("ingest", .before, times: .max) { await gate.wait() ? nil : .cancelled }
        var jobs: [JobRecord] = []
        for number in 0..<4 {
            let path = try lab.importFile("\(number).raw", Lab.disk(UInt64(number)))
            jobs.append(try await lab.operations.addImage(spec(storage, .hostPath(path)), caller: Lab.admin).0)
        }
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await lab.inventory.find(JobRecord.self, jobs[1].id)?.state == .queued)
        var patch = StoragePatch()
        patch.blobUploadConcurrency = 3
        _ = try await lab.operations.updateImageStorage(storage.id, patch, ifMatch: nil, caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 3 })
        #expect(try await lab.inventory.find(JobRecord.self, jobs[3].id)?.state == .queued)
        gate.open()
        for job in jobs { #expect(try await lab.inventory.ended(job.id).state == .succeeded) }
        #expect(try lab.host.agent(storage.id).images().count == 4)
        await lab.end()
    }
}
