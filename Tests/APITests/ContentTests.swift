import AgentLink
import ControllerTestSupport
// Goal: every byte of a range is the right one, and no range asks for more than there is. Method: an image of 1000 bytes
// behind an agent of the test's own, read by ranges that are right, wrong and absurd.
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
struct ContentTests {
    private static let absurd = "99999999999999999999999"

    @Test func wholeContent() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.get, "/v1/images/\(bench.image)/content", as: .viewer)
        #expect(answer.code == 200)
        #expect(answer.bytes == bench.agents.content)
        #expect(answer.headers[.contentLength] == "1000")
        #expect(answer.headers[.contentType] == "application/octet-stream")
        #expect(answer.headers[.acceptRanges] == "bytes")
        #expect(answer.headers[.contentDisposition] == "attachment; filename=\"debian.raw\"")
        let digest = Data(Digest.sha256(bench.agents.content).bytes).base64EncodedString()
        #expect(answer.field("Repr-Digest") == "sha-256=:\(digest):")
        #expect(answer.field("Digest") == "sha-256=\(digest)")
    }

    @Test func headSaysWhatGetWould() async throws {
        let bench = try await APIBench()
        let uri = "/v1/images/\(bench.image)/content"
        let (head, get) = (try await bench.send(.head, uri), try await bench.send(.get, uri))
        #expect(head.code == 200 && head.bytes.isEmpty)
        for name in ["Content-Length", "ETag", "Accept-Ranges", "Content-Type", "Repr-Digest", "Content-Disposition"] {
            #expect(head.field(name) == get.field(name), "\(name)")
        }
        #expect(bench.agents.asked.filter { $0 == "read-content" }.count == 1)
    }

    @Test(arguments: [
        ("bytes=0-0", 0..<1), ("bytes=0-99", 0..<100), ("bytes=900-", 900..<1000), ("bytes=-1", 999..<1000),
        ("bytes=-1000", 0..<1000), ("bytes=-5000", 0..<1000), ("bytes=999-999", 999..<1000),
        ("bytes=500-\(absurd)", 500..<1000), ("bytes=-\(absurd)", 0..<1000), ("BYTES=1-2", 1..<3),
        ("bytes= 1 - 2", 1..<3), ("bytes=007-008", 7..<9),
    ])
    func ranges(field: String, range: Range<Int>) async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.get, "/v1/images/\(bench.image)/content", headers: [.range: field])
        #expect(answer.code == 206)
        #expect(answer.bytes == Array(bench.agents.content[range]))
        #expect(answer.headers[.contentRange] == "bytes \(range.lowerBound)-\(range.upperBound - 1)/1000")
        #expect(answer.headers[.contentLength] == "\(range.count)")
    }

    @Test(arguments: ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=\(absurd)-", "bytes=\(absurd)-\(absurd)"])
    func rangesBeyondTheEnd(field: String) async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.get, "/v1/images/\(bench.image)/content", headers: [.range: field])
        answer.expectProblem(416, "range-not-satisfiable", field: "Range")
        #expect(answer.headers[.contentRange] == "bytes */1000")
        #expect(answer.headers[.eTag] != nil)
        #expect(!bench.agents.asked.contains("read-content"))
    }

    /// What is malformed, another unit, or several ranges is ignored, as RFC 9110 lets a server.
    @Test(arguments: [
        "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=1-2,5-6", "bytes=0-0,-1", "items=0-1", "0-1",
        "bytes=1-2-3",
        "bytes=+1-2", "bytes=1", "bytes=0x1-2", "bytes=\u{0661}-2", "bytes=" + String(repeating: "1", count: 200) + "-",
    ])
    func rangesThatAreIgnored(field: String) async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.get, "/v1/images/\(bench.image)/content", headers: [.range: field])
        #expect(answer.code == 200)
        #expect(answer.bytes == bench.agents.content)
        #expect(answer.headers[.contentRange] == nil)
    }

    @Test func rangeOfAContentThatChanged() async throws {
        let bench = try await APIBench()
        let uri = "/v1/images/\(bench.image)/content"
        let tag = try #require(try await bench.send(.head, uri).headers[.eTag])
        let same = try await bench.send(.get, uri, headers: [.range: "bytes=1-2", .ifRange: tag])
        #expect(same.code == 206)
        for other in ["\"other\"", "W/" + tag, "Sat, 01 Jan 2000 00:00:00 GMT"] {
            let all = try await bench.send(.get, uri, headers: [.range: "bytes=1-2", .ifRange: other])
            #expect(all.code == 200)
            #expect(all.bytes.count == 1000)
        }
        // A range that cannot be is not looked at when all is to be sent.
        #expect(try await bench.send(.get, uri, headers: [.range: "bytes=2000-", .ifRange: "\"other\""]).code == 200)
    }

    @Test func clientThatHasItAlready() async throws {
        let bench = try await APIBench()
        let uri = "/v1/images/\(bench.image)/content"
        let tag = try #require(try await bench.send(.head, uri).headers[.eTag])
        for field in [tag, "*", "\"a\", \(tag)", "W/\(tag)"] {
            let answer = try await bench.send(.get, uri, headers: [.ifNoneMatch: field])
            #expect(answer.code == 304, "\(field)")
            #expect(answer.bytes.isEmpty)
            #expect(answer.headers[.eTag] == tag)
        }
        #expect(try await bench.send(.get, uri, headers: [.ifNoneMatch: "\"other\""]).code == 200)
    }

    @Test func containersHaveTheirOwnTag() async throws {
        let bench = try await APIBench()
        let uri = "/v1/images/\(bench.image)/content"
        let raw = try await bench.send(.head, uri).headers[.eTag]
        let qcow2 = try await bench.send(.head, uri + "?format=qcow2")
        #expect(qcow2.code == 200)
        #expect(qcow2.headers[.eTag] != raw)
        let vmdk = try await bench.send(.head, uri + "?format=vmdk")
        #expect(vmdk.code == 200)
        #expect(vmdk.headers[.eTag] != raw && vmdk.headers[.eTag] != qcow2.headers[.eTag])
        // The digest is that of the file as it was given, which is not what is sent.
        #expect(qcow2.field("Repr-Digest") == nil)
        try await bench.send(.get, uri + "?format=vdi").expectProblem(422, "invalid-value", field: "format")
    }

    @Test func imageThatIsNotReady() async throws {
        let bench = try await APIBench()
        let image = bench.image
        try await bench.records.write { transaction throws(InventoryError) in
            try transaction.change(ImageRecord.self, image) { $0.status = .creating }
        }
        try await bench.send(.get, "/v1/images/\(image)/content").expectProblem(409, "image-not-ready")
    }

    @Test(arguments: [
        ("a\"b", "attachment; filename=\"a_b.raw\"; filename*=UTF-8''a%22b.raw"),
        ("../etc", "attachment; filename=\"_etc.raw\"; filename*=UTF-8''..%2Fetc.raw"),
        ("Größe", "attachment; filename=\"Gr__e.raw\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.raw"),
        (".x", "attachment; filename=\"x.raw\"; filename*=UTF-8''.x.raw"),
    ])
    func namesDoNotLeaveTheField(name: String, field: String) async throws {
        let bench = try await APIBench()
        let image = bench.image
        try await bench.records.write { transaction throws(InventoryError) in
            try transaction.change(ImageRecord.self, image) { $0.name = name }
        }
        let answer = try await bench.send(.head, "/v1/images/\(image)/content")
        #expect(answer.headers[.contentDisposition] == field)
    }
}
