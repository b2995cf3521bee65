import Inventory
import Model
import Secrets

extension Operations {
    /// Makes a named token of the caller's account; its secret is shown this once.
    package func createAPIToken(
        name: String, description: String, role: Role?, expiresAt: Timestamp?, caller: Caller
    ) async throws(OperationError) -> (Secret, TokenRecord) {
        try await allow(caller, .viewer, "api-token.create")
        guard let userID = caller.userID else { throw .unauthenticated }
        let name = try Check.name(name)
        let description = try Check.description(description)
        let role = role ?? caller.role
        guard role <= caller.role else {
            throw .invalid(field: "/role", detail: "a token cannot do more than you: at most '\(caller.role.rawValue)'")
        }
        if let expiresAt, expiresAt <= rooms.clock.now() {
            throw .invalid(field: "/expiresAt", detail: "this time has passed")
        }
        let token = BearerToken(randomness: rooms.randomness)
        let id: TokenID = rooms.randomness.id()
        let record = try await rooms.change { transaction throws(OperationError) in
            let own = try transaction.all(TokenRecord.self, where: "userID", is: [userID.description])
            guard own.count(where: { $0.type == .api }) < OperationsLimits.tokensMax else {
                throw .limit(detail: "an account has at most \(OperationsLimits.tokensMax) API tokens; delete one")
            }
            // A token outlives neither its role nor its time by making another.
            if let tokenID = caller.tokenID, let made = try transaction.find(TokenRecord.self, tokenID),
                made.type == .api, let end = made.expiresAt, expiresAt.map({ $0 > end }) ?? true
            {
                throw .invalid(
                    field: "/expiresAt",
                    detail:
                        "the token that you came with ends at \(end), and so must one that it makes; log in to make another"
                )
            }
            let record = TokenRecord(
                id: id, type: .api, userID: userID, name: name, description: description, role: role,
                expiresAt: expiresAt, createdAt: transaction.now)
            try transaction.insert(record, digest: token.digest)
            try transaction.audit(caller, "api-token.create", record.reference, .done, "\(name) (\(role.rawValue))")
            return record
        }
        return (token.secret, record)
    }

    /// The caller's API tokens; an admin sees everyone's.
    package func listAPITokens(_ query: Query, caller: Caller) async throws(OperationError) -> Page<TokenRecord> {
        try await allow(caller, .viewer, "api-token.list")
        var query = query
        query.filters["type"] = [TokenType.api.rawValue]
        if caller.role < .admin { query.filters["userID"] = [caller.userID?.description ?? "-"] }
        do throws(InventoryError) { return try await inventory.list(TokenRecord.self, query) } catch {
            throw OperationError(error)
        }
    }

    /// Deletes one of the caller's API tokens; an admin may delete anyone's.
    package func deleteAPIToken(_ id: TokenID, caller: Caller) async throws(OperationError) {
        try await allow(caller, .viewer, "api-token.delete")
        try await rooms.change { transaction throws(OperationError) in
            let token = try transaction.get(TokenRecord.self, id)
            guard token.type == .api, caller.role == .admin || token.userID == caller.userID else {
                throw .notFound(kind: TokenRecord.shape.kind, id: id.description)
            }
            try transaction.delete(TokenRecord.self, id)
            try transaction.audit(caller, "api-token.delete", token.reference, .done, token.name)
        }
    }
}
