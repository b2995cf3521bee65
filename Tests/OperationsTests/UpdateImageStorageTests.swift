// Goal: changes of a storage are checked, reach its agent now or later, and tell when only a reconnect brings them about.
// Method: patches against a storage with a real agent, which is there or away.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct UpdateImageStorageTests {
    private func update(
        _ lab: Lab, _ id: ImageStorageID, ifMatch: Int? = nil, caller: Caller = Lab.admin,
        _ change: (inout StoragePatch) -> Void
    ) async throws(OperationError) -> ImageStorageRecord {
        var patch = StoragePatch()
        change(&patch)
        return try await lab.operations.updateImageStorage(id, patch, ifMatch: ifMatch, caller: caller)
    }

    private func told(_ lab: Lab, _ id: ImageStorageID) throws -> ConfigureVerb {
        let kept = try #require(lab.host.instance(id)?.configuration)
        return try Messages.decode(ConfigureVerb.self, from: kept)
    }

    @Test func settingsReachTheAgentAtOnce() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let changed = try await update(lab, storage.id) { patch in
            patch.name = "new"
            patch.description = "d"
            patch.reservedCapacityBytes = 5 << 20
            patch.blobUploadConcurrency = 4
            patch.blobDownloadConcurrency = 5
        }
        #expect(changed.name == "new" && changed.revision > storage.revision && !changed.requiresReconnect)
        let told = try told(lab, storage.id)
        #expect(told.reservedCapacityBytes == 5 << 20)
        #expect(told.blobUploadConcurrency.count == 4 && told.blobDownloadConcurrency.count == 5)
        #expect(try await lab.audit("image-storage.update") == ["done new"])
        await lab.end()
    }

    @Test func anAgentThatWasAwayIsToldWhenItIsBack() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        await lab.host.stopAgent(storage.id)
        let changed = try await update(lab, storage.id) { $0.reservedCapacityBytes = 6 << 20 }
        #expect(changed.reservedCapacityBytes == 6 << 20)
        #expect(try told(lab, storage.id).reservedCapacityBytes == 1 << 20)
        try await lab.host.startAgent(storage.id)
        // Telling fails once more; the next ping tells again.
        lab.agentTaps.fail("configure", times: 1, with: .unreachable("cut"))
        await lab.operations.pingOnce(within: .seconds(10))
        #expect(try told(lab, storage.id).reservedCapacityBytes == 1 << 20)
        await lab.operations.pingOnce(within: .seconds(10))
        #expect(try told(lab, storage.id).reservedCapacityBytes == 6 << 20)
        let count = lab.agentTaps.count("configure")
        await lab.operations.pingOnce(within: .seconds(10))
        #expect(lab.agentTaps.count("configure") == count)
        await lab.end()
    }

    @Test func anAgentThatMissedAChangeBeforeTheEndOfTheControllerIsTold() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.agentTaps.fail("configure", times: 1, with: .unreachable("cut"))
        _ = try await update(lab, storage.id) { $0.reservedCapacityBytes = 7 << 20 }
        #expect(try told(lab, storage.id).reservedCapacityBytes == 1 << 20)
        try await lab.restart()
        await lab.operations.pingOnce(within: .seconds(10))
        let isTold = try await eventually { try told(lab, storage.id).reservedCapacityBytes == 7 << 20 }
        #expect(isTold)
        await lab.end()
    }

    @Test func networksAreCheckedOnTheHostAndNeedAReconnect() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let changed = try await update(lab, storage.id) { $0.imageSyncNetwork = .set("10.1.0.0/24") }
        #expect(changed.imageSyncNetwork == "10.1.0.0/24" && changed.requiresReconnect)
        for (field, change) in [
            ("/imageSyncNetwork", { (patch: inout StoragePatch) in patch.imageSyncNetwork = .set("10.9.0.0/24") }),
            ("/dataNetwork", { (patch: inout StoragePatch) in patch.dataNetwork = .set("10.9.0.0/24") }),
        ] {
            let error = await refusal { () throws(OperationError) in try await update(lab, storage.id, change) }
            #expect(error?.code == "invalid-value" && error?.field == field)
        }
        lab.host.taps.fail("probe", with: .refusedPort("127.0.0.1:22"))
        let away = await refusal { () throws(OperationError) in
            try await update(lab, storage.id) { $0.dataNetwork = .set("10.1.0.0/24") }
        }
        #expect(away?.code == "ssh-port-closed")
        #expect(try await lab.storage(storage.id).dataNetwork == nil)
        let job = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(job.id).error?.code == "ssh-port-closed")
        lab.host.taps.clear()
        let again = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(try await lab.inventory.ended(again.id).state == .succeeded)
        #expect(try await lab.storage(storage.id).requiresReconnect == false)
        // To clear one, nothing on the host has to be so.
        let cleared = try await update(lab, storage.id) { $0.imageSyncNetwork = .clear }
        #expect(cleared.imageSyncNetwork == nil && cleared.requiresReconnect)
        await lab.end()
    }

    @Test func whatIsWrongStaleOrTakenChangesNothing() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        _ = try await lab.addStorage(lab.spec("two", mountPath: "/srv/two"))
        let before = try await lab.storage(storage.id)
        let refusals = [
            await refusal { () throws(OperationError) in try await update(lab, storage.id) { $0.name = "" } },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id) { $0.hostAddress = "10.0.0.300" }
            },
            await refusal { () throws(OperationError) in try await update(lab, storage.id) { $0.sshPort = 0 } },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id) { $0.hostKey = .set("x") }
            },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id) { $0.blobUploadConcurrency = 17 }
            },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id) { $0.dataCenterID = InventoryBench.makeID(77) }
            },
            await refusal { () throws(OperationError) in try await update(lab, storage.id) { $0.name = "two" } },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id, ifMatch: before.revision + 1) { $0.name = "three" }
            },
            await refusal { () throws(OperationError) in
                try await update(lab, storage.id, caller: Lab.operator) { $0.name = "three" }
            },
        ]
        #expect(
            refusals.map { $0?.field ?? $0?.code } == [
                "/name", "/host/address", "/host/sshPort", "/host/hostKey", "/blobUploadConcurrency", "/dataCenterId",
                "name-taken", "precondition-failed", "forbidden",
            ])
        #expect(try await lab.storage(storage.id) == before)
        await lab.end()
    }

    @Test func aNewPasswordIsSealedAndWaitsForAReconnect() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let wrong = await refusal { () throws(OperationError) in
            try await lab.operations.setCredential(storage.id, .password(Secret("a\rb")), caller: Lab.admin)
        }
        #expect(wrong?.field == "/password")
        let changed = try await lab.operations.setCredential(storage.id, .password(Secret("n3w")), caller: Lab.admin)
        #expect(changed.requiresReconnect && lab.host.taps.count("probe") == 1)
        let kept = try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.unseal(ImageStorageRecord.self, storage.id, field: "credential")
        }
        #expect(kept == Array("n3w".utf8))
        #expect(try await lab.audit("image-storage.set-credential") == ["done "])
        await lab.end()
    }

    @Test func enablingAndDisablingTwiceIsOnce() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let disabled = try await lab.operations.disableImageStorage(storage.id, caller: Lab.admin)
        let again = try await lab.operations.disableImageStorage(storage.id, caller: Lab.admin)
        #expect(disabled.state == .disabled && again.revision == disabled.revision)
        #expect(try await lab.operations.enableImageStorage(storage.id, caller: Lab.admin).state == .enabled)
        await lab.end()
    }

    @Test func usageIsAskedNowAndElseTheLastKnown() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        _ = try await lab.addImage(storage.id)
        #expect(try await lab.operations.usage(storage.id, caller: Lab.viewer).images == 1)
        await lab.host.stopAgent(storage.id)
        #expect(try await lab.operations.usage(storage.id, caller: Lab.viewer).images == 0)
        await lab.end()
    }
}
