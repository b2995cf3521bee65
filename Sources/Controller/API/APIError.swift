import HTTPTypes
import Operations

/// Why a request was not answered as asked; becomes a problem document (RFC 9457).
struct APIError: Error, Sendable {
    var status: HTTPResponse.Status
    /// Stable, kebab-case.
    var code: String
    /// What was wrong and what to do.
    var detail: String
    /// A JSON pointer into the body, or the name of a query parameter or header field.
    var field: String?
    /// What stands in the way.
    var items: [Obstacle] = []
    /// More fields of the response's head.
    var headers: [HTTPField.Name: String] = [:]

    /// A value of the request is wrong.
    static func invalid(_ field: String, _ detail: String) -> APIError {
        APIError(status: .unprocessableContent, code: "invalid-value", detail: detail, field: field)
    }

    /// The request is no HTTP or JSON that can be read.
    static func malformed(_ detail: String) -> APIError {
        APIError(status: .badRequest, code: "malformed-request", detail: detail)
    }

    static func methodNotAllowed(_ allowed: String) -> APIError {
        APIError(
            status: .methodNotAllowed, code: "method-not-allowed", detail: "this resource answers to \(allowed)",
            headers: [.allow: allowed])
    }

    static let routeNotFound = APIError(
        status: .notFound, code: "route-not-found", detail: "there is nothing here; /openapi.json tells what there is")

    static let unauthenticated = APIError(
        status: .unauthorized, code: "unauthenticated",
        detail: "send a token: POST /v1/sessions gives one, then 'Authorization: Bearer TOKEN'",
        headers: [.wwwAuthenticate: "Bearer realm=\"lamina\""])
}
