import API
import AgentLink
import ControllerTestSupport
import Foundation
import HTTPTypes
import HummingbirdTesting
import Inventory
import Model
import NIOCore
// Goal: the OpenAPI document tells all routes and only what is so; the metrics can be scraped. Method: the document is
// compared with the routes and resolved reference by reference; the metrics are parsed by the format's own rules.
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(1)))
struct DocumentTests {
    private func references(_ node: Tree) -> [String] {
        switch node {
        case .object(let members):
            (members["$ref"]?.text.map { [$0] } ?? []) + members.values.flatMap(references)
        case .list(let values): values.flatMap(references)
        default: []
        }
    }

    @Test func everyRouteIsInTheDocument() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.get, "/openapi.json", as: nil)
        #expect(answer.headers[.contentType] == "application/json")
        let document = answer.tree
        #expect(document["openapi"].text == "3.1.0")
        #expect(document["info"]["version"].text == "9.9.9")
        var described: [String] = []
        for (path, operations) in document["paths"].members {
            for method in operations.members.keys { described.append("\(method.uppercased()) \(path)") }
        }
        #expect(described.sorted() == bench.api.routes.map { "\($0.method.rawValue) \($0.path)" }.sorted())
    }

    @Test func operationsAreWhole() async throws {
        let bench = try await APIBench()
        let document = try await bench.send(.get, "/openapi.json", as: nil).tree
        var ids: [String] = []
        for route in bench.api.routes {
            let operation = document["paths"][route.path][route.method.rawValue.lowercased()]
            let name = "\(route.method.rawValue) \(route.path)"
            ids.append(operation["operationId"].text ?? name)
            #expect(operation["summary"].text?.isEmpty == false, "\(name)")
            #expect(operation["responses"]["default"] != .null, "\(name)")
            #expect(operation["responses"].members.count > 1, "\(name)")
            let parameters = operation["parameters"].list
            let inPath = parameters.filter { $0["in"].text == "path" }.compactMap { $0["name"].text }
            let expected = route.path.split(separator: "/").filter { $0.hasPrefix("{") }
                .map { String($0.dropFirst().dropLast()) }
            #expect(inPath == expected, "\(name)")
            switch route.access {
            case .open: #expect(operation["security"] == .list([]), "\(name)")
            case .role(let role):
                #expect(operation["security"] == .null, "\(name)")
                #expect(operation["x-required-role"].text == role.rawValue, "\(name)")
            }
            let hasKey = parameters.contains { $0["name"].text == "Idempotency-Key" }
            #expect(hasKey == (route.method == .post && route.access != .open), "\(name)")
        }
        #expect(Set(ids).count == ids.count)
    }

    @Test func everyReferenceLeadsSomewhere() async throws {
        let bench = try await APIBench()
        let document = try await bench.send(.get, "/openapi.json", as: nil).tree
        let schemas = document["components"]["schemas"].members
        let found = references(document)
        #expect(!found.isEmpty)
        for reference in Set(found) {
            #expect(reference.hasPrefix("#/components/schemas/"))
            #expect(schemas[String(reference.dropFirst("#/components/schemas/".count))] != nil, "\(reference)")
        }
        // No shape is left over, and a secret is only ever written.
        #expect(Set(schemas.keys) == Set(found.map { String($0.split(separator: "/").last ?? "") }))
        #expect(schemas["Host"]?["properties"]["password"]["writeOnly"].bool == true)
        #expect(schemas["Host"]?["additionalProperties"].bool == false)
    }

    @Test func answersFitTheDocument() async throws {
        let bench = try await APIBench()
        let document = try await bench.send(.get, "/openapi.json", as: nil).tree
        for (uri, schema) in [
            ("/v1/data-centers/\(bench.dataCenter)", "DataCenter"),
            ("/v1/image-storages/\(bench.storage)", "ImageStorage"), ("/v1/images/\(bench.image)", "Image"),
            ("/v1/image-storages/\(bench.storage)/usage", "Usage"), ("/v1/data-centers", "DataCenterPage"),
            ("/v1/audit-log", "AuditPage"), ("/v1/users", "UserPage"), ("/v1/system-parameters", "SystemParameterPage"),
            ("/v1/sessions/current", "Session"), ("/healthz", "Health"),
        ] {
            let answer = try await bench.send(.get, uri)
            let shape = document["components"]["schemas"][schema]
            #expect(shape != .null, "\(schema)")
            let extra = Set(answer.tree.members.keys).subtracting(shape["properties"].members.keys)
            #expect(extra.isEmpty, "\(uri): \(extra)")
            let missing = Set(shape["required"].list.compactMap(\.text)).subtracting(answer.tree.members.keys)
            #expect(missing.isEmpty, "\(uri): \(missing)")
        }
    }

    @Test func metricsCanBeScraped() async throws {
        let bench = try await APIBench()
        _ = try await bench.send(.get, "/v1/images/\(bench.image)")
        _ = try await bench.send(.get, "/v1/images/nonsense")
        for path in ["/x", "/y", "/v1/\(bench.image)"] { _ = try await bench.send(.get, path) }
        let answer = try await bench.send(.get, "/metrics", as: nil)
        #expect(answer.headers[.contentType] == "text/plain; version=0.0.4; charset=utf-8")
        let text = answer.text
        #expect(text.hasSuffix("\n") && !text.contains("\n\n"))
        var types: [String: String] = [:]
        var samples: [String: Double] = [:]
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# TYPE ") {
                let words = line.split(separator: " ")
                #expect(types.updateValue(String(words[3]), forKey: String(words[2])) == nil, "twice: \(line)")
                continue
            }
            if line.hasPrefix("# HELP ") { continue }
            let space = try #require(line.lastIndex(of: " "))
            let (name, value) = (String(line[..<space]), Double(line[line.index(after: space)...]))
            #expect(samples.updateValue(try #require(value, "\(line)"), forKey: name) == nil, "twice: \(line)")
            let family = name.prefix { $0 != "{" }
            #expect(
                types.keys.contains {
                    family == $0 || ["_bucket", "_sum", "_count"].map($0.appending).contains(String(family))
                }, "\(line)")
        }
        let shown = "lamina_http_requests_total{method=\"GET\",route=\"/v1/images/{id}\",code=\""
        #expect(samples[shown + "200\"}"] == 1)
        #expect(samples[shown + "404\"}"] == 1)
        // What no route has is counted under one name: an outsider makes no series.
        #expect(samples["lamina_http_requests_total{method=\"GET\",route=\"unknown\",code=\"404\"}"] == 3)
        let durations = "lamina_http_request_duration_seconds"
        #expect(
            samples["\(durations)_bucket{route=\"/v1/images/{id}\",le=\"+Inf\"}"]
                == samples["\(durations)_count{route=\"/v1/images/{id}\"}"])
        #expect(samples["lamina_images{status=\"ready\"}"] == 1)
        #expect(samples["lamina_image_storages{status=\"connected\"}"] == 1)
        #expect(samples["lamina_build_info{version=\"9.9.9\"}"] == 1)
        #expect(try #require(samples["process_resident_memory_bytes"]) > 1_000_000)
    }

    @Test func inventoryThatIsGoneIsToldToProbes() async throws {
        let bench = try await APIBench()
        #expect(try await bench.send(.get, "/readyz", as: nil).code == 200)
        try bench.records.inventory.close()
        try await bench.send(.get, "/readyz", as: nil).expectProblem(503, "not-ready")
        #expect(try await bench.send(.get, "/healthz", as: nil).code == 200)
        // What went wrong inside is for the log.
        let answer = try await bench.send(.get, "/v1/images")
        answer.expectProblem(500, "internal")
        #expect(!answer.text.lowercased().contains("sql") && !answer.text.contains(bench.records.path))
    }
}
