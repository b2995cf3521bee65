import AgentLink
import ControllerTestSupport
// Goal: a request that is wrong is refused with a problem document that names what is wrong, and nothing is done of it.
// Method: one wrong request after the other against the real router.
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
struct ProblemTests {
    @Test(arguments: [
        ("{\"name\":\"x\",\"nmae\":\"y\"}", "/nmae"), ("{}", "/name"), ("{\"name\":7}", "/name"),
        ("{\"name\":null}", "/name"), ("[]", ""), ("{\"name\":\"\"}", "/name"),
        ("{\"name\":\"a\\u0007b\"}", "/name"), ("{\"name\":\"a\\u202Eb\"}", "/name"),
        ("{\"name\":\"x\",\"description\":[]}", "/description"),
        ("{\"name\":\"x\",\"a/b~c\":1}", "/a~1b~0c"),
    ])
    func wrongFieldsAreNamed(body: String, field: String) async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.post, "/v1/data-centers", json: body)
        answer.expectProblem(422, "invalid-value", field: field)
        #expect(try await bench.send(.get, "/v1/data-centers").tree["items"].list.count == 1)
    }

    @Test(arguments: [
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"prot\":22}}", "/host/prot"),
        ("{\"host\":{\"address\":\"192.0.2.8\"}}", "/host/password"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"privateKey\":\"y\"}}", "/host/privateKey"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"sshPort\":0}}", "/host/sshPort"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"sshPort\":65536}}", "/host/sshPort"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"sshPort\":22.5}}", "/host/sshPort"),
        ("{\"host\":{\"address\":\"-oProxyCommand=x\",\"password\":\"x\"}}", "/host/address"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"username\":\"a;b\"}}", "/host/username"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"a\\nb\"}}", "/host/password"),
        ("{\"host\":{\"address\":\"192.0.2.8\",\"password\":\"x\",\"hostKey\":\"MD5:1\"}}", "/host/hostKey"),
    ])
    func nestedFieldsAreNamed(body: String, field: String) async throws {
        let bench = try await APIBench()
        try await bench.send(.post, "/v1/image-storages/probe", json: body)
            .expectProblem(422, "invalid-value", field: field)
    }

    @Test(arguments: ["", "{", "{\"name\":\"x\"", "{\"name\":\"\u{0}\"}x", "name=x"])
    func whatIsNoJSON(body: String) async throws {
        let bench = try await APIBench()
        try await bench.send(.post, "/v1/data-centers", json: body).expectProblem(400, "malformed-request")
    }

    @Test func bytesThatAreNoUTF8() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(
            .post, "/v1/data-centers", headers: [.contentType: "application/json"],
            body: Array("{\"name\":\"".utf8) + [0xff, 0xfe] + Array("\"}".utf8))
        answer.expectProblem(400, "malformed-request")
    }

    @Test func deepNestingEndsNobody() async throws {
        let bench = try await APIBench()
        let deep = String(repeating: "[", count: 200_000)
        let answer = try await bench.send(.post, "/v1/data-centers", json: "{\"name\":" + deep)
        answer.expectProblem(400, "malformed-request")
    }

    @Test(arguments: ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
    func otherContentTypes(type: String) async throws {
        let bench = try await APIBench()
        try await bench.send(
            .post, "/v1/data-centers", json: "{\"name\":\"x\"}", headers: [.contentType: type]
        ).expectProblem(415, "unsupported-media-type")
    }

    @Test func contentTypeWithParameters() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(
            .post, "/v1/data-centers", json: "{\"name\":\"x\"}",
            headers: [.contentType: "Application/JSON; charset=utf-8"])
        #expect(answer.code == 201)
    }

    @Test func bodyOverTheLimit() async throws {
        let bench = try await APIBench()
        let body = "{\"name\":\"x\",\"description\":\"" + String(repeating: "y", count: 1 << 20) + "\"}"
        try await bench.send(.post, "/v1/data-centers", json: body).expectProblem(413, "body-too-large")
        // Exactly the limit is read, and refused for what it says.
        let start = "{\"name\":\"x\",\"description\":\""
        let full = start + String(repeating: "y", count: (1 << 20) - start.count - 2) + "\"}"
        try await bench.send(.post, "/v1/data-centers", json: full)
            .expectProblem(422, "invalid-value", field: "/description")
    }

    @Test func bodyWhereNoneBelongs() async throws {
        let bench = try await APIBench()
        let uri = "/v1/image-storages/\(bench.storage)/disable"
        try await bench.send(.post, uri, json: "{\"why\":1}").expectProblem(422, "invalid-value", field: "/why")
        #expect(try await bench.send(.post, uri, json: "{}").code == 200)
        try await bench.send(.post, uri, headers: [.contentType: "text/plain"], body: [1])
            .expectProblem(415, "unsupported-media-type")
    }

    @Test func pathsAndMethods() async throws {
        let bench = try await APIBench()
        for path in ["/v2", "/v1", "/v1/nothing", "/v1/images/x/y/z", "/v1/data-centers/", "/..%2fetc/passwd"] {
            let answer = try await bench.send(.get, path)
            if path != "/v1/data-centers/" { answer.expectProblem(404, "route-not-found") }
        }
        let answer = try await bench.send(.put, "/v1/data-centers", json: "{}")
        answer.expectProblem(405, "method-not-allowed")
        #expect(answer.field("Allow") == "GET, POST")
    }

    @Test(arguments: ["x", "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb", "%F0%9F%98%80"])
    func idsThatNameNothing(id: String) async throws {
        let bench = try await APIBench()
        for (path, kind) in [
            ("data-centers", "data-center"), ("image-storages", "image-storage"), ("images", "image"), ("jobs", "job"),
            ("users", "user"),
        ] {
            try await bench.send(.get, "/v1/\(path)/\(id)").expectProblem(404, "\(kind)-not-found")
        }
        try await bench.send(.get, "/v1/system-parameters/\(id)").expectProblem(404, "system-parameter-not-found")
    }

    @Test func whatStandsInTheWayIsListed() async throws {
        let bench = try await APIBench()
        let answer = try await bench.send(.delete, "/v1/data-centers/\(bench.dataCenter)")
        answer.expectProblem(409, "data-center-not-empty")
        #expect(answer.tree["items"][0]["id"].text == bench.storage.description)
        #expect(answer.tree["items"][0]["name"].text == "alpha")
    }

    @Test func agentThatIsAway() async throws {
        let bench = try await APIBench()
        bench.agents.fail(.unreachable("nobody listens"))
        try await bench.send(.get, "/v1/image-storages/\(bench.storage)/usage")
            .expectProblem(409, "image-storage-not-connected")
        bench.agents.fail(.protocolViolation("x"))
        try await bench.send(.get, "/v1/images/\(bench.image)/content").expectProblem(502, "agent-protocol-violation")
    }

    @Test func hostThatIsAway() async throws {
        let bench = try await APIBench()
        let body = "{\"host\":{\"address\":\"unreachable.example\",\"password\":\"x\"}}"
        try await bench.send(.post, "/v1/image-storages/probe", json: body).expectProblem(502, "host-unreachable")
    }

    @Test func wrongPasswordFieldsAreThoseOfTheRequest() async throws {
        let bench = try await APIBench()
        let uri = "/v1/sessions/current/password"
        try await bench.send(
            .put, uri, json: "{\"currentPassword\":\"wrong-one\",\"newPassword\":\"another-one\"}"
        ).expectProblem(422, "invalid-value", field: "/currentPassword")
        try await bench.send(
            .put, uri, json: "{\"currentPassword\":\"admin-password-9\",\"newPassword\":\"short\"}"
        ).expectProblem(422, "invalid-value", field: "/newPassword")
        #expect(
            try await bench.send(
                .put, uri, json: "{\"currentPassword\":\"admin-password-9\",\"newPassword\":\"long-enough-1\"}"
            ).code == 204)
    }
}
