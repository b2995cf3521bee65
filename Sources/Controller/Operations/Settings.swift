import Inventory
import Model

extension Operations {
    /// All system parameters, by name.
    package func listSystemParameters(caller: Caller) async throws(OperationError) -> [SystemParameter] {
        try await allow(caller, .viewer, "system-parameter.list")
        return try await rooms.read { transaction throws(OperationError) in try transaction.systemParameters() }
    }

    /// A system parameter.
    package func systemParameter(_ name: String, caller: Caller) async throws(OperationError) -> SystemParameter {
        try await allow(caller, .viewer, "system-parameter.read")
        return try await rooms.read { transaction throws(OperationError) in
            try self.parameter(transaction, name)
        }
    }

    private func parameter(
        _ transaction: Transaction<OperationError>, _ name: String
    ) throws(OperationError) -> SystemParameter {
        guard let parameter = try transaction.systemParameter(name) else {
            throw .notFound(kind: "system-parameter", id: name)
        }
        return parameter
    }

    /// Sets a system parameter; it is in force at once.
    package func setSystemParameter(
        _ name: String, _ value: SystemParameter.Value, ifMatch: Int?, caller: Caller
    ) async throws(OperationError) -> SystemParameter {
        try await allow(caller, .admin, "system-parameter.set")
        let set = try await rooms.change { transaction throws(OperationError) in
            let before = try self.parameter(transaction, name)
            guard ifMatch == nil || ifMatch == before.revision else { throw .preconditionFailed }
            if let objection = SystemParameters.objection(to: value, for: name) {
                throw .invalid(field: "/value", detail: "\(name) is \(objection)")
            }
            try transaction.setSystemParameter(name, value)
            try transaction.audit(
                caller, "system-parameter.set", ResourceReference(type: "system-parameter", id: name), .done,
                "\(before.value.text) -> \(value.text)")
            return try self.parameter(transaction, name)
        }
        if name == "upload.expiry-hours" { allAgentsMustBeTold.withLock { $0 = true } }
        return set
    }

    /// The audit log, newest first, and whether its whole chain of hashes is intact: `brokenAt` is the first line that is
    /// not as it was written.
    package func auditLog(
        limit: Int, cursor: String?, caller: Caller
    ) async throws(OperationError) -> (page: Page<AuditRecord>, brokenAt: Int64?) {
        try await allow(caller, .admin, "audit-log.read")
        do throws(InventoryError) {
            return (try await inventory.auditLog(limit: limit, cursor: cursor), try await inventory.verifyAuditLog())
        } catch { throw OperationError(error) }
    }
}

extension SystemParameter.Value {
    /// For the audit log.
    var text: String {
        switch self {
        case .text(let text): text
        case .count(let count): String(count)
        case .flag(let flag): String(flag)
        case .networks(let networks): networks.map(\.description).joined(separator: ",")
        }
    }
}
