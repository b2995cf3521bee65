import Inventory
import Model
import Secrets

extension Operations {
    /// The accounts.
    package func listUsers(_ query: Query, caller: Caller) async throws(OperationError) -> Page<UserRecord> {
        try await allow(caller, .admin, "user.list")
        do throws(InventoryError) { return try await inventory.list(UserRecord.self, query) } catch {
            throw OperationError(error)
        }
    }

    /// An account.
    package func user(_ id: UserID, caller: Caller) async throws(OperationError) -> UserRecord {
        if id != caller.userID { try await allow(caller, .admin, "user.read") }
        return try await rooms.read { transaction throws(OperationError) in try transaction.get(UserRecord.self, id) }
    }

    /// Makes an account.
    package func createUser(
        name: String, description: String, role: Role, password: Secret, caller: Caller
    ) async throws(OperationError) -> UserRecord {
        try await allow(caller, .admin, "user.create")
        let name = try checked("/name") { () throws(InvalidValue) in try UserName(name) }.text
        let description = try Check.description(description)
        let hash = try await hash(password, field: "/password")
        let id: UserID = rooms.randomness.id()
        return try await rooms.change { transaction throws(OperationError) in
            let user = UserRecord(
                id: id, name: name, description: description, role: role, createdAt: transaction.now)
            try transaction.insert(user)
            try transaction.setPasswordHash(hash, of: id)
            try transaction.audit(caller, "user.create", user.reference, .done, "\(name) (\(role.rawValue))")
            return user
        }
    }

    /// Changes an account. A new password or a disabling ends its sessions. The last admin stays one.
    package func updateUser(
        _ id: UserID, description: String?, role: Role?, isEnabled: Bool?, password: Secret?, ifMatch: Int?,
        caller: Caller
    ) async throws(OperationError) -> UserRecord {
        try await allow(caller, .admin, "user.update")
        var description = description
        if let given = description { description = try Check.description(given) }
        var hash: String?
        if let password { hash = try await self.hash(password, field: "/password") }
        return try await rooms.change { [description, hash] transaction throws(OperationError) in
            let user = try transaction.change(UserRecord.self, id, ifMatch: ifMatch) { user in
                user.description = description ?? user.description
                user.role = role ?? user.role
                user.isEnabled = isEnabled ?? user.isEnabled
            }
            try self.keepAnAdmin(transaction)
            if let hash { try transaction.setPasswordHash(hash, of: id) }
            if hash != nil || !user.isEnabled { try transaction.deleteTokens(of: id, type: .session) }
            try transaction.audit(caller, "user.update", user.reference, .done, user.name)
            return user
        }
    }

    /// Deletes an account, its sessions and its tokens.
    package func deleteUser(_ id: UserID, caller: Caller) async throws(OperationError) {
        try await allow(caller, .admin, "user.delete")
        try await rooms.change { transaction throws(OperationError) in
            let user = try transaction.get(UserRecord.self, id)
            try transaction.delete(UserRecord.self, id)
            try self.keepAnAdmin(transaction)
            try transaction.audit(caller, "user.delete", user.reference, .done, user.name)
        }
    }

    private func keepAnAdmin(_ transaction: Transaction<OperationError>) throws(OperationError) {
        let admins = try transaction.all(UserRecord.self, where: "role", is: [Role.admin.rawValue])
        guard admins.contains(where: \.isEnabled) else {
            throw .conflict(code: "last-admin", detail: "there must be an enabled account with the role 'admin'")
        }
    }
}
