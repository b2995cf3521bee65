// API: HTTP in, HTTP out.
//
// Hides: Hummingbird, JSON, tus, ranges, server-sent events, OpenAPI, problem documents, the Prometheus text.
// Invariants: every route is one declaration, from which the router and the OpenAPI document are both made; every request
// but those of open routes has an authenticated caller whose role was compared before the body was read; a request's JSON
// has no field that its schema does not name; no body of an upload or a download is ever held whole.
// Is not: a judge of what may be done (Operations), nor the owner of sockets and TLS (ControllerMain).
import HTTPTypes
import Hummingbird
import Logging
import Model
import Operations

/// What the API needs from the ones who made it.
package struct APIEnvironment: Sendable {
    /// Where every question and change goes.
    package var operations: Operations
    /// The controller's version.
    package var version: String
    /// The certificate authority in PEM, for `/ca.pem`.
    package var authorityPEM: String
    /// The time.
    package var clock: WallClock
    /// Raised when the controller ends.
    package var ending: EndSignal
    /// Where faults are told.
    package var log: Logger

    /// Gathers what the API needs.
    package init(
        operations: Operations, version: String, authorityPEM: String, clock: WallClock, ending: EndSignal, log: Logger
    ) {
        self.operations = operations
        self.version = version
        self.authorityPEM = authorityPEM
        self.clock = clock
        self.ending = ending
        self.log = log
    }
}

/// The HTTP API: its routes and the router made of them.
package struct LaminaAPI: Sendable {
    /// Every route, in the order of the documentation.
    package let routes: [Route]
    let environment: APIEnvironment
    let metrics: HTTPMetrics

    /// Declares the routes.
    package init(_ environment: APIEnvironment) {
        let metrics = HTTPMetrics()
        self.environment = environment
        self.metrics = metrics
        let declared =
            HealthRoutes.all(environment, metrics) + SessionRoutes.all(environment)
            + DataCenterRoutes.all(environment) + ImageStorageRoutes.all(environment) + ImageRoutes.all(environment)
            + ContentRoutes.all(environment) + UploadRoutes.all(environment) + JobRoutes.all(environment)
            + EventRoutes.all(environment) + SystemParameterRoutes.all(environment) + AccountRoutes.all(environment)
            + AuditRoutes.all(environment)
        routes = declared + [OpenAPIDocument.route(describing: declared, version: environment.version)]
    }

    /// The router that answers them.
    package func router() -> Router<APIContext> {
        let router = Router(context: APIContext.self)
        router.add(middleware: Dispatcher(environment: environment, metrics: metrics))
        let paths = Dictionary(grouping: routes, by: \.path)
        for (path, routes) in paths {
            let routePath = RouterPath(path)
            for route in routes {
                let runner = RouteRunner(route: route, environment: environment)
                router.on(routePath, method: route.method) { try await runner.run($0, $1) }
            }
            let allowed = routes.map(\.method)
            let others = [.get, .head, .post, .put, .patch, .delete, .options].filter { !allowed.contains($0) }
            for method in others {
                router.on(routePath, method: method) { _, _ -> Response in
                    throw APIError.methodNotAllowed(allowed.map(\.rawValue).sorted().joined(separator: ", "))
                }
            }
        }
        return router
    }
}
