// Goal: what cannot be an image is refused at once with a code, a field and words, and nothing is left of it.
// Method: wrong values, roles, storages and uploads against the operation.
import AgentLink
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Testing

@Suite(.timeLimit(.minutes(2)))
struct AddImageRefusalTests {
    struct WrongValue: Sendable, CustomTestStringConvertible {
        var field: String
        var spoil: @Sendable (inout ImageSpec) -> Void
        var testDescription: String { field }
        init(_ field: String, _ spoil: @escaping @Sendable (inout ImageSpec) -> Void) {
            self.field = field
            self.spoil = spoil
        }
    }

    static let wrongValues = [
        WrongValue("/name") { $0.name = "" }, WrongValue("/description") { $0.description = "\u{7}" },
        WrongValue("/imageStorageId") { $0.imageStorageID = InventoryBench.makeID(77) },
        WrongValue("/type") { $0.format = .iso }, WrongValue("/checksum") { $0.checksum = "sha256:12" },
        WrongValue("/source/hostPath") { $0.source = .hostPath("relative.raw") },
        WrongValue("/source/hostPath") { $0.source = .hostPath("/a/../b") },
        WrongValue("/source/hostPath") { $0.source = .hostPath("/a\n") },
        WrongValue("/source/url") { $0.source = .url(Secret("file:///etc/passwd")) },
        WrongValue("/source/url") { $0.source = .url(Secret("http://")) },
        WrongValue("/source/url") { $0.source = .url(Secret("http://host/a b")) },
        WrongValue("/source/url") { $0.source = .url(Secret("http://host/" + String(repeating: "a", count: 5000))) },
        WrongValue("/source/hostKey") { $0.source = .url(Secret("sftp://host/a"), hostKey: "SHA256:short") },
        WrongValue("/source/uploadId") { $0.source = .upload(InventoryBench.makeID(78)) },
    ]

    @Test(arguments: wrongValues) func aWrongValueNamesItsField(_ wrong: WrongValue) async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        var spec = ImageSpec(
            imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .hostPath("/a.raw"))
        wrong.spoil(&spec)
        let error = await refusal { [spec] () throws(OperationError) in
            try await lab.operations.addImage(spec, caller: Lab.admin)
        }
        #expect(error?.code == "invalid-value" && error?.field == wrong.field && error?.detail.isEmpty == false)
        #expect(try await lab.inventory.list(ImageRecord.self, Query()).items.isEmpty)
        #expect(try await lab.inventory.list(JobRecord.self, Query(filters: ["type": ["add-image"]])).items.isEmpty)
        await lab.end()
    }

    @Test func rolesAndStoragesThatTakeNothing() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        func add(_ source: ImageSourceSpec, _ caller: Caller) async -> OperationError? {
            await refusal { () throws(OperationError) in
                try await lab.operations.addImage(
                    ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: source),
                    caller: caller)
            }
        }
        #expect(await add(.url(Secret("http://h/a")), Lab.viewer) == .forbidden(needed: .operator))
        #expect(await add(.hostPath("/a"), Lab.operator) == .forbidden(needed: .admin))
        #expect(try await lab.audit("image.add-from-host-path") == ["denied needs admin"])
        _ = try await lab.operations.disableImageStorage(storage.id, caller: Lab.admin)
        #expect(await add(.hostPath("/a"), Lab.admin)?.code == "image-storage-disabled")
        _ = try await lab.operations.enableImageStorage(storage.id, caller: Lab.admin)
        try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.change(ImageStorageRecord.self, storage.id) { storage in
                storage.status = .disconnected
                storage.statusReason = "no route"
            }
        }
        let error = await add(.hostPath("/a"), Lab.admin)
        #expect(error?.code == "image-storage-not-connected" && error?.detail.hasSuffix("no route") == true)
        #expect(try await lab.inventory.list(ImageRecord.self, Query()).items.isEmpty)
        await lab.end()
    }

    @Test func uploadsThatCannotBecomeAnImage() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let other = try await lab.addStorage(lab.spec("two", mountPath: "/srv/two"))
        let whole = try await lab.upload(Lab.disk(), to: storage.id)
        let part = try await lab.operations.createUpload(
            imageStorageID: storage.id, byteCount: 10, fileName: nil, caller: Lab.admin)
        func add(_ id: UploadID, _ storage: ImageStorageID, _ caller: Caller = Lab.admin) async -> OperationError? {
            await refusal { () throws(OperationError) in
                try await lab.operations.addImage(
                    ImageSpec(imageStorageID: storage, name: "a", type: .disk, format: .raw, source: .upload(id)),
                    caller: caller)
            }
        }
        #expect(await add(part.id, storage.id)?.code == "upload-incomplete")
        #expect(await add(whole.id, other.id)?.field == "/source/uploadId")
        // Somebody else's upload does not exist.
        #expect(await add(whole.id, storage.id, Lab.operator)?.field == "/source/uploadId")
        let gate = lab.agentTaps.hold("ingest", .before, cut: .cancelled)
        #expect(await add(whole.id, storage.id) == nil)
        #expect(await eventually { gate.arrivals == 1 })
        #expect(await add(whole.id, storage.id)?.code == "upload-in-use")
        let deleting = await refusal { () throws(OperationError) in
            try await lab.operations.deleteUpload(whole.id, caller: Lab.admin)
        }
        #expect(deleting?.code == "upload-in-use")
        #expect(try await lab.inventory.list(ImageRecord.self, Query()).items.count == 1)
        gate.open()
        await lab.end()
    }
}
