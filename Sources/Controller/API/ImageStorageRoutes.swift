import HTTPTypes
import Inventory
import Model
import Operations

/// `/v1/image-storages`.
enum ImageStorageRoutes {
    static let list = ListShape(
        filters: [
            .init("name"), .init("type", nil, .values("standalone", "distributed")),
            .init("dataCenterId", "dataCenterID", .uuid), .init("state", nil, .values("enabled", "disabled")),
            .init("status", nil, .values("connecting", "connected", "disconnected")), .init("hostAddress"),
        ], sorts: ["name", "createdAt", "updatedAt"])

    static func all(_ environment: APIEnvironment) -> [Route] {
        reads(environment.operations) + changes(environment.operations) + turns(environment.operations)
    }

    private static func reads(_ operations: Operations) -> [Route] {
        [
            Route(
                .get, "/v1/image-storages", "List image storages.", access: .role(.viewer), parameters: list.parameters,
                answers: [.json(.ok, "A page.", ImageStorageView.schema.page("ImageStoragePage"))]
            ) { request in
                let page = try await operations.list(
                    ImageStorageRecord.self, try list.query(request), caller: request.caller)
                return .json(PageView(page, ImageStorageView.init))
            },
            Route(
                .get, "/v1/image-storages/{id}", "Show an image storage.", access: .role(.viewer),
                answers: [.resource(.ok, ImageStorageView.schema)]
            ) { request in
                let found = try await operations.find(
                    ImageStorageRecord.self, request.id("image-storage"), caller: request.caller)
                return .resource(ImageStorageView(found), revision: found.revision)
            },
            Route(
                .get, "/v1/image-storages/{id}/usage", "Show how full an image storage is now.", access: .role(.viewer),
                answers: [.json(.ok, "How full it is.", UsageView.schema)]
            ) { request in
                .json(try await operations.usage(request.id("image-storage"), caller: request.caller))
            },
            Route(
                .post, "/v1/image-storages/probe", "Look at a host over SSH; nothing on it is changed.",
                access: .role(.admin), body: .json(ProbeBody.schema),
                answers: [.json(.ok, "What the host is and has.", ProbeView.schema)]
            ) { request in
                let body = try request.decode(ProbeBody.self)
                return .json(ProbeView(try await operations.probe(body.host.spec, caller: request.caller)))
            },
        ]
    }

    private static func changes(_ operations: Operations) -> [Route] {
        [
            Route(
                .post, "/v1/image-storages", "Add an image storage.", access: .role(.admin),
                body: .json(NewImageStorage.schema), answers: [.accepted(ImageStorageWork.schema)]
            ) { request in
                let spec = try request.decode(NewImageStorage.self).spec()
                let work = try await operations.addStandalone(spec, caller: request.caller)
                return .accepted(ImageStorageWork(work), job: work.0.id)
            },
            Route(
                .patch, "/v1/image-storages/{id}", "Change an image storage.", access: .role(.admin),
                body: .mergePatch(ImageStoragePatchBody.schema), parameters: [.ifMatch],
                answers: [.resource(.ok, ImageStorageView.schema)]
            ) { request in
                let body = try request.decode(ImageStoragePatchBody.self)
                let changed = try await operations.updateImageStorage(
                    request.id("image-storage"), body.patch, ifMatch: request.ifMatch(), caller: request.caller)
                return .resource(ImageStorageView(changed), revision: changed.revision)
            },
            Route(
                .put, "/v1/image-storages/{id}/password",
                "Store another password or key for the host; it takes effect with a reconnect.", access: .role(.admin),
                body: .json(CredentialBody.schema), answers: [.resource(.ok, ImageStorageView.schema)]
            ) { request in
                let body = try request.decode(CredentialBody.self)
                let changed = try await operations.setCredential(
                    request.id("image-storage"), HostBody.credential(body.password, body.privateKey),
                    caller: request.caller)
                return .resource(ImageStorageView(changed), revision: changed.revision)
            },
            Route(
                .delete, "/v1/image-storages/{id}", "Take an image storage out; the data stays on its disk.",
                access: .role(.admin), parameters: [force], answers: [.accepted(ImageStorageWork.schema)]
            ) { request in
                let work = try await operations.deleteImageStorage(
                    request.id("image-storage"), force: isForced(request), caller: request.caller)
                return .accepted(ImageStorageWork(work), job: work.0.id)
            },
            Route(
                .post, "/v1/image-storages/bulk-delete", "Take several image storages out.", access: .role(.admin),
                body: .json(BulkBodySchema.imageStorages),
                answers: [.json(.ok, "What came of each.", BulkItemView.answer)]
            ) { request in
                let body = try request.decode(BulkBody<ImageStorageKind>.self)
                let results = try await operations.deleteImageStorages(
                    body.ids, force: body.force ?? false, caller: request.caller)
                return .json(BulkAnswer(items: results.map { BulkItemView($0) }))
            },
        ]
    }

    private static func turns(_ operations: Operations) -> [Route] {
        [
            Route(
                .post, "/v1/image-storages/{id}/reconnect", "Run the set-up of the agent again and connect to it.",
                access: .role(.admin), answers: [.accepted(ImageStorageWork.schema)]
            ) { request in
                let work = try await operations.reconnect(request.id("image-storage"), caller: request.caller)
                return .accepted(ImageStorageWork(work), job: work.0.id)
            },
            Route(
                .post, "/v1/image-storages/{id}/enable", "Let an image storage take work.", access: .role(.admin),
                answers: [.resource(.ok, ImageStorageView.schema)]
            ) { request in
                let changed = try await operations.enableImageStorage(
                    request.id("image-storage"), caller: request.caller)
                return .resource(ImageStorageView(changed), revision: changed.revision)
            },
            Route(
                .post, "/v1/image-storages/{id}/disable", "Keep new work away from an image storage.",
                access: .role(.admin), answers: [.resource(.ok, ImageStorageView.schema)]
            ) { request in
                let changed = try await operations.disableImageStorage(
                    request.id("image-storage"), caller: request.caller)
                return .resource(ImageStorageView(changed), revision: changed.revision)
            },
        ]
    }

    private static let force = RouteParameter(
        name: "force", schema: .values("true", "false"), description: "Also with images on it or jobs under way.")

    private static func isForced(_ request: APIRequest) throws(APIError) -> Bool {
        switch request.query["force"] {
        case nil, "false": false
        case "true", "": true
        default: throw .invalid("force", "this must be true or false")
        }
    }
}
