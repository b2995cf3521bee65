import HTTPTypes
import Inventory
import Model
import Operations

/// `/v1/users` and `/v1/api-tokens`.
enum AccountRoutes {
    static let users = ListShape(
        filters: [.init("name"), .init("role", nil, .oneOf(Role.self))], sorts: ["name", "createdAt", "updatedAt"])
    static let tokens = ListShape(
        filters: [.init("name"), .init("userId", "userID", .uuid)], sorts: ["name", "createdAt", "updatedAt"])

    static func all(_ environment: APIEnvironment) -> [Route] {
        userRoutes(environment.operations) + tokenRoutes(environment.operations)
    }

    private static func userRoutes(_ operations: Operations) -> [Route] {
        [
            Route(
                .get, "/v1/users", "List accounts.", access: .role(.admin), parameters: users.parameters,
                answers: [.json(.ok, "A page.", UserView.schema.page("UserPage"))]
            ) { request in
                let page = try await operations.listUsers(try users.query(request), caller: request.caller)
                return .json(PageView(page, UserView.init))
            },
            Route(
                .post, "/v1/users", "Add an account.", access: .role(.admin), body: .json(NewUser.schema),
                answers: [.resource(.created, UserView.schema)]
            ) { request in
                let body = try request.decode(NewUser.self)
                let made = try await operations.createUser(
                    name: body.name, description: body.description ?? "", role: body.role,
                    password: Secret(body.password), caller: request.caller)
                return .resource(
                    UserView(made), revision: made.revision, status: .created, location: "/v1/users/\(made.id)")
            },
            Route(
                .get, "/v1/users/{id}", "Show an account.", access: .role(.admin),
                answers: [.resource(.ok, UserView.schema)]
            ) { request in
                let found = try await operations.find(UserRecord.self, request.id("user"), caller: request.caller)
                return .resource(UserView(found), revision: found.revision)
            },
            Route(
                .patch, "/v1/users/{id}", "Change an account.", access: .role(.admin),
                body: .mergePatch(UserPatchBody.schema), parameters: [.ifMatch],
                answers: [.resource(.ok, UserView.schema)]
            ) { request in
                let body = try request.decode(UserPatchBody.self)
                let changed = try await operations.updateUser(
                    request.id("user"), description: body.description, role: body.role, isEnabled: body.enabled,
                    password: body.password.map { Secret($0) }, ifMatch: request.ifMatch(), caller: request.caller)
                return .resource(UserView(changed), revision: changed.revision)
            },
            Route(
                .delete, "/v1/users/{id}", "Delete an account; its tokens end.", access: .role(.admin),
                answers: [.empty(.noContent, "It is gone.")]
            ) { request in
                try await operations.deleteUser(request.id("user"), caller: request.caller)
                return .empty()
            },
        ]
    }

    private static func tokenRoutes(_ operations: Operations) -> [Route] {
        [
            Route(
                .get, "/v1/api-tokens", "List API tokens; the tokens themselves are not kept.", access: .role(.admin),
                parameters: tokens.parameters,
                answers: [.json(.ok, "A page.", APITokenView.schema.page("APITokenPage"))]
            ) { request in
                let page = try await operations.listAPITokens(try tokens.query(request), caller: request.caller)
                return .json(PageView(page, { APITokenView($0) }))
            },
            Route(
                .post, "/v1/api-tokens", "Make an API token; it is shown once.", access: .role(.admin),
                body: .json(NewAPIToken.schema), answers: [.resource(.created, APITokenView.schema)],
                secretMember: "token"
            ) { request in
                let body = try request.decode(NewAPIToken.self)
                let (secret, made) = try await operations.createAPIToken(
                    name: body.name, description: body.description ?? "", role: body.role, expiresAt: body.expiresAt,
                    caller: request.caller)
                return .resource(APITokenView(made, token: secret), revision: made.revision, status: .created)
            },
            Route(
                .get, "/v1/api-tokens/{id}", "Show an API token; the token itself is not kept.", access: .role(.admin),
                answers: [.resource(.ok, APITokenView.schema)]
            ) { request in
                let id = try request.id("api-token", TokenID.self)
                let found = try await operations.find(TokenRecord.self, id, caller: request.caller)
                // A session is no API token.
                guard found.type == .api else {
                    throw OperationError.notFound(kind: "api-token", id: id.description)
                }
                return .resource(APITokenView(found), revision: found.revision)
            },
            Route(
                .delete, "/v1/api-tokens/{id}", "Delete an API token; it ends at once.", access: .role(.admin),
                answers: [.empty(.noContent, "It is gone.")]
            ) { request in
                try await operations.deleteAPIToken(request.id("api-token"), caller: request.caller)
                return .empty()
            },
        ]
    }
}

/// `/v1/audit-log`.
enum AuditRoutes {
    private static let list = ListShape(filters: [], sorts: [], isSearchable: false)

    /// A page of the log, and whether its chain of hashes is whole.
    struct AuditPage: Encodable, Sendable {
        struct Chain: Codable, Sendable {
            var isIntact: Bool
            var brokenAt: Int64?
        }
        var items: [AuditView]
        var nextCursor: String?
        var chain: Chain

        static let schema = Schema.object(
            "AuditPage",
            AuditView.schema.page("").fields + [
                .required(
                    "chain",
                    .object(
                        "AuditChain",
                        [
                            .required("isIntact", .boolean, "Whether no line was changed or taken out."),
                            .optional("brokenAt", .count, "The first line that does not fit."),
                        ]), "The chain of hashes over the whole log.")
            ])
    }

    static func all(_ environment: APIEnvironment) -> [Route] {
        [
            Route(
                .get, "/v1/audit-log", "Read the audit log, the newest first, and check its chain.",
                access: .role(.admin), parameters: list.parameters,
                answers: [.json(.ok, "A page.", AuditPage.schema)]
            ) { request in
                let limit = try ListShape.limit(request.query["limit"])
                let found = try await environment.operations.auditLog(
                    limit: limit, cursor: request.query["cursor"], caller: request.caller)
                return .json(
                    AuditPage(
                        items: found.page.items.map(AuditView.init), nextCursor: found.page.nextCursor,
                        chain: .init(isIntact: found.brokenAt == nil, brokenAt: found.brokenAt)))
            }
        ]
    }
}
