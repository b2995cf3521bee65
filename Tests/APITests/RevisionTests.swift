import AgentLink
import ControllerTestSupport
import Foundation
// Goal: a change that was made in ignorance of another is refused, and a request that is sent twice is done once.
// Method: ETags and If-Match on each resource that can be changed; idempotency keys repeated, reused, and after a refusal.
import HTTPTypes
import HummingbirdTesting
import Inventory
import Model
import NIOCore
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct RevisionTests {
    private static let patches: [(path: @Sendable (APIBench) -> String, body: String)] = [
        ({ "/v1/data-centers/\($0.dataCenter)" }, "{\"description\":\"D\"}"),
        ({ "/v1/image-storages/\($0.storage)" }, "{\"description\":\"D\"}"),
        ({ "/v1/images/\($0.image)" }, "{\"description\":\"D\"}"),
        ({ "/v1/users/\($0.users[.viewer]?.description ?? "")" }, "{\"description\":\"D\"}"),
        ({ _ in "/v1/system-parameters/image.retention-days" }, "{\"value\":9}"),
    ]

    @Test(arguments: patches.indices)
    func staleChangesAreRefused(index: Int) async throws {
        let bench = try await APIBench()
        let (path, body) = (Self.patches[index].path(bench), Self.patches[index].body)
        let tag = try #require(try await bench.send(.get, path).field("ETag"))
        #expect(tag.hasPrefix("\"") && tag.hasSuffix("\""))
        let changed = try await bench.send(.patch, path, json: body, headers: [.ifMatch: tag])
        #expect(changed.code == 200, "\(changed.text)")
        let next = try #require(changed.field("ETag"))
        #expect(next != tag)
        #expect(try await bench.send(.get, path).field("ETag") == next)
        for stale in [tag, "\"999\"", "\"nonsense\"", "W/" + next, "5", "\"\""] {
            try await bench.send(.patch, path, json: body, headers: [.ifMatch: stale])
                .expectProblem(
                    412, "precondition-failed", field: ["5", "\"\"", "W/" + next].contains(stale) ? "If-Match" : nil)
        }
        #expect(try await bench.send(.get, path).field("ETag") == next)
        #expect(try await bench.send(.patch, path, json: body, headers: [.ifMatch: "*"]).code == 200)
        #expect(try await bench.send(.patch, path, json: body).code == 200)
    }

    @Test func mergePatchKeepsWhatItDoesNotName() async throws {
        let bench = try await APIBench()
        let path = "/v1/image-storages/\(bench.storage)"
        let type: HTTPFields = [.contentType: "application/merge-patch+json"]
        let set = try await bench.send(
            .patch, path, json: "{\"dataNetwork\":\"10.2.0.0/24\",\"blobUploadConcurrency\":4}", headers: type)
        #expect(set.tree["dataNetwork"].text == "10.2.0.0/24")
        #expect(set.tree["blobUploadConcurrency"].int == 4)
        #expect(set.tree["name"].text == "alpha")
        let kept = try await bench.send(.patch, path, json: "{\"name\":\"gamma\"}", headers: type)
        #expect(kept.tree["dataNetwork"].text == "10.2.0.0/24")
        let cleared = try await bench.send(.patch, path, json: "{\"dataNetwork\":null}", headers: type)
        #expect(cleared.tree["dataNetwork"] == .null)
        #expect(cleared.tree["name"].text == "gamma")
        try await bench.send(.patch, path, json: "{\"name\":null}", headers: type)
            .expectProblem(422, "invalid-value", field: "/name")
        try await bench.send(.patch, path, json: "{\"blobUploadConcurrency\":17}", headers: type)
            .expectProblem(422, "invalid-value", field: "/blobUploadConcurrency")
    }

    // MARK: Idempotency keys

    private static let key = HTTPField.Name.named("Idempotency-Key")

    @Test func sameKeyAndBodyIsDoneOnce() async throws {
        let bench = try await APIBench()
        let headers: HTTPFields = [Self.key: "k-1"]
        let first = try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: headers)
        let again = try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: headers)
        #expect(first.code == 201 && again.code == 201)
        #expect(first.text == again.text)
        #expect(first.field("Location") == again.field("Location"))
        #expect(first.field("ETag") == again.field("ETag"))
        #expect(first.field("Idempotency-Replayed") == nil)
        #expect(again.field("Idempotency-Replayed") == "true")
        try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"north\"}", headers: headers)
            .expectProblem(409, "idempotency-key-reused")
        try await bench.send(
            .post, "/v1/users", json: "{\"name\":\"e\",\"role\":\"viewer\",\"password\":\"long-enough\"}",
            headers: headers
        )
        .expectProblem(409, "idempotency-key-reused")
        #expect(try await bench.send(.get, "/v1/data-centers").tree["items"].list.count == 2)
    }

    @Test func workIsStartedOnce() async throws {
        let bench = try await APIBench()
        let body =
            "{\"imageStorageId\":\"\(bench.storage)\",\"name\":\"n\",\"type\":\"disk\",\"format\":\"raw\","
            + "\"source\":{\"url\":\"https://example.org/a.raw\"}}"
        let headers: HTTPFields = [Self.key: "k-2"]
        let first = try await bench.send(.post, "/v1/images", json: body, headers: headers)
        let again = try await bench.send(.post, "/v1/images", json: body, headers: headers)
        #expect(first.code == 202)
        let job = try #require(first.tree["job"]["id"].text)
        #expect(first.field("Location") == "/v1/jobs/\(job)")
        #expect(again.tree == first.tree)
        #expect(try await bench.send(.get, "/v1/jobs").tree["items"].list.count == 1)
        // Without a key it is work of its own.
        #expect(try await bench.send(.post, "/v1/images", json: body).tree["job"]["id"].text != job)
    }

    @Test func keysBelongToTheirCaller() async throws {
        let bench = try await APIBench()
        let body = "{\"ids\":[\"\(bench.storage)\"]}"
        let headers: HTTPFields = [Self.key: "shared"]
        #expect(
            try await bench.send(.post, "/v1/images/bulk-delete", as: .admin, json: body, headers: headers).code == 200)
        let other = try await bench.send(.post, "/v1/images/bulk-delete", as: .operator, json: body, headers: headers)
        #expect(other.field("Idempotency-Replayed") == nil)
    }

    @Test func refusalFreesTheKey() async throws {
        let bench = try await APIBench()
        let headers: HTTPFields = [Self.key: "k-3"]
        try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"east\"}", headers: headers)
            .expectProblem(409, "name-taken")
        #expect(
            try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: headers).code == 201)
    }

    @Test func keyIsForgottenAfterADay() async throws {
        let bench = try await APIBench()
        let headers: HTTPFields = [Self.key: "k-4"]
        _ = try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: headers)
        let token = try await bench.send(.post, "/v1/api-tokens", json: "{\"name\":\"long\"}").tree["token"].text
        bench.records.clock.advance(seconds: 24 * 3600 + 1)
        var later = headers
        later[.authorization] = "Bearer \(token ?? "")"
        try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: later)
            .expectProblem(409, "name-taken")
    }

    @Test(arguments: ["", "a b", "é", String(repeating: "x", count: 129)])
    func keysThatAreNone(key: String) async throws {
        let bench = try await APIBench()
        try await bench.send(.post, "/v1/data-centers", json: "{\"name\":\"west\"}", headers: [Self.key: key])
            .expectProblem(422, "invalid-value", field: "Idempotency-Key")
    }

    @Test func tokenIsNotKeptForARepetition() async throws {
        let bench = try await APIBench()
        let headers: HTTPFields = [Self.key: "k-5"]
        let first = try await bench.send(.post, "/v1/api-tokens", json: "{\"name\":\"ci\"}", headers: headers)
        let again = try await bench.send(.post, "/v1/api-tokens", json: "{\"name\":\"ci\"}", headers: headers)
        #expect(first.tree["token"].text?.hasPrefix("lamina_") == true)
        #expect(again.code == 201)
        #expect(again.tree["id"] == first.tree["id"])
        #expect(again.tree["token"] == .null)
    }
}
