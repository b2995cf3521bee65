import Inventory
import Model
import Secrets

extension OperationError {
    init(_ error: SecretsError) {
        self =
            switch error {
            case .busy: .tooManyAttempts(retryAfterSeconds: 1)
            default: .internal(detail: error.description)
            }
    }
}

extension Operations {
    /// Makes the account `admin` when there is no account at all; false: there was one.
    package func firstAdmin(password: Secret) async throws(OperationError) -> Bool {
        let hash = try await hash(password, field: "/password")
        let id: UserID = rooms.randomness.id()
        return try await rooms.change { transaction throws(OperationError) in
            guard try transaction.userCount() == 0 else { return false }
            let user = UserRecord(
                id: id, name: "admin", description: "The first account", role: .admin, createdAt: transaction.now)
            try transaction.insert(user)
            try transaction.setPasswordHash(hash, of: id)
            try transaction.audit(.controller, "user.create", user.reference, .done, user.name)
            return true
        }
    }

    func hash(_ password: Secret, field: String) async throws(OperationError) -> String {
        guard password.reveal.count >= SecretsLimits.passwordCharacterCountMin,
            password.reveal.utf8.count <= SecretsLimits.passwordByteCountMax
        else {
            throw .invalid(
                field: field, detail: "a password has at least \(SecretsLimits.passwordCharacterCountMin) characters")
        }
        do throws(SecretsError) { return try await passwords.hash(password) } catch { throw OperationError(error) }
    }

    /// Begins a session. A wrong name, a wrong password and a disabled account fail alike and take as long.
    /// Source: docs/security.md, "Accounts".
    package func logIn(username: String, password: Secret, address: String) async throws(OperationError) -> LogIn {
        let account = "account " + String(username.prefix(128))
        let keys = [account, "address " + address]
        let now = rooms.clock.now()
        if let pause = logIns.withLock({ $0.begin(keys, at: now) }) {
            throw .tooManyAttempts(retryAfterSeconds: pause)
        }
        defer { logIns.withLock { $0.end(keys) } }
        let known = try await rooms.read { transaction throws(OperationError) in
            let user = try transaction.user(named: username)
            return Account(
                user: user,
                hash: try user.map { user throws(OperationError) in
                    try transaction.passwordHash(of: user.id)
                } ?? nil)
        }
        let isRight: Bool
        do throws(SecretsError) { isRight = try await passwords.verify(password, against: known.hash) } catch {
            throw OperationError(error)
        }
        guard isRight, let user = known.user, user.isEnabled else {
            logIns.withLock { $0.failed(keys, at: now) }
            try await rooms.change { transaction throws(OperationError) in
                let caller = Caller(
                    userID: known.user?.id, username: String(username.prefix(128)), role: .viewer, address: address,
                    tokenID: nil)
                try transaction.audit(caller, "session.create", nil, .failed)
            }
            throw .unauthenticated
        }
        logIns.withLock { $0.succeeded(account: account) }
        return try await makeSession(user, address)
    }

    private struct Account: Sendable {
        var user: UserRecord?
        var hash: String?
    }

    private func makeSession(_ user: UserRecord, _ address: String) async throws(OperationError) -> LogIn {
        let token = BearerToken(randomness: rooms.randomness)
        let id: TokenID = rooms.randomness.id()
        return try await rooms.change { transaction throws(OperationError) in
            let session = TokenRecord(
                id: id, type: .session, userID: user.id, name: "session", description: address, role: user.role,
                expiresAt: transaction.now.adding(seconds: OperationsLimits.sessionSeconds),
                createdAt: transaction.now)
            try transaction.insert(session, digest: token.digest)
            let caller = Caller(
                userID: user.id, username: user.name, role: user.role, address: address, tokenID: session.id)
            try transaction.audit(caller, "session.create", session.reference)
            return LogIn(token: token.secret, session: session, user: user)
        }
    }

    /// Ends the caller's session.
    package func logOut(caller: Caller) async throws(OperationError) {
        guard let id = caller.tokenID else { return }
        try await rooms.change { transaction throws(OperationError) in
            guard let token = try transaction.find(TokenRecord.self, id) else { return }
            // An API token is not ended by a log-out: it is deleted as one.
            guard token.type == .session else {
                throw .conflict(code: "not-a-session", detail: "this token is an API token; delete it instead")
            }
            try transaction.delete(TokenRecord.self, id)
            try transaction.audit(caller, "session.delete", token.reference)
        }
    }

    /// Who a bearer token belongs to. Its role is the lesser of the token's and the account's.
    package func authenticate(bearerToken: String, address: String) async throws(OperationError) -> Caller {
        guard let token = BearerToken(bearerToken) else { throw .unauthenticated }
        let digest = token.digest
        let known = try await rooms.read { transaction throws(OperationError) in
            try transaction.token(digest: digest).map { KnownToken(token: $0.0, user: $0.1) }
        }
        let now = rooms.clock.now()
        guard let known, known.user.isEnabled, known.token.isValid(at: now) else { throw .unauthenticated }
        if now >= known.token.lastUsedAt.adding(seconds: OperationsLimits.lastUsedSeconds) {
            let id = known.token.id
            try await rooms.change { transaction throws(OperationError) in
                guard try transaction.find(TokenRecord.self, id) != nil else { throw .unauthenticated }
                try transaction.change(TokenRecord.self, id, .quiet) { $0.lastUsedAt = now }
            }
        }
        return Caller(
            userID: known.user.id, username: known.user.name, role: min(known.token.role, known.user.role),
            address: address, tokenID: known.token.id)
    }

    private struct KnownToken: Sendable {
        var token: TokenRecord
        var user: UserRecord
    }

    /// Changes the caller's own password and ends their other sessions.
    package func changeOwnPassword(current: Secret, new: Secret, caller: Caller) async throws(OperationError) {
        guard let id = caller.userID else { throw .unauthenticated }
        let keys = ["account " + caller.username, "address " + caller.address]
        let now = rooms.clock.now()
        if let pause = logIns.withLock({ $0.begin(keys, at: now) }) {
            throw .tooManyAttempts(retryAfterSeconds: pause)
        }
        defer { logIns.withLock { $0.end(keys) } }
        let stored = try await rooms.read { transaction throws(OperationError) in
            try transaction.passwordHash(of: id)
        }
        let isRight: Bool
        do throws(SecretsError) { isRight = try await passwords.verify(current, against: stored) } catch {
            throw OperationError(error)
        }
        guard isRight else {
            logIns.withLock { $0.failed(keys, at: now) }
            try await rooms.change { transaction throws(OperationError) in
                try transaction.audit(caller, "user.change-password", nil, .failed)
            }
            throw .invalid(field: "/current", detail: "this is not your current password")
        }
        let hash = try await hash(new, field: "/new")
        try await rooms.change { transaction throws(OperationError) in
            try transaction.setPasswordHash(hash, of: id)
            try transaction.deleteTokens(of: id, type: .session, except: caller.tokenID)
            try transaction.audit(
                caller, "user.change-password", ResourceReference(type: "user", id: id.description))
        }
    }
}

extension TokenRecord {
    /// Whether it still lets in.
    func isValid(at now: Timestamp) -> Bool {
        if let expiresAt, expiresAt <= now { return false }
        return type == .api || lastUsedAt.adding(seconds: OperationsLimits.sessionIdleSeconds) > now
    }
}
