// Goal: an upload goes on where it is durable, belongs to one client and one request at a time, and ends with its time.
// Method: a real agent; calls that are cut off; a clock that the test moves.
import AgentLink
import ControllerTestSupport
import Inventory
import Model
import Operations
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct UploadTests {
    @Test func itGoesOnWhereItIsDurable() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let bytes = Lab.disk()
        let upload = try await lab.operations.createUpload(
            imageStorageID: storage.id, byteCount: UInt64(bytes.count), fileName: "../a\u{7}", caller: Lab.operator)
        #expect(upload.durableByteCount == 0 && upload.userID == Lab.operator.userID)
        #expect(
            upload.expiresAt == lab.bench.clock.wall.now().adding(seconds: 24 * 3600))
        lab.bench.clock.advance(seconds: 3600)
        let half = try await lab.write(Array(bytes.prefix(1000)), to: upload.id, caller: Lab.operator)
        #expect(half.durableByteCount == 1000)
        #expect(half.expiresAt == lab.bench.clock.wall.now().adding(seconds: 24 * 3600))
        let wrong = await refusal { () throws(OperationError) in
            try await lab.write([1], to: upload.id, at: 999, caller: Lab.operator)
        }
        #expect(wrong?.code == "upload-offset-mismatch")
        let forged = await refusal { () throws(OperationError) in
            try await lab.write([1], to: upload.id, at: 1000, checksum: Digest.sha256([2]), caller: Lab.operator)
        }
        #expect(forged?.code == "checksum-mismatch")
        #expect(try await lab.operations.upload(upload.id, caller: Lab.operator).durableByteCount == 1000)
        let whole = try await lab.write(Array(bytes.dropFirst(1000)), to: upload.id, at: 1000, caller: Lab.operator)
        #expect(whole.durableByteCount == whole.byteCount)
        await lab.end()
    }

    @Test func aClientThatGoesAwayKeepsWhatArrived() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.operations.createUpload(
            imageStorageID: storage.id, byteCount: 1000, fileName: nil, caller: Lab.admin)
        let turn = Mutex(0)
        let error = await refusal { () throws(OperationError) in
            try await lab.operations.writeUpload(upload.id, offset: 0, checksum: nil, caller: Lab.admin) {
                let number = turn.withLock { turn in
                    turn += 1
                    return turn
                }
                guard number == 1 else { throw LabTrouble("the client went away") }
                return [UInt8](repeating: 1, count: 400)
            }
        }
        #expect(error?.code == "cancelled")
        let isKept = try await eventually {
            try await lab.operations.upload(upload.id, caller: Lab.admin).durableByteCount == 400
        }
        #expect(isKept)
        let whole = try await lab.write([UInt8](repeating: 2, count: 600), to: upload.id, at: 400)
        #expect(whole.durableByteCount == 1000)
        await lab.end()
    }

    @Test func oneWriterAtATime() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.operations.createUpload(
            imageStorageID: storage.id, byteCount: 4, fileName: nil, caller: Lab.admin)
        let gate = lab.agentTaps.hold("write-upload", .before, cut: .cancelled)
        let first = Task { try await lab.write([1, 2], to: upload.id) }
        #expect(await eventually { gate.arrivals == 1 })
        let second = await refusal { () throws(OperationError) in try await lab.write([1, 2], to: upload.id) }
        #expect(second?.code == "upload-busy")
        gate.open()
        #expect(try await first.value.durableByteCount == 2)
        #expect(try await lab.write([3, 4], to: upload.id, at: 2).durableByteCount == 4)
        await lab.end()
    }

    @Test func whatTheAgentDoesNotMakeRoomForIsNotKnown() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.agentTaps.fail(
            "create-upload", times: 1, with: .failed(AgentFailure(code: .noSpace, detail: "it is full")))
        let full = await refusal { () throws(OperationError) in
            try await lab.operations.createUpload(
                imageStorageID: storage.id, byteCount: 4, fileName: nil, caller: Lab.admin)
        }
        #expect(full?.code == "image-storage-full" && full?.detail == "it is full")
        let large = await refusal { () throws(OperationError) in
            try await lab.operations.createUpload(
                imageStorageID: storage.id, byteCount: OperationsLimits.uploadByteCountMax + 1, fileName: nil,
                caller: Lab.admin)
        }
        #expect(large?.field == "/byteCount")
        #expect(try await lab.inventory.list(UploadRecord.self, Query()).items.isEmpty)
        await lab.end()
    }

    @Test func somebodyElsesUploadDoesNotExist() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        for error in [
            await refusal { () throws(OperationError) in
                try await lab.operations.upload(upload.id, caller: Lab.operator)
            },
            await refusal { () throws(OperationError) in
                try await lab.write([1], to: upload.id, caller: Lab.operator)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.deleteUpload(upload.id, caller: Lab.operator)
            },
        ] { #expect(error?.code == "upload-not-found") }
        try await lab.operations.deleteUpload(upload.id, caller: Lab.admin)
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        #expect(try lab.host.agent(storage.id).sessions().isEmpty)
        await lab.end()
    }

    @Test func anUploadThatNobodyCameBackForIsThrownAway() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        lab.bench.clock.advance(seconds: 24 * 3600 - 1)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) != nil)
        lab.bench.clock.advance(seconds: 2)
        // Even if its agent cannot be told now.
        lab.agentTaps.fail("remove-upload", times: 1, with: .unreachable("cut"))
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        #expect(try await lab.audit("upload.expire") == ["done "])
        await lab.end()
    }

    // Its bytes must not be thrown away while an image can still be made of it.
    @Test func anUploadThatExpiresCannotBeTakenWhileItsBytesGo() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        lab.bench.clock.advance(seconds: 25 * 3600)
        let claimed = Mutex<OperationError??>(nil)
        lab.agentTaps.on("remove-upload", .before) {
            let error = await refusal { () throws(OperationError) in
                try await lab.operations.addImage(
                    ImageSpec(
                        imageStorageID: storage.id, name: "late", type: .disk, format: .raw,
                        source: .upload(upload.id)), caller: Lab.admin)
            }
            claimed.withLock { $0 = error }
            return nil
        }
        await lab.operations.expireOnce()
        let error = try #require(claimed.withLock { $0 })
        #expect(error?.field == "/source/uploadId")
        #expect(try await lab.inventory.list(ImageRecord.self, Query()).items.isEmpty)
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) == nil)
        await lab.end()
    }

    @Test func anUploadThatAnImageIsBeingMadeOfDoesNotExpire() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let upload = try await lab.upload(Lab.disk(), to: storage.id)
        let gate = lab.agentTaps.hold("ingest", .before, cut: .cancelled)
        let (job, _) = try await lab.operations.addImage(
            ImageSpec(imageStorageID: storage.id, name: "a", type: .disk, format: .raw, source: .upload(upload.id)),
            caller: Lab.admin)
        #expect(await eventually { gate.arrivals == 1 })
        lab.bench.clock.advance(seconds: 25 * 3600)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(UploadRecord.self, upload.id) != nil)
        #expect(lab.agentTaps.count("remove-upload") == 0)
        gate.open()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        await lab.end()
    }
}
