// Goal: ended sessions and old jobs go, and nothing else.
// Method: a clock that the test moves, and rounds of expiry that it asks for.
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ExpiryTests {
    @Test func oldJobsGoAndUnfinishedOnesStay() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let old = try #require(try await lab.inventory.list(JobRecord.self, Query()).items.first)
        let gate = lab.host.taps.hold("probe", .before, cut: .cancelled)
        let running = try await lab.operations.reconnect(storage.id, caller: Lab.admin).0
        #expect(await eventually { gate.arrivals == 1 })
        lab.bench.clock.advance(seconds: 30 * 86_400 - 1)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(JobRecord.self, old.id) != nil)
        lab.bench.clock.advance(seconds: 2)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(JobRecord.self, old.id) == nil)
        #expect(try await lab.inventory.find(JobRecord.self, running.id) != nil)
        await lab.end()
    }

    @Test func endedSessionsGoAndAPITokensStay() async throws {
        let lab = try await Lab()
        #expect(try await lab.operations.firstAdmin(password: Secret("first-password")))
        let logIn = try await lab.operations.logIn(
            username: "admin", password: Secret("first-password"), address: "192.0.2.9")
        let caller = try await lab.operations.authenticate(bearerToken: logIn.token.reveal, address: "192.0.2.9")
        let (_, token) = try await lab.operations.createAPIToken(
            name: "ci", description: "", role: nil, expiresAt: nil, caller: caller)
        lab.bench.clock.advance(seconds: OperationsLimits.sessionIdleSeconds - 1)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(TokenRecord.self, logIn.session.id) != nil)
        lab.bench.clock.advance(seconds: 2)
        await lab.operations.expireOnce()
        #expect(try await lab.inventory.find(TokenRecord.self, logIn.session.id) == nil)
        #expect(try await lab.inventory.find(TokenRecord.self, token.id) != nil)
        await lab.end()
    }
}
