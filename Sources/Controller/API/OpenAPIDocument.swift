import HTTPTypes
import Inventory

/// The OpenAPI 3.1 document, made from the routes that serve the requests.
enum OpenAPIDocument {
    /// The route that serves the description of `routes` and of itself.
    static func route(describing routes: [Route], version: String) -> Route {
        func made(_ handler: @escaping @Sendable (APIRequest) async throws -> Answer) -> Route {
            Route(
                .get, "/openapi.json", "This document.", access: .open,
                answers: [.json(.ok, "OpenAPI 3.1.", .anything)], handler: handler)
        }
        let bytes = JSONText.encode(document(routes + [made { _ in .empty() }], version: version))
        return made { _ in
            Answer(status: .ok, headers: [.contentType: "application/json"], body: .bytes(bytes))
        }
    }

    /// The whole document.
    static func document(_ routes: [Route], version: String) -> JSONNode {
        var components: [String: JSONNode] = [:]
        var paths: [String: [String: JSONNode]] = [:]
        for route in routes {
            paths[route.path, default: [:]][route.method.rawValue.lowercased()] = operation(route, &components)
        }
        _ = ProblemView.schema.document(&components)
        return .object([
            "openapi": .string("3.1.0"),
            "info": .object([
                "title": .string("Lamina"), "version": .string(version),
                "summary": .string("Image storages, images and the jobs that move them."),
            ]),
            "servers": .array([.object(["url": .string("/")])]),
            "paths": .object(paths.mapValues(JSONNode.object)),
            "components": .object([
                "schemas": .object(components),
                "securitySchemes": .object([
                    "bearer": .object(["type": .string("http"), "scheme": .string("bearer")])
                ]),
            ]),
            "security": .array([.object(["bearer": .array([])])]),
        ])
    }

    private static func operation(_ route: Route, _ components: inout [String: JSONNode]) -> JSONNode {
        var out: [String: JSONNode] = [
            "summary": .string(route.summary), "operationId": .string(operationID(route)),
            "tags": .array([.string(tag(route.path))]),
            "responses": responses(route, &components),
        ]
        let parameters = pathParameters(route.path) + declaredParameters(route, &components)
        if !parameters.isEmpty { out["parameters"] = .array(parameters) }
        if let body = requestBody(route.body, &components) { out["requestBody"] = body }
        switch route.access {
        case .open: out["security"] = .array([])
        case .role(let role): out["x-required-role"] = .string(role.rawValue)
        }
        return .object(out)
    }

    private static func tag(_ path: String) -> String {
        let parts = path.split(separator: "/")
        return parts.first == "v1" && parts.count > 1 ? String(parts[1]) : "controller"
    }

    /// `get-v1-images-id-content`: unique, because method and path are.
    private static func operationID(_ route: Route) -> String {
        let path = route.path.split(whereSeparator: { "/{}.".contains($0) }).joined(separator: "-")
        return route.method.rawValue.lowercased() + "-" + (path.isEmpty ? "root" : path)
    }

    private static func pathParameters(_ path: String) -> [JSONNode] {
        path.split(separator: "/").filter { $0.hasPrefix("{") }.map { part in
            let name = String(part.dropFirst().dropLast())
            var schema: [String: JSONNode] = ["type": .string("string")]
            if name == "id" { schema["format"] = .string("uuid") }
            return .object([
                "name": .string(name), "in": .string("path"), "required": .bool(true), "schema": .object(schema),
            ])
        }
    }

    private static func declaredParameters(_ route: Route, _ components: inout [String: JSONNode]) -> [JSONNode] {
        var parameters = route.parameters
        if route.method == .post, route.access != .open {
            parameters.append(
                RouteParameter(
                    name: "Idempotency-Key", place: .header, schema: .text(max: Limits.idempotencyKeyCountMax),
                    description: "The same key and body give the same answer for 24 hours."))
        }
        return parameters.map { parameter in
            .object([
                "name": .string(parameter.name), "in": .string(parameter.place.rawValue),
                "required": .bool(parameter.isRequired), "description": .string(parameter.description),
                "schema": parameter.schema.document(&components),
            ])
        }
    }

    private static func requestBody(_ body: RequestBodyShape, _ components: inout [String: JSONNode]) -> JSONNode? {
        let content: [String: JSONNode]
        switch body {
        case .none: return nil
        case .json(let schema):
            content = ["application/json": .object(["schema": schema.document(&components)])]
        case .mergePatch(let schema):
            let shape = JSONNode.object(["schema": schema.document(&components)])
            content = ["application/merge-patch+json": shape, "application/json": shape]
        case .stream(let type): content = [type: .object([:])]
        }
        return .object(["required": .bool(true), "content": .object(content)])
    }

    private static func responses(_ route: Route, _ components: inout [String: JSONNode]) -> JSONNode {
        var out: [String: JSONNode] = [:]
        for answer in route.answers {
            var response: [String: JSONNode] = ["description": .string(answer.description)]
            if let schema = answer.schema {
                response["content"] = .object([
                    answer.contentType: .object(["schema": schema.document(&components)])
                ])
            } else if !answer.contentType.isEmpty, route.method != .head {
                response["content"] = .object([answer.contentType: .object([:])])
            }
            if !answer.headers.isEmpty {
                response["headers"] = .object(
                    answer.headers.mapValues { description in
                        .object([
                            "description": .string(description), "schema": .object(["type": .string("string")]),
                        ])
                    })
            }
            out[String(answer.status.code)] = .object(response)
        }
        out["default"] = .object([
            "description": .string("Why not."),
            "content": .object([
                "application/problem+json": .object(["schema": ProblemView.schema.document(&components)])
            ]),
        ])
        return .object(out)
    }
}
