import HTTPTypes
import Inventory
import Model
import Operations

/// A data center as it is sent.
struct DataCenterView: Codable, Sendable {
    var id: DataCenterID
    var name: String
    var description: String
    var createdAt: Timestamp
    var updatedAt: Timestamp

    init(_ record: DataCenterRecord) {
        id = record.id
        name = record.name
        description = record.description
        createdAt = record.createdAt
        updatedAt = record.updatedAt
    }

    static let schema = Schema.object(
        "DataCenter",
        [
            .required("id", .uuid, "Its id."), .required("name", .name, "Its name."),
            .required("description", .description, "Its description."),
            .required("createdAt", .dateTime, "When it was made."),
            .required("updatedAt", .dateTime, "When it last changed."),
        ])
}

/// A data center to make.
struct NewDataCenter: Codable, Sendable {
    var name: String
    var description: String?

    static let schema = Schema.object(
        "NewDataCenter",
        [
            .required("name", .name, "Its name."), .optional("description", .description, "Its description."),
        ])
}

/// Changes of what has only a name and a description.
struct NamePatchBody: Codable, Sendable {
    var name: String?
    var description: String?

    /// What Operations takes.
    var patch: NamePatch { NamePatch(name: name, description: description) }

    static let schema = Schema.object(
        "NamePatch",
        [
            .optional("name", .name, "The new name."), .optional("description", .description, "The new description."),
        ])
}

/// `/v1/data-centers`.
enum DataCenterRoutes {
    static let list = ListShape(filters: [.init("name")], sorts: ["name", "createdAt", "updatedAt"])

    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .get, "/v1/data-centers", "List data centers.", access: .role(.viewer), parameters: list.parameters,
                answers: [.json(.ok, "A page.", DataCenterView.schema.page("DataCenterPage"))]
            ) { request in
                let page = try await operations.list(
                    DataCenterRecord.self, try list.query(request), caller: request.caller)
                return .json(PageView(page, DataCenterView.init))
            },
            Route(
                .post, "/v1/data-centers", "Add a data center.", access: .role(.admin),
                body: .json(NewDataCenter.schema),
                answers: [.resource(.created, DataCenterView.schema)]
            ) { request in
                let body = try request.decode(NewDataCenter.self)
                let made = try await operations.createDataCenter(
                    name: body.name, description: body.description ?? "", caller: request.caller)
                return .resource(
                    DataCenterView(made), revision: made.revision, status: .created,
                    location: "/v1/data-centers/\(made.id)")
            },
            Route(
                .get, "/v1/data-centers/{id}", "Show a data center.", access: .role(.viewer),
                answers: [.resource(.ok, DataCenterView.schema)]
            ) { request in
                let found = try await operations.find(
                    DataCenterRecord.self, request.id("data-center"), caller: request.caller)
                return .resource(DataCenterView(found), revision: found.revision)
            },
            Route(
                .patch, "/v1/data-centers/{id}", "Change a data center.", access: .role(.admin),
                body: .mergePatch(NamePatchBody.schema), parameters: [.ifMatch],
                answers: [.resource(.ok, DataCenterView.schema)]
            ) { request in
                let body = try request.decode(NamePatchBody.self)
                let changed = try await operations.updateDataCenter(
                    request.id("data-center"), body.patch, ifMatch: request.ifMatch(), caller: request.caller)
                return .resource(DataCenterView(changed), revision: changed.revision)
            },
            Route(
                .delete, "/v1/data-centers/{id}", "Delete a data center that has no storages.", access: .role(.admin),
                answers: [.empty(.noContent, "It is gone.")]
            ) { request in
                try await operations.deleteDataCenter(request.id("data-center"), caller: request.caller)
                return .empty()
            },
        ]
    }
}
