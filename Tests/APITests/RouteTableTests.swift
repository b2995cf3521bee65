import API
import AgentLink
import ControllerTestSupport
import Foundation
import HTTPTypes
import HummingbirdTesting
import Inventory
import Model
// Goal: nobody gets through a route with less than the role that the table names, and no route is without a row.
// Method: the table is walked: each row as nobody, as each role, and as one whose token is no token.
import NIOCore
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct RouteTableTests {
    @Test func everyRouteHasARowAndEveryRowARoute() async throws {
        let bench = try await APIBench()
        let declared = bench.api.routes.map { "\($0.method.rawValue) \($0.path)" }.sorted()
        let expected = RouteRow.all.map { "\($0.method.rawValue) \($0.path)" }.sorted()
        #expect(declared == expected)
        #expect(Set(declared).count == declared.count)
    }

    @Test(arguments: RouteRow.all)
    func answersByRole(row: RouteRow) async throws {
        let bench = try await APIBench()
        for role in [nil] + Role.allCases.sorted().map(Optional.some) {
            let expected = row.codes.status(for: role)
            // What is let through changes things: each sees them as they were.
            let fresh = [401, 403].contains(expected) ? bench : try await APIBench()
            let answer = try await RouteTableTests.ask(fresh, row, as: role)
            #expect(answer.code == expected, "as \(role.map(\.rawValue) ?? "nobody"): \(answer.text.prefix(300))")
            #expect(answer.field("X-Content-Type-Options") == "nosniff")
            #expect(answer.field("Content-Security-Policy") != nil)
            #expect(answer.field("X-Request-ID")?.isEmpty == false)
            if role == nil, expected == 401 {
                #expect(answer.field("WWW-Authenticate") == "Bearer realm=\"lamina\"")
                if row.method != .head { answer.expectProblem(401, "unauthenticated") }
            }
            if expected == 403, row.method != .head { answer.expectProblem(403, "forbidden") }
        }
    }

    @Test(arguments: RouteRow.all.filter { $0.codes.nobody == 401 && $0.method != .head })
    func noTokenIsNoToken(row: RouteRow) async throws {
        let bench = try await APIBench()
        let made = bench.tokens[.admin] ?? ""
        for wrong in ["Bearer nonsense", "Basic YWRtaW46YWRtaW4=", "Bearer " + String(made.dropLast()), "Bearer", made]
        {
            let answer = try await RouteTableTests.ask(bench, row, as: nil, authorization: wrong)
            answer.expectProblem(401, "unauthenticated")
        }
    }

    /// A refusal is written down before it is answered.
    @Test func refusalIsInTheAuditLog() async throws {
        let bench = try await APIBench()
        _ = try await bench.send(.delete, "/v1/images/\(bench.image)", as: .viewer)
        let newest = try await bench.send(.get, "/v1/audit-log?limit=1").tree["items"][0]
        #expect(newest["username"].text == "viewer")
        #expect(newest["outcome"].text == "denied")
        #expect(newest["action"].text == "DELETE /v1/images/{id}")
    }

    /// What is refused for its role is refused before anything of its body is looked at.
    @Test func roleComesBeforeTheBody() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.post, "/v1/users", as: .viewer, json: "not even JSON")
        answer.expectProblem(403, "forbidden")
    }

    @Test func hostPathIsForAdmins() async throws {
        let bench = try await APIBench()
        let body =
            "{\"imageStorageId\":\"\(bench.storage)\",\"name\":\"n\",\"type\":\"disk\",\"format\":\"raw\","
            + "\"source\":{\"hostPath\":\"/srv/import/a.raw\"}}"
        try await bench.send(.post, "/v1/images", as: .operator, json: body).expectProblem(403, "forbidden")
        #expect(try await bench.send(.post, "/v1/images", as: .admin, json: body).code == 202)
    }

    private static func ask(
        _ bench: APIBench, _ row: RouteRow, as role: Role?, authorization: String? = nil
    ) async throws -> TestResponse {
        // A stream of events has no end of its own.
        if row.path == "/v1/events" { bench.ending.raise() }
        var headers: HTTPFields = [:]
        for (name, value) in row.headers { headers[.named(name)] = filled(value, bench) }
        if let authorization { headers[.authorization] = authorization }
        var uri = row.path
        if row.subject != .none {
            let id = try await subject(row.subject, bench)
            uri = uri.replacing("{id}", with: id).replacing("{name}", with: id)
        }
        return try await bench.send(
            row.method, uri, as: role, json: row.json.map { filled($0, bench) }, headers: headers, body: row.body)
    }

    private static func filled(_ text: String, _ bench: APIBench) -> String {
        text.replacing("STORAGE64", with: Data(bench.storage.description.utf8).base64EncodedString())
            .replacing("STORAGE", with: bench.storage.description).replacing("IMAGE", with: bench.image.description)
            .replacing("DC", with: bench.dataCenter.description)
    }

    private static func caller(_ bench: APIBench, _ role: Role) -> Caller {
        Caller(userID: bench.users[role], username: role.rawValue, role: role, address: "-", tokenID: nil)
    }

    private static func subject(_ subject: RouteRow.Subject, _ bench: APIBench) async throws -> String {
        switch subject {
        case .none: return ""
        case .dataCenter: return bench.dataCenter.description
        case .storage: return bench.storage.description
        case .image: return bench.image.description
        case .user: return try #require(bench.users[.viewer]).description
        case .parameter: return "image.retention-days"
        case .upload:
            return try await bench.operations.createUpload(
                imageStorageID: bench.storage, byteCount: 5, fileName: nil, caller: caller(bench, .operator)
            ).id.description
        case .token:
            return try await bench.operations.createAPIToken(
                name: "ci", description: "", role: nil, expiresAt: nil, caller: caller(bench, .admin)
            ).1.id.description
        case .job:
            let spec = ImageSpec(
                imageStorageID: bench.storage, name: "j", description: "", type: .disk, format: .raw,
                source: .url(Secret("https://example.org/j.raw"), hostKey: nil), checksum: nil)
            return try await bench.operations.addImage(spec, caller: caller(bench, .operator)).0.id.description
        }
    }
}
