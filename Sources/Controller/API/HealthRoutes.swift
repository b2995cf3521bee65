import Console
import HTTPTypes
import Inventory
import Logging
import Operations

/// What is open to everybody: health, metrics, the certificate authority and the page at `/`.
enum HealthRoutes {
    struct Health: Codable, Sendable {
        var status: String
        var version: String

        static let schema = Schema.object(
            "Health",
            [
                .required("status", .text, "ok, when it can be said at all."),
                .required("version", .text, "The version of the controller."),
            ])
    }

    static func all(_ environment: APIEnvironment, _ metrics: HTTPMetrics) -> [Route] {
        let version = environment.version
        return [
            Route(
                .get, "/healthz", "Whether the process lives.", access: .open,
                answers: [.json(.ok, "It does.", Health.schema)]
            ) { _ in .json(Health(status: "ok", version: version)) },
            Route(
                .get, "/readyz", "Whether requests can be answered.", access: .open,
                answers: [.json(.ok, "They can.", Health.schema)]
            ) { _ in
                do throws(InventoryError) { try await environment.operations.inventory.check() } catch {
                    environment.log.error("not ready", metadata: ["reason": .string(error.description)])
                    throw APIError(
                        status: .serviceUnavailable, code: "not-ready",
                        detail: "the inventory cannot be read and written; the controller's log tells why")
                }
                return .json(Health(status: "ok", version: version))
            },
            Route(
                .get, "/metrics", "Metrics in the Prometheus text format.", access: .open,
                answers: [AnswerShape(status: .ok, description: "The metrics.", contentType: "text/plain")]
            ) { _ in
                let text = try await MetricsPage.render(environment, metrics)
                return Answer(
                    status: .ok, headers: [.contentType: PrometheusText.contentType], body: .bytes(Array(text.utf8)))
            },
            Route(
                .get, "/ca.pem", "The certificate authority of the controller, to pin.", access: .open,
                answers: [
                    AnswerShape(
                        status: .ok, description: "Certificates in PEM.", contentType: "application/x-pem-file")
                ]
            ) { _ in
                Answer(
                    status: .ok, headers: [.contentType: "application/x-pem-file"],
                    body: .bytes(Array(environment.authorityPEM.utf8)))
            },
            Route(
                .get, "/", "What this is.", access: .open,
                answers: [AnswerShape(status: .ok, description: "A page for people.", contentType: "text/html")]
            ) { _ in
                Answer(
                    status: .ok,
                    headers: [
                        .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: ConsolePage.securityPolicy,
                    ], body: .bytes(Array(ConsolePage.html(version: version).utf8)))
            },
        ]
    }
}
