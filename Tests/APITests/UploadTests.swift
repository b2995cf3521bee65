import AgentLink
import ControllerTestSupport
// Goal: tus 1.0.0 with creation, expiration, checksum and termination, as clients know it. Method: each header of the
// protocol, right and wrong; what arrived is compared with what the agent has. Source: https://tus.io/protocols/resumable-upload
import Foundation
import HTTPTypes
import HummingbirdTesting
import Inventory
import Model
import NIOCore
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct UploadTests {
    private static func metadata(_ bench: APIBench, _ more: String = "") -> String {
        "imageStorageId " + Data(bench.storage.description.utf8).base64EncodedString() + more
    }

    private static func create(
        _ bench: APIBench, length: String? = "10", metadata: String? = nil, version: String? = "1.0.0",
        _ more: [String: String] = [:]
    ) async throws -> TestResponse {
        var headers: HTTPFields = [:]
        headers[.named("Tus-Resumable")] = version
        headers[.named("Upload-Length")] = length
        headers[.named("Upload-Metadata")] = metadata ?? Self.metadata(bench)
        for (name, value) in more { headers[.named(name)] = value }
        return try await bench.send(.post, "/v1/uploads", as: .operator, headers: headers)
    }

    private static func patch(
        _ bench: APIBench, _ uri: String, _ bytes: [UInt8], offset: String?, checksum: String? = nil,
        type: String = "application/offset+octet-stream", version: String? = "1.0.0", as role: Role = .operator,
        method: HTTPRequest.Method = .patch, override: String? = nil
    ) async throws -> TestResponse {
        var headers: HTTPFields = [.contentType: type]
        headers[.named("Tus-Resumable")] = version
        headers[.named("Upload-Offset")] = offset
        headers[.named("Upload-Checksum")] = checksum
        headers[.named("X-HTTP-Method-Override")] = override
        return try await bench.send(method, uri, as: role, headers: headers, body: bytes)
    }

    private static let tus: HTTPFields = [.named("Tus-Resumable"): "1.0.0"]

    @Test func optionsTellWhatIsOffered() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.options, "/v1/uploads", as: nil)
        #expect(answer.code == 204)
        #expect(answer.field("Tus-Version") == "1.0.0")
        #expect(answer.field("Tus-Extension") == "creation,expiration,checksum,termination")
        #expect(answer.field("Tus-Checksum-Algorithm") == "sha256")
        #expect(try #require(answer.field("Tus-Max-Size").flatMap(UInt64.init)) > 8 << 40)
    }

    @Test func uploadFromFirstToLast() async throws {
        let bench = try await APIBench()
        let made = try await Self.create(bench, metadata: Self.metadata(bench, ",filename " + "ZGViaWFuLnJhdw=="))
        #expect(made.code == 201, "\(made.text)")
        #expect(made.field("Tus-Resumable") == "1.0.0")
        #expect(made.field("Upload-Offset") == "0")
        // 1 790 000 000 is Mon, 21 Sep 2026 14:13:20 GMT; an upload lives for a day.
        #expect(made.field("Upload-Expires") == "Tue, 22 Sep 2026 14:13:20 GMT")
        let uri = try #require(made.field("Location"))
        let id = try UploadID(parsing: String(uri.split(separator: "/").last ?? ""))
        #expect(uri == "/v1/uploads/\(id)")

        let first = try await Self.patch(bench, uri, [0, 1, 2, 3], offset: "0")
        #expect(first.code == 204)
        #expect(first.field("Upload-Offset") == "4")
        bench.records.clock.advance(seconds: 60)
        let head = try await bench.send(.head, uri, as: .operator, headers: Self.tus)
        #expect(head.code == 200)
        #expect(head.field("Upload-Offset") == "4")
        #expect(head.field("Upload-Length") == "10")
        #expect(head.field("Cache-Control") == "no-store")
        #expect(head.field("Upload-Expires") == "Tue, 22 Sep 2026 14:14:20 GMT")

        let last = try await Self.patch(bench, uri, [4, 5, 6, 7, 8, 9], offset: "4")
        #expect(last.field("Upload-Offset") == "10")
        #expect(bench.agents.bytes(of: id) == Array(0..<10))
        let body =
            "{\"imageStorageId\":\"\(bench.storage)\",\"name\":\"n\",\"type\":\"disk\",\"format\":\"raw\","
            + "\"source\":{\"uploadId\":\"\(id)\"}}"
        #expect(try await bench.send(.post, "/v1/images", as: .operator, json: body).code == 202)
        // It is the job's now.
        try await Self.patch(bench, uri, [], offset: "10").expectProblem(409, "upload-in-use")
        try await bench.send(.delete, uri, as: .operator, headers: Self.tus).expectProblem(409, "upload-in-use")
    }

    @Test func wrongOffsetIsAConflict() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        _ = try await Self.patch(bench, uri, [1, 2], offset: "0")
        for offset in ["0", "1", "3", "18446744073709551615"] {
            try await Self.patch(bench, uri, [9], offset: offset).expectProblem(409, "upload-offset-mismatch")
        }
        for offset in [nil, "", "-1", "x", "2.0", "99999999999999999999999"] {
            try await Self.patch(bench, uri, [9], offset: offset)
                .expectProblem(400, "invalid-value", field: "Upload-Offset")
        }
        #expect(
            try await bench.send(.head, uri, as: .operator, headers: Self.tus).field("Upload-Offset") == "2")
    }

    @Test func checksums() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        let right = Data(Digest.sha256([1, 2, 3]).bytes).base64EncodedString()
        try await Self.patch(bench, uri, [1, 2, 4], offset: "0", checksum: "sha256 \(right)")
            .expectProblem(460, "checksum-mismatch")
        #expect(
            try await bench.send(.head, uri, as: .operator, headers: Self.tus).field("Upload-Offset") == "0")
        for wrong in ["sha1 \(right)", "sha256", right, "sha256 !!!", "sha256 AAAA", "sha256 \(right) x", ""] {
            try await Self.patch(bench, uri, [1, 2, 3], offset: "0", checksum: wrong)
                .expectProblem(400, "invalid-value", field: "Upload-Checksum")
        }
        let good = try await Self.patch(bench, uri, [1, 2, 3], offset: "0", checksum: "sha256 \(right)")
        #expect(good.code == 204)
        #expect(good.field("Upload-Offset") == "3")
    }

    @Test(arguments: ["HEAD", "PATCH", "DELETE", "POST"])
    func otherVersionsOfTus(method: String) async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        for version in [nil, "0.2.2", "1.0.1", ""] {
            var headers: HTTPFields = [.contentType: "application/offset+octet-stream"]
            headers[.named("Tus-Resumable")] = version
            let answer = try await bench.send(
                try #require(HTTPRequest.Method(method)), method == "POST" ? "/v1/uploads" : uri, as: .operator,
                headers: headers)
            #expect(answer.code == 412)
            #expect(answer.field("Tus-Version") == "1.0.0")
        }
    }

    @Test func contentTypeOfPieces() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        try await Self.patch(bench, uri, [1], offset: "0", type: "application/octet-stream")
            .expectProblem(415, "unsupported-media-type")
    }

    @Test func creationThatIsRefused() async throws {
        let bench = try await APIBench()
        for length in [nil, "", "-1", "1e3", "0x10", "99999999999999999999999"] {
            try await Self.create(bench, length: length).expectProblem(400, "invalid-value", field: "Upload-Length")
        }
        try await Self.create(bench, length: "\(9 << 40 + 1)").expectProblem(
            413, "upload-too-large", field: "Upload-Length")
        for metadata in [
            "", "filename ZGF0YQ==", "imageStorageId", "imageStorageId !!!", "imageStorageId eA==", "a b c",
            Self.metadata(bench) + "," + Self.metadata(bench), Self.metadata(bench, ",filename /w=="),
            Self.metadata(bench, ",filename " + String(repeating: "QUFB", count: 1100)),
        ] {
            try await Self.create(bench, metadata: metadata)
                .expectProblem(400, "invalid-value", field: "Upload-Metadata")
        }
        try await Self.create(bench, length: nil, ["Upload-Defer-Length": "1"])
            .expectProblem(400, "invalid-value", field: "Upload-Defer-Length")
        let nowhere = "imageStorageId " + Data(bench.image.description.utf8).base64EncodedString()
        #expect(try await Self.create(bench, metadata: nowhere).code == 422)
        _ = try await bench.send(.post, "/v1/image-storages/\(bench.storage)/disable")
        try await Self.create(bench).expectProblem(409, "image-storage-disabled")
        #expect(!bench.agents.asked.contains("create-upload"))
    }

    @Test func agentThatRefusesLeavesNoUpload() async throws {
        let bench = try await APIBench()
        bench.agents.fail(.failed(.init(code: .noSpace, detail: "full")))
        try await Self.create(bench).expectProblem(507, "image-storage-full")
    }

    @Test func termination() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        let gone = try await bench.send(.delete, uri, as: .operator, headers: Self.tus)
        #expect(gone.code == 204)
        #expect(gone.field("Tus-Resumable") == "1.0.0")
        #expect(try await bench.send(.head, uri, as: .operator, headers: Self.tus).code == 404)
        try await Self.patch(bench, uri, [1], offset: "0").expectProblem(404, "upload-not-found")
        try await bench.send(.delete, uri, as: .operator, headers: Self.tus).expectProblem(404, "upload-not-found")
    }

    @Test func uploadOfSomebodyElseDoesNotExist() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        let made = try await bench.send(
            .post, "/v1/users", json: "{\"name\":\"mallory\",\"role\":\"operator\",\"password\":\"mallory-pw-1\"}")
        #expect(made.code == 201)
        let token = try await bench.send(
            .post, "/v1/sessions", as: nil, json: "{\"username\":\"mallory\",\"password\":\"mallory-pw-1\"}"
        ).tree["token"].text
        var headers = Self.tus
        headers[.authorization] = "Bearer \(token ?? "")"
        #expect(try await bench.send(.head, uri, headers: headers).code == 404)
        try await bench.send(.delete, uri, headers: headers).expectProblem(404, "upload-not-found")
        // An admin sees to everything.
        #expect(try await bench.send(.head, uri, as: .admin, headers: Self.tus).code == 200)
    }

    @Test func methodsByAnotherName() async throws {
        let bench = try await APIBench()
        let uri = try #require(try await Self.create(bench).field("Location"))
        let sent = try await Self.patch(bench, uri, [1], offset: "0", method: .post, override: "PATCH")
        #expect(sent.field("Upload-Offset") == "1")
        try await Self.patch(bench, uri, [], offset: nil, method: .post, override: "PUT")
            .expectProblem(405, "method-not-allowed")
        #expect(try await Self.patch(bench, uri, [], offset: nil, method: .post, override: "DELETE").code == 204)
    }

    @Test func creationIsRepeatedByItsKey() async throws {
        let bench = try await APIBench()
        let first = try await Self.create(bench, ["Idempotency-Key": "u"])
        let again = try await Self.create(bench, ["Idempotency-Key": "u"])
        #expect(first.field("Location") == again.field("Location"))
        #expect(again.field("Upload-Expires") == first.field("Upload-Expires"))
        try await Self.create(bench, length: "11", ["Idempotency-Key": "u"])
            .expectProblem(409, "idempotency-key-reused")
        #expect(bench.agents.asked.filter { $0 == "create-upload" }.count == 1)
    }

    @Test func largePiecesAreHandedOnInOrder() async throws {
        let bench = try await APIBench()
        let bytes = (0..<3_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
        let uri = try #require(try await Self.create(bench, length: "\(bytes.count)").field("Location"))
        let answer = try await Self.patch(bench, uri, bytes, offset: "0")
        #expect(answer.field("Upload-Offset") == "\(bytes.count)")
        let id = try UploadID(parsing: String(uri.split(separator: "/").last ?? ""))
        #expect(bench.agents.bytes(of: id) == bytes)
    }
}
