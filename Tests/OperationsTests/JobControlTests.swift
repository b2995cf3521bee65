// Goal: jobs are cancelled by those who may, reading follows the roles, and every refusal says why.
// Method: callers of each role against jobs of storages and images, running and ended.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Testing

@Suite(.timeLimit(.minutes(1)))
struct JobControlTests {
    private func cancel(_ lab: Lab, _ id: JobID, _ caller: Caller) async -> OperationError? {
        await refusal { () throws(OperationError) in try await lab.operations.cancelJob(id, caller: caller) }
    }

    @Test func aStoragesJobIsTheAdminsToCancel() async throws {
        let lab = try await Lab()
        let gate = lab.host.taps.hold("probe", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.addStandalone(lab.spec(), caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(await cancel(lab, job.id, Lab.viewer) == .forbidden(needed: .operator))
        #expect(await cancel(lab, job.id, Lab.operator) == .forbidden(needed: .admin))
        #expect(try await lab.inventory.find(JobRecord.self, job.id)?.isCancelRequested == false)
        #expect(await cancel(lab, job.id, Lab.admin) == nil)
        #expect(try await lab.inventory.ended(job.id).state == .cancelled)
        #expect(await cancel(lab, job.id, Lab.admin)?.code == "job-finished")
        #expect(await cancel(lab, InventoryBench.makeID(5), Lab.admin)?.code == "job-not-found")
        #expect(
            try await lab.audit("job.cancel") == [
                "done add-image-storage", "denied needs admin", "denied needs operator",
            ])
        await lab.end()
    }

    @Test func aWithdrawnJobInTheQueueLeavesNoImage() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let path = try lab.importFile("a.raw", Lab.disk())
        let gate = lab.agentTaps.hold("ingest", .before, cut: .cancelled)
        func add() async throws -> (JobRecord, ImageRecord) {
            try await lab.operations.addImage(
                ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath(path)),
                caller: Lab.admin)
        }
        let (first, _) = try await add()
        let (second, image) = try await add()
        #expect(await eventually { gate.arrivals == 1 })
        #expect(try await lab.inventory.find(JobRecord.self, second.id)?.state == .queued)
        #expect(await cancel(lab, second.id, Lab.operator) == nil)
        #expect(try await lab.inventory.ended(second.id).state == .cancelled)
        #expect(try await lab.inventory.find(ImageRecord.self, image.id) == nil)
        gate.open()
        #expect(try await lab.inventory.ended(first.id).state == .succeeded)
        await lab.end()
    }

    @Test func everyoneReadsButAccountsTokensAndUploads() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        #expect(try await lab.operations.find(ImageStorageRecord.self, storage.id, caller: Lab.viewer) == storage)
        #expect(try await lab.operations.list(JobRecord.self, Query(), caller: Lab.viewer).items.count == 1)
        let refusals = [
            await refusal { () throws(OperationError) in
                try await lab.operations.find(UploadRecord.self, upload.id, caller: Lab.operator)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.list(UserRecord.self, Query(), caller: Lab.operator)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.list(TokenRecord.self, Query(), caller: Lab.operator)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.auditLog(limit: 1, cursor: nil, caller: Lab.operator)
            },
        ]
        #expect(refusals == Array(repeating: .forbidden(needed: .admin), count: 4))
        let unknown: ImageID = InventoryBench.makeID(5)
        let missing = await refusal { () throws(OperationError) in
            try await lab.operations.find(ImageRecord.self, unknown, caller: Lab.viewer)
        }
        #expect(missing == .notFound(kind: "image", id: unknown.description))
        let query = await refusal { () throws(OperationError) in
            try await lab.operations.list(ImageRecord.self, Query(filters: ["nothing": ["x"]]), caller: Lab.viewer)
        }
        #expect(query?.code == "invalid-value")
        let log = try await lab.operations.auditLog(limit: 500, cursor: nil, caller: Lab.admin)
        #expect(log.brokenAt == nil && log.page.items.count { $0.outcome == .denied } == 4)
        await lab.end()
    }
}
