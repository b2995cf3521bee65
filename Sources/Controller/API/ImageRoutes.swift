import HTTPTypes
import Inventory
import Model
import Operations

/// `/v1/images`, but for their content.
enum ImageRoutes {
    static let list = ListShape(
        filters: [
            .init("name"), .init("imageStorageId", "imageStorageID", .uuid), .init("type", nil, .oneOf(ImageType.self)),
            .init("format", nil, .oneOf(ImageFormat.self)),
            .init("status", nil, .values("creating", "ready", "failed", "recycled", "expunged")),
            .init("contentDigest", nil, .digest), .init("exported", nil, .values("true", "false")),
        ], sorts: ["name", "createdAt", "updatedAt"])

    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .get, "/v1/images", "List images.", access: .role(.viewer), parameters: list.parameters,
                answers: [.json(.ok, "A page.", ImageView.schema.page("ImagePage"))]
            ) { request in
                let page = try await operations.list(ImageRecord.self, try list.query(request), caller: request.caller)
                return .json(PageView(page, ImageView.init))
            },
            Route(
                .post, "/v1/images", "Add an image from a URL, a path on the storage's host or an upload.",
                access: .role(.operator), body: .json(NewImage.schema), answers: [.accepted(ImageWork.schema)]
            ) { request in
                let spec = try request.decode(NewImage.self).spec()
                let work = try await operations.addImage(spec, caller: request.caller)
                return .accepted(ImageWork(work), job: work.0.id)
            },
            Route(
                .get, "/v1/images/{id}", "Show an image.", access: .role(.viewer),
                answers: [.resource(.ok, ImageView.schema)]
            ) { request in
                let found = try await operations.find(ImageRecord.self, request.id("image"), caller: request.caller)
                return .resource(ImageView(found), revision: found.revision)
            },
            Route(
                .patch, "/v1/images/{id}", "Change an image's name or description.", access: .role(.operator),
                body: .mergePatch(NamePatchBody.schema), parameters: [.ifMatch],
                answers: [.resource(.ok, ImageView.schema)]
            ) { request in
                let body = try request.decode(NamePatchBody.self)
                let changed = try await operations.updateImage(
                    request.id("image"), body.patch, ifMatch: request.ifMatch(), caller: request.caller)
                return .resource(ImageView(changed), revision: changed.revision)
            },
            Route(
                .delete, "/v1/images/{id}", "Delete an image.", access: .role(.operator),
                answers: [.accepted(ImageWork.schema)]
            ) { request in
                let work = try await operations.deleteImage(request.id("image"), caller: request.caller)
                return .accepted(ImageWork(work), job: work.0.id)
            },
            Route(
                .post, "/v1/images/bulk-delete", "Delete several images.", access: .role(.operator),
                body: .json(BulkBodySchema.images), answers: [.json(.ok, "What came of each.", BulkItemView.answer)]
            ) { request in
                let body = try request.decode(BulkBody<ImageKind>.self)
                let results = try await operations.deleteImages(body.ids, caller: request.caller)
                return .json(BulkAnswer(items: results.map { BulkItemView($0) }))
            },
        ]
    }
}
