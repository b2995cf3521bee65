// Goal: a request with an idempotency key is done once, and the same key never answers another request or caller.
// Method: claims, answers and failures, a clock that the test moves, and a controller that ends in between.
import ControllerTestSupport
import Inventory
import Model
import Operations
import Testing

@Suite(.timeLimit(.minutes(1)))
struct IdempotencyTests {
    private let body = Digest.sha256([1])
    private let answer = StoredAnswer(status: 202, headers: ["Location": "/v1/jobs/1"], body: [1, 2, 3])

    private func claim(
        _ lab: Lab, _ key: String = "k", _ caller: Caller = Lab.admin, route: String = "POST /v1/images",
        body: Digest? = nil
    ) async throws(OperationError) -> IdempotencyOutcome {
        try await lab.operations.idempotent(key: key, caller: caller, route: route, bodyDigest: body ?? self.body)
    }

    @Test func theSameRequestHasTheSameAnswerForADay() async throws {
        let lab = try await Lab()
        #expect(try await claim(lab) == .fresh)
        #expect(try await claim(lab) == .inProgress)
        try await lab.operations.remember(key: "k", caller: Lab.admin, answer: answer)
        #expect(try await claim(lab) == .replay(answer))
        try await lab.restart()
        #expect(try await claim(lab) == .replay(answer))
        #expect(try await claim(lab, body: Digest.sha256([2])) == .conflict)
        #expect(try await claim(lab, route: "POST /v1/uploads") == .conflict)
        #expect(try await claim(lab, "k", Lab.operator) == .fresh)
        lab.bench.clock.advance(seconds: 24 * 3600 + 1)
        #expect(try await claim(lab, body: Digest.sha256([2])) == .fresh)
        await lab.end()
    }

    @Test func aFailureThatMayPassFreesTheKey() async throws {
        let lab = try await Lab()
        #expect(try await claim(lab) == .fresh)
        try await lab.operations.forget(key: "k", caller: Lab.operator)
        #expect(try await claim(lab) == .inProgress)
        try await lab.operations.forget(key: "k", caller: Lab.admin)
        #expect(try await claim(lab, body: Digest.sha256([2])) == .fresh)
        await lab.end()
    }

    @Test func aRequestThatEndedWithTheControllerIsFreeAgain() async throws {
        let lab = try await Lab()
        #expect(try await claim(lab) == .fresh)
        try await lab.restart()
        #expect(try await claim(lab) == .fresh)
        await lab.end()
    }

    @Test func anAnswerThatIsTooLargeIsNotKept() async throws {
        let lab = try await Lab()
        #expect(try await claim(lab) == .fresh)
        let large = StoredAnswer(
            status: 200, headers: [:], body: [UInt8](repeating: 0, count: InventoryLimits.answerByteCountMax + 1))
        try await lab.operations.remember(key: "k", caller: Lab.admin, answer: large)
        #expect(try await claim(lab) == .fresh)
        await lab.end()
    }

    @Test(arguments: ["", "with space", "ä", String(repeating: "k", count: 256)])
    func keysThatAreNone(_ key: String) async throws {
        let lab = try await Lab()
        let error = await refusal { () throws(OperationError) in try await claim(lab, key) }
        #expect(error?.code == "invalid-value")
        await lab.end()
    }
}
