import Inventory
import Model
import Secrets

extension Operations {
    /// Makes a data center. Its name is unique.
    package func createDataCenter(
        name: String, description: String, caller: Caller
    ) async throws(OperationError) -> DataCenterRecord {
        try await allow(caller, .admin, "data-center.create")
        let record = DataCenterRecord(
            id: rooms.randomness.id(), name: try Check.name(name), description: try Check.description(description),
            createdAt: rooms.clock.now())
        try await rooms.change { transaction throws(OperationError) in
            try transaction.insert(record)
            try transaction.audit(caller, "data-center.create", record.reference, .done, record.name)
        }
        return record
    }

    /// Changes its name or description.
    package func updateDataCenter(
        _ id: DataCenterID, _ patch: NamePatch, ifMatch: Int?, caller: Caller
    ) async throws(OperationError) -> DataCenterRecord {
        try await allow(caller, .admin, "data-center.update")
        let patch = try patch.checked()
        return try await rooms.change { transaction throws(OperationError) in
            let record = try transaction.change(DataCenterRecord.self, id, ifMatch: ifMatch) { record in
                record.name = patch.name ?? record.name
                record.description = patch.description ?? record.description
            }
            try transaction.audit(caller, "data-center.update", record.reference, .done, record.name)
            return record
        }
    }

    /// Deletes an empty data center; one with image storages is refused with their list.
    package func deleteDataCenter(_ id: DataCenterID, caller: Caller) async throws(OperationError) {
        try await allow(caller, .admin, "data-center.delete")
        try await rooms.change { transaction throws(OperationError) in
            let record = try transaction.get(DataCenterRecord.self, id)
            let storages = try transaction.all(ImageStorageRecord.self, where: "dataCenterID", is: [id.description])
            guard storages.isEmpty else {
                throw .conflict(
                    code: "data-center-not-empty",
                    detail: "'\(record.name)' has \(storages.count) image storages; delete or move them first",
                    items: storages.prefix(OperationsLimits.obstaclesMax).map {
                        Obstacle(id: $0.id.description, name: $0.name, reason: "is in the data center")
                    })
            }
            try transaction.delete(DataCenterRecord.self, id)
            try transaction.audit(caller, "data-center.delete", record.reference, .done, record.name)
        }
    }
}

extension NamePatch {
    /// The patch with checked and normalised values.
    func checked() throws(OperationError) -> NamePatch {
        var patch = self
        if let name { patch.name = try Check.name(name) }
        if let description { patch.description = try Check.description(description) }
        return patch
    }
}
