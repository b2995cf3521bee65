import HTTPTypes
import Hummingbird
import Inventory
import Logging
import Model
import Operations

extension HTTPField.Name {
    static let contentSecurityPolicy = HTTPField.Name("Content-Security-Policy")!
    static let xContentTypeOptions = HTTPField.Name("X-Content-Type-Options")!
    static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
    static let strictTransportSecurity = HTTPField.Name("Strict-Transport-Security")!
    static let crossOriginResourcePolicy = HTTPField.Name("Cross-Origin-Resource-Policy")!
    static let xFrameOptions = HTTPField.Name("X-Frame-Options")!
    static let requestID = HTTPField.Name("X-Request-ID")!
}

/// Around every request: failures become problem documents, every answer gets the security header fields, all is counted.
struct Dispatcher: RouterMiddleware {
    let environment: APIEnvironment
    let metrics: HTTPMetrics

    func handle(
        _ input: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        let requestID = context.id
        var response: Response
        do {
            response = try await next(input, context)
        } catch {
            let problem = apiError(for: error, input, requestID)
            response = Answer.problem(problem).response()
            // A client that sends a large body to a refusal is not read to the end.
            if input.method == .head { response = response.createHeadResponse() }
        }
        Dispatcher.secure(&response)
        response.headers[.requestID] = requestID
        // What fits no route has a word of the router's there instead of a path.
        let route = context.endpointPath.flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "unknown"
        metrics.count(
            method: input.method.rawValue, route: route, status: response.status.code,
            duration: ContinuousClock.now - start)
        return response
    }

    /// The one place where an error of any kind becomes words for outsiders.
    private func apiError(for error: any Error, _ request: Request, _ requestID: String) -> APIError {
        switch error {
        case let error as APIError: return error
        case let error as OperationError:
            if case .internal(let detail) = error { tell(detail, request, requestID) }
            return APIError(error)
        case let error as InventoryError:
            tell(error.description, request, requestID)
            return APIError(error)
        case let error as HTTPError where error.status == .notFound: return .routeNotFound
        case let error as HTTPError:
            return APIError(status: error.status, code: "http-error", detail: error.body ?? error.status.reasonPhrase)
        default:
            tell(String(describing: error), request, requestID)
            return APIError(.internal(detail: ""))
        }
    }

    private func tell(_ detail: String, _ request: Request, _ requestID: String) {
        environment.log.error(
            "a request failed",
            metadata: [
                "request": .string(requestID), "method": .string(request.method.rawValue),
                "path": .string(request.uri.path), "reason": .string(detail),
            ])
    }

    /// Source: docs/security.md, "Browser".
    private static func secure(_ response: inout Response) {
        response.headers[.xContentTypeOptions] = "nosniff"
        response.headers[.referrerPolicy] = "no-referrer"
        response.headers[.crossOriginResourcePolicy] = "same-origin"
        response.headers[.xFrameOptions] = "DENY"
        response.headers[.strictTransportSecurity] = "max-age=31536000"
        if response.headers[.contentSecurityPolicy] == nil {
            response.headers[.contentSecurityPolicy] = "default-src 'none'; frame-ancestors 'none'"
        }
        if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
    }
}
