// Goal: an API token does at most what its owner may, until its time or its deletion, and is shown once.
// Method: tokens of accounts of each role, with a clock that the test moves.
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Testing

@Suite(.timeLimit(.minutes(1)))
struct APITokenTests {
    /// A laboratory with an account of each role, and callers who are logged in.
    private func started() async throws -> (lab: Lab, callers: [Role: Caller]) {
        let lab = try await Lab()
        var callers: [Role: Caller] = [:]
        for role in [Role.admin, .operator, .viewer] {
            _ = try await lab.operations.createUser(
                name: role.rawValue, description: "", role: role, password: Secret("some-password"), caller: Lab.admin)
            let logIn = try await lab.operations.logIn(
                username: role.rawValue, password: Secret("some-password"), address: "192.0.2.9")
            callers[role] = try await lab.operations.authenticate(
                bearerToken: logIn.token.reveal, address: "192.0.2.9")
        }
        return (lab, callers)
    }

    private func make(
        _ lab: Lab, _ caller: Caller, role: Role? = nil, expiresAt: Timestamp? = nil, name: String = "ci"
    ) async throws(OperationError) -> (Secret, TokenRecord) {
        try await lab.operations.createAPIToken(
            name: name, description: "", role: role, expiresAt: expiresAt, caller: caller)
    }

    @Test func itsRoleIsAtMostItsOwners() async throws {
        let (lab, callers) = try await started()
        let worker = try #require(callers[.operator])
        let (secret, record) = try await make(lab, worker, role: .viewer)
        #expect(record.role == .viewer && record.type == .api && record.userID == worker.userID)
        let used = try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-")
        #expect(used.role == .viewer && used.username == "operator")
        let above = await refusal { () throws(OperationError) in try await make(lab, worker, role: .admin) }
        #expect(above?.field == "/role")
        // A token cannot make a stronger one.
        let climbing = await refusal { () throws(OperationError) in try await make(lab, used, role: .operator) }
        #expect(climbing?.field == "/role")
        #expect(try await make(lab, worker).1.role == .operator)
        #expect(!secret.reveal.isEmpty && !"\(record)".contains(secret.reveal))
        await lab.end()
    }

    @Test func whatItMakesEndsNoLaterThanItself() async throws {
        let (lab, callers) = try await started()
        let worker = try #require(callers[.operator])
        let end = lab.bench.clock.wall.now().adding(seconds: 86_400)
        let (secret, _) = try await make(lab, worker, expiresAt: end)
        let used = try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-")
        for late in [nil, end.adding(seconds: 1)] {
            let refused = await refusal { () throws(OperationError) in
                try await make(lab, used, expiresAt: late, name: "late")
            }
            #expect(refused?.field == "/expiresAt")
        }
        #expect(try await make(lab, used, expiresAt: end, name: "next").1.expiresAt == end)
        await lab.end()
    }

    @Test func itEndsWithItsTime() async throws {
        let (lab, callers) = try await started()
        let worker = try #require(callers[.operator])
        let end = lab.bench.clock.wall.now().adding(seconds: 90 * 86_400)
        let (secret, _) = try await make(lab, worker, expiresAt: end)
        let (forever, _) = try await make(lab, worker)
        lab.bench.clock.advance(seconds: 90 * 86_400 - 1)
        #expect(try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-").role == .operator)
        lab.bench.clock.advance(seconds: 1)
        let over = await refusal { () throws(OperationError) in
            try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-")
        }
        #expect(over == .unauthenticated)
        #expect(try await lab.operations.authenticate(bearerToken: forever.reveal, address: "-").role == .operator)
        let past = await refusal { () throws(OperationError) in
            try await make(lab, worker, expiresAt: lab.bench.clock.wall.now())
        }
        #expect(past?.field == "/expiresAt")
        await lab.end()
    }

    @Test func everyoneSeesAndDeletesTheirOwnAndAnAdminAll() async throws {
        let (lab, callers) = try await started()
        let (admin, worker, viewer) = (
            try #require(callers[.admin]), try #require(callers[.operator]), try #require(callers[.viewer])
        )
        let (secret, record) = try await make(lab, worker)
        let (_, other) = try await make(lab, viewer)
        #expect(try await lab.operations.listAPITokens(Query(), caller: viewer).items.map(\.id) == [other.id])
        // A filter does not show somebody else's.
        let query = Query(filters: ["userID": [worker.userID?.description ?? ""], "type": ["session"]])
        #expect(try await lab.operations.listAPITokens(query, caller: viewer).items.map(\.id) == [other.id])
        #expect(try await lab.operations.listAPITokens(Query(), caller: admin).items.count == 2)
        let foreign = await refusal { () throws(OperationError) in
            try await lab.operations.deleteAPIToken(record.id, caller: viewer)
        }
        #expect(foreign?.code == "api-token-not-found")
        let session = try #require(worker.tokenID)
        let noToken = await refusal { () throws(OperationError) in
            try await lab.operations.deleteAPIToken(session, caller: worker)
        }
        #expect(noToken?.code == "api-token-not-found")
        try await lab.operations.deleteAPIToken(other.id, caller: admin)
        let used = try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-")
        let logOut = await refusal { () throws(OperationError) in try await lab.operations.logOut(caller: used) }
        #expect(logOut?.code == "not-a-session")
        try await lab.operations.deleteAPIToken(record.id, caller: used)
        let gone = await refusal { () throws(OperationError) in
            try await lab.operations.authenticate(bearerToken: secret.reveal, address: "-")
        }
        #expect(gone == .unauthenticated)
        #expect(try await lab.audit("api-token.delete") == ["done ci", "done ci"])
        await lab.end()
    }

    @Test func anAccountHasSoManyAndSessionsDoNotCount() async throws {
        let (lab, callers) = try await started()
        let worker = try #require(callers[.operator])
        for number in 0..<OperationsLimits.tokensMax { _ = try await make(lab, worker, name: "ci \(number)") }
        let full = await refusal { () throws(OperationError) in try await make(lab, worker) }
        #expect(full?.code == "limit-reached")
        #expect(try await make(lab, try #require(callers[.viewer])).1.role == .viewer)
        await lab.end()
    }
}
