// Goal: a storage whose agent is gone is disconnected after three misses and comes back by itself; an agent that answers
// gets what it is due.
// Method: rounds of pings that the test asks for, agents that are stopped, started and replaced.
import AgentLink
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct PingTests {
    private func ping(_ lab: Lab) async { await lab.operations.pingOnce(within: .seconds(10)) }

    @Test func disconnectedAfterThreeMissesAndBackByItself() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        await ping(lab)
        await lab.host.stopAgent(storage.id)
        for miss in 1...OperationsLimits.missesMax {
            #expect(try await lab.storage(storage.id).status == .connected, "before miss \(miss)")
            await ping(lab)
        }
        let gone = try await lab.storage(storage.id)
        #expect(gone.status == .disconnected && gone.statusReason?.contains("the agent does not answer") == true)
        #expect(gone.revision == storage.revision)
        let events = try await lab.inventory.lastEventSequence()
        await ping(lab)
        #expect(try await lab.inventory.lastEventSequence() == events)
        let configured = lab.agentTaps.count("configure")
        try await lab.host.startAgent(storage.id)
        await ping(lab)
        let back = try await lab.storage(storage.id)
        #expect(back.status == .connected && back.statusReason == nil)
        #expect(lab.agentTaps.count("configure") == configured + 1)
        await lab.end()
    }

    @Test func anAnswerInBetweenBeginsTheCountAnew() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        for _ in 0..<3 {
            lab.agentTaps.fail("status", times: OperationsLimits.missesMax - 1, with: .timeout("slow"))
            for _ in 0..<OperationsLimits.missesMax { await ping(lab) }
            #expect(try await lab.storage(storage.id).status == .connected)
        }
        await lab.end()
    }

    @Test func anotherAgentOrStoreIsNotTakenForThisOne() async throws {
        for error in [AgentLinkError.wrongIdentity("x"), .noCommonVersion("9"), .protocolViolation("y")] {
            let lab = try await Lab()
            let storage = try await lab.addStorage()
            lab.agentTaps.fail("status", times: 1, with: error)
            await ping(lab)
            #expect(try await lab.storage(storage.id).status == .disconnected)
            await ping(lab)
            #expect(try await lab.storage(storage.id).status == .connected)
            // The store behind the agent was changed.
            try await lab.bench.write { transaction throws(InventoryError) in
                try transaction.change(ImageStorageRecord.self, storage.id) { $0.storeID = InventoryBench.makeID(66) }
            }
            await ping(lab)
            let after = try await lab.storage(storage.id)
            #expect(after.status == .disconnected && after.statusReason?.contains("it serves the store") == true)
            await lab.end()
        }
    }

    @Test func usageIsKeptQuietly() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        _ = try await lab.addImage(storage.id)
        let events = try await lab.inventory.lastEventSequence()
        await ping(lab)
        let after = try await lab.storage(storage.id)
        #expect(after.usage?.images == 1)
        #expect(try await lab.inventory.lastEventSequence() == events)
        lab.bench.clock.advance(seconds: OperationsLimits.seenSeconds)
        await ping(lab)
        #expect(try await lab.storage(storage.id).lastSeenAt == lab.bench.clock.wall.now())
        await lab.end()
    }

    @Test func aCertificateIsRenewedAtTwoThirdsOfItsLife() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        lab.bench.clock.advance(seconds: 19 * 86_400)
        await ping(lab)
        #expect(try await lab.storage(storage.id).certificateExpiresAt == storage.certificateExpiresAt)
        lab.bench.clock.advance(seconds: 2 * 86_400)
        lab.agentTaps.fail("install-certificate", times: 1, with: .failed(AgentFailure(code: .internal, detail: "no")))
        await ping(lab)
        #expect(try await lab.storage(storage.id).certificateExpiresAt == storage.certificateExpiresAt)
        await ping(lab)
        let renewed = try await lab.storage(storage.id)
        #expect(renewed.certificateIssuedAt == lab.bench.clock.wall.now())
        let (new, old) = (try #require(renewed.certificateExpiresAt), try #require(storage.certificateExpiresAt))
        #expect(new > old)
        #expect(try await lab.audit("certificate.renew") == ["done one"])
        let asked = lab.agentTaps.count("certificate-request")
        await ping(lab)
        #expect(lab.agentTaps.count("certificate-request") == asked)
        // The agent comes up with it.
        await lab.host.stopAgent(storage.id)
        try await lab.host.startAgent(storage.id)
        await ping(lab)
        #expect(try await lab.storage(storage.id).status == .connected)
        await lab.end()
    }

    @Test func whatIsBeingConnectedIsLeftToItsJob() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let gate = lab.host.taps.hold("probe", .before, cut: .cancelled)
        let job = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(await eventually { gate.arrivals == 1 })
        await ping(lab)
        #expect(try await lab.storage(storage.id).status == .connecting)
        gate.open()
        #expect(try await lab.inventory.ended(job.id).state == .succeeded)
        #expect(try await lab.storage(storage.id).status == .connected)
        await lab.end()
    }
}
