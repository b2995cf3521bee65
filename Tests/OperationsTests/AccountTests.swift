// Goal: only who proves it is let in, guessing gets slower and slower, and the last admin stays.
// Method: log-ins, sessions and accounts with a clock that the test moves; every refusal is in the audit log.
import ControllerTestSupport
import Inventory
import Model
import Operations
import Secrets
import Testing

@Suite(.timeLimit(.minutes(1)))
struct AccountTests {
    private let password = Secret("first-password")

    private func started() async throws -> Lab {
        let lab = try await Lab()
        #expect(try await lab.operations.firstAdmin(password: password))
        return lab
    }

    private func logIn(
        _ lab: Lab, _ name: String = "admin", _ password: String = "first-password", from address: String = "192.0.2.9"
    ) async throws(OperationError) -> LogIn {
        try await lab.operations.logIn(username: name, password: Secret(password), address: address)
    }

    private func caller(_ lab: Lab, _ logIn: LogIn) async throws(OperationError) -> Caller {
        try await lab.operations.authenticate(bearerToken: logIn.token.reveal, address: "192.0.2.9")
    }

    @Test func theFirstAdminIsMadeOnce() async throws {
        let lab = try await started()
        #expect(try await lab.operations.firstAdmin(password: Secret("other-password")) == false)
        let short = await refusal { () throws(OperationError) in
            try await lab.operations.firstAdmin(password: Secret("short"))
        }
        #expect(short?.field == "/password")
        #expect(await refusal { () throws(OperationError) in try await logIn(lab, "admin", "other-password") } != nil)
        let session = try await logIn(lab)
        #expect(session.user.role == .admin)
        #expect(try await caller(lab, session).username == "admin")
        await lab.end()
    }

    @Test func everyWrongLogInFailsAlike() async throws {
        let lab = try await started()
        let user = try await lab.operations.createUser(
            name: "off", description: "", role: .viewer, password: password, caller: Lab.admin)
        _ = try await lab.operations.updateUser(
            user.id, description: nil, role: nil, isEnabled: false, password: nil, ifMatch: nil, caller: Lab.admin)
        for (name, password) in [("admin", "wrong-password"), ("nobody", "first-password"), ("off", "first-password")] {
            let error = await refusal { () throws(OperationError) in try await logIn(lab, name, password) }
            #expect(error == .unauthenticated)
        }
        #expect(try await lab.audit("session.create") == ["failed ", "failed ", "failed "])
        for token in ["", "lamina_", "lamina_" + String(repeating: "A", count: 43)] {
            let error = await refusal { () throws(OperationError) in
                try await lab.operations.authenticate(bearerToken: token, address: "-")
            }
            #expect(error == .unauthenticated)
        }
        await lab.end()
    }

    @Test func guessingAnAccountGetsSlowerFromAnyAddress() async throws {
        let lab = try await started()
        for number in 0..<OperationsLimits.logInFailuresFree {
            let error = await refusal { () throws(OperationError) in
                try await logIn(lab, "admin", "wrong", from: "10.0.0.\(number)")
            }
            #expect(error == .unauthenticated)
        }
        var pause = 2
        for number in 0..<12 {
            #expect(
                await refusal { () throws(OperationError) in
                    try await logIn(lab, "admin", "wrong", from: "10.0.1.\(number)")
                } == .unauthenticated)
            // Even the right password has to wait, from anywhere.
            let held = await refusal { () throws(OperationError) in try await logIn(lab, from: "10.0.2.\(number)") }
            #expect(held == .tooManyAttempts(retryAfterSeconds: pause))
            lab.bench.clock.advance(seconds: Int64(pause))
            pause = min(pause * 2, Int(OperationsLimits.logInPauseSecondsMax))
        }
        // Whoever waited and knows it is let in, and the account is forgiven.
        _ = try await logIn(lab, from: "10.0.3.1")
        #expect(
            await refusal { () throws(OperationError) in
                try await logIn(lab, "admin", "wrong", from: "10.0.3.2")
            } == .unauthenticated)
        _ = try await logIn(lab, from: "10.0.3.3")
        await lab.end()
    }

    @Test func guessingManyAtOnceGainsNothing() async throws {
        let lab = try await started()
        let looked = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<40 {
                group.addTask {
                    await refusal { () throws(OperationError) in
                        try await self.logIn(lab, "admin", "wrong", from: "10.0.0.\(number)")
                    } == .unauthenticated
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        // As many as one after the other before the first pause, and no more.
        #expect((1...OperationsLimits.logInFailuresFree + 1).contains(looked))
        await lab.end()
    }

    @Test func guessingFromOneAddressGetsSlowerForAllAccountsAndIsForgotten() async throws {
        let lab = try await started()
        for number in 0...OperationsLimits.logInFailuresFree {
            let error = await refusal { () throws(OperationError) in
                try await logIn(lab, "user\(number)", "wrong", from: "10.0.0.1")
            }
            #expect(error == .unauthenticated)
        }
        let held = await refusal { () throws(OperationError) in try await logIn(lab, from: "10.0.0.1") }
        #expect(held == .tooManyAttempts(retryAfterSeconds: 2))
        _ = try await logIn(lab, from: "10.0.0.2")
        // A success does not forgive the address: it may be trying many accounts.
        lab.bench.clock.advance(seconds: 2)
        _ = try await logIn(lab, from: "10.0.0.1")
        _ = await refusal { () throws(OperationError) in try await logIn(lab, "user9", "wrong", from: "10.0.0.1") }
        #expect(
            await refusal { () throws(OperationError) in try await logIn(lab, from: "10.0.0.1") }
                == .tooManyAttempts(retryAfterSeconds: 4))
        lab.bench.clock.advance(seconds: OperationsLimits.logInMemorySeconds + 5)
        for _ in 0..<OperationsLimits.logInFailuresFree {
            #expect(
                await refusal { () throws(OperationError) in
                    try await logIn(lab, "user7", "wrong", from: "10.0.0.1")
                } == .unauthenticated)
        }
        await lab.end()
    }

    @Test func aSessionEndsWithSilenceWithItsTimeAndWithALogOut() async throws {
        let lab = try await started()
        let idle = try await logIn(lab)
        lab.bench.clock.advance(seconds: OperationsLimits.sessionIdleSeconds)
        #expect(await refusal { () throws(OperationError) in try await caller(lab, idle) } == .unauthenticated)
        let busy = try await logIn(lab)
        let end = lab.bench.clock.wall.now().adding(seconds: OperationsLimits.sessionSeconds)
        while lab.bench.clock.wall.now().adding(seconds: 600) < end {
            lab.bench.clock.advance(seconds: 600)
            _ = try await caller(lab, busy)
        }
        lab.bench.clock.advance(seconds: 600)
        #expect(await refusal { () throws(OperationError) in try await caller(lab, busy) } == .unauthenticated)
        let left = try await logIn(lab)
        let who = try await caller(lab, left)
        try await lab.operations.logOut(caller: who)
        #expect(await refusal { () throws(OperationError) in try await caller(lab, left) } == .unauthenticated)
        #expect(try await lab.audit("session.delete") == ["done "])
        await lab.end()
    }

    @Test func aNewPasswordEndsTheOtherSessions() async throws {
        let lab = try await started()
        let (mine, other) = (try await logIn(lab), try await logIn(lab))
        let who = try await caller(lab, mine)
        let wrong = await refusal { () throws(OperationError) in
            try await lab.operations.changeOwnPassword(
                current: Secret("guess-guess"), new: Secret("second-password"), caller: who)
        }
        #expect(wrong?.field == "/current")
        let short = await refusal { () throws(OperationError) in
            try await lab.operations.changeOwnPassword(current: password, new: Secret("x"), caller: who)
        }
        #expect(short?.field == "/new")
        try await lab.operations.changeOwnPassword(current: password, new: Secret("second-password"), caller: who)
        #expect(try await caller(lab, mine).username == "admin")
        #expect(await refusal { () throws(OperationError) in try await caller(lab, other) } == .unauthenticated)
        #expect(await refusal { () throws(OperationError) in try await logIn(lab) } == .unauthenticated)
        _ = try await logIn(lab, "admin", "second-password")
        #expect(try await lab.audit("user.change-password") == ["done ", "failed "])
        await lab.end()
    }

    @Test func guessingTheCurrentPasswordGetsSlowerToo() async throws {
        let lab = try await started()
        let who = try await caller(lab, try await logIn(lab))
        for _ in 0...OperationsLimits.logInFailuresFree {
            let error = await refusal { () throws(OperationError) in
                try await lab.operations.changeOwnPassword(
                    current: Secret("guess-guess"), new: Secret("second-password"), caller: who)
            }
            #expect(error?.field == "/current")
        }
        let held = await refusal { () throws(OperationError) in
            try await lab.operations.changeOwnPassword(current: password, new: Secret("second-password"), caller: who)
        }
        #expect(held == .tooManyAttempts(retryAfterSeconds: 2))
        await lab.end()
    }

    @Test func theLastAdminStays() async throws {
        let lab = try await started()
        let admin = try #require(try await lab.operations.listUsers(Query(), caller: Lab.admin).items.first)
        func update(role: Role? = nil, isEnabled: Bool? = nil) async -> OperationError? {
            await refusal { () throws(OperationError) in
                try await lab.operations.updateUser(
                    admin.id, description: nil, role: role, isEnabled: isEnabled, password: nil, ifMatch: nil,
                    caller: Lab.admin)
            }
        }
        #expect(await update(role: .operator)?.code == "last-admin")
        #expect(await update(isEnabled: false)?.code == "last-admin")
        let deleting = await refusal { () throws(OperationError) in
            try await lab.operations.deleteUser(admin.id, caller: Lab.admin)
        }
        #expect(deleting?.code == "last-admin")
        #expect(try await lab.operations.user(admin.id, caller: Lab.admin) == admin)
        let second = try await lab.operations.createUser(
            name: "second", description: "", role: .admin, password: password, caller: Lab.admin)
        #expect(await update(role: .operator) == nil)
        let now = await refusal { () throws(OperationError) in
            try await lab.operations.deleteUser(second.id, caller: Lab.admin)
        }
        #expect(now?.code == "last-admin")
        await lab.end()
    }

    @Test func aWeakerRoleADisablingAndADeletionAreInForceAtOnce() async throws {
        let lab = try await started()
        let user = try await lab.operations.createUser(
            name: "worker", description: "", role: .admin, password: password, caller: Lab.admin)
        let session = try await logIn(lab, "worker")
        let (token, _) = try await lab.operations.createAPIToken(
            name: "ci", description: "", role: nil, expiresAt: nil, caller: try await caller(lab, session))
        func roles() async -> [Role?] {
            var roles: [Role?] = []
            for text in [session.token.reveal, token.reveal] {
                do throws(OperationError) {
                    roles.append(try await lab.operations.authenticate(bearerToken: text, address: "-").role)
                } catch { roles.append(nil) }
            }
            return roles
        }
        func update(role: Role? = nil, isEnabled: Bool? = nil) async throws {
            _ = try await lab.operations.updateUser(
                user.id, description: nil, role: role, isEnabled: isEnabled, password: nil, ifMatch: nil,
                caller: Lab.admin)
        }
        #expect(await roles() == [.admin, .admin])
        try await update(role: .viewer)
        #expect(await roles() == [.viewer, .viewer])
        try await update(isEnabled: false)
        #expect(await roles() == [nil, nil])
        // Its sessions ended with it; a token of a program is good again.
        try await update(isEnabled: true)
        #expect(await roles() == [nil, .viewer])
        try await lab.operations.deleteUser(user.id, caller: Lab.admin)
        #expect(await roles() == [nil, nil])
        await lab.end()
    }

    @Test func accountsAreTheAdminsButOnesOwn() async throws {
        let lab = try await started()
        let user = try await lab.operations.createUser(
            name: "worker", description: "", role: .operator, password: password, caller: Lab.admin)
        let own = try await caller(lab, try await logIn(lab, "worker"))
        #expect(try await lab.operations.user(user.id, caller: own) == user)
        let refusals = [
            await refusal { () throws(OperationError) in try await lab.operations.listUsers(Query(), caller: own) },
            await refusal { () throws(OperationError) in
                try await lab.operations.user(InventoryBench.makeID(4), caller: own)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.createUser(
                    name: "x", description: "", role: .admin, password: password, caller: own)
            },
            await refusal { () throws(OperationError) in
                try await lab.operations.updateUser(
                    user.id, description: nil, role: .admin, isEnabled: nil, password: nil, ifMatch: nil, caller: own)
            },
            await refusal { () throws(OperationError) in try await lab.operations.deleteUser(user.id, caller: own) },
        ]
        #expect(refusals == Array(repeating: .forbidden(needed: .admin), count: 5))
        let taken = await refusal { () throws(OperationError) in
            try await lab.operations.createUser(
                name: "worker", description: "", role: .viewer, password: password, caller: Lab.admin)
        }
        #expect(taken?.code == "name-taken")
        await lab.end()
    }
}
