import AgentLink
import HTTPTypes
import Inventory
import Model
import NIOCore
import Operations
import Testing
import Wire

/// What a route answers to whom. Source: docs/security.md, "Every route x role has an expected code".
struct RouteRow: Sendable, CustomTestStringConvertible {
    /// The status for nobody, a viewer, an operator and an admin.
    struct Codes: Sendable {
        var nobody: Int
        var viewer: Int
        var `operator`: Int
        var admin: Int

        func status(for role: Role?) -> Int {
            switch role {
            case nil: nobody
            case .viewer: viewer
            case .operator: self.operator
            case .admin: admin
            }
        }
    }

    /// What stands for `{id}` or `{name}`.
    enum Subject: Sendable {
        case none, dataCenter, storage, image, job, upload, user, token, parameter
    }

    var method: HTTPRequest.Method
    var path: String
    var codes: Codes
    var subject = Subject.none
    var json: String?
    var body: [UInt8]?
    var headers: [String: String] = [:]

    var testDescription: String { "\(method.rawValue) \(path)" }
}

extension RouteRow.Codes {
    static func open(_ status: Int) -> Self { .init(nobody: status, viewer: status, operator: status, admin: status) }
    static func viewer(_ status: Int) -> Self { .init(nobody: 401, viewer: status, operator: status, admin: status) }
    static func `operator`(_ status: Int) -> Self { .init(nobody: 401, viewer: 403, operator: status, admin: status) }
    static func admin(_ status: Int) -> Self { .init(nobody: 401, viewer: 403, operator: 403, admin: status) }
}

extension RouteRow {
    private static let host = "{\"address\":\"192.0.2.8\",\"password\":\"x\"}"
    private static let tus = ["Tus-Resumable": "1.0.0"]
    private static let stream = ["Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"]

    private static func row(
        _ method: HTTPRequest.Method, _ path: String, _ codes: Codes, _ subject: Subject = .none, json: String? = nil
    ) -> RouteRow { RouteRow(method: method, path: path, codes: codes, subject: subject, json: json) }

    /// Every route. `DC`, `STORAGE`, `IMAGE` in a body stand for the bench's ids.
    static let all: [RouteRow] = open + sessions + storages + images + uploads + rest

    private static let open: [RouteRow] = [
        row(.get, "/healthz", .open(200)), row(.get, "/readyz", .open(200)), row(.get, "/metrics", .open(200)),
        row(.get, "/ca.pem", .open(200)), row(.get, "/", .open(200)), row(.get, "/openapi.json", .open(200)),
        row(.options, "/v1/uploads", .open(204)),
    ]

    private static let sessions: [RouteRow] = [
        row(
            .post, "/v1/sessions", .open(201), json: "{\"username\":\"viewer\",\"password\":\"viewer-password-7\"}"),
        row(.get, "/v1/sessions/current", .viewer(200)), row(.delete, "/v1/sessions/current", .viewer(204)),
        // The password of the caller is another one for each role: the refusal is past the role.
        row(
            .put, "/v1/sessions/current/password", .viewer(422),
            json: "{\"currentPassword\":\"nobody's password\",\"newPassword\":\"something-longer\"}"),
        row(.get, "/v1/users", .admin(200)),
        row(
            .post, "/v1/users", .admin(201),
            json: "{\"name\":\"eve\",\"role\":\"viewer\",\"password\":\"long-enough\"}"),
        row(.get, "/v1/users/{id}", .admin(200), .user),
        row(.patch, "/v1/users/{id}", .admin(200), .user, json: "{\"description\":\"new\"}"),
        row(.delete, "/v1/users/{id}", .admin(204), .user),
        row(.get, "/v1/api-tokens", .admin(200)), row(.post, "/v1/api-tokens", .admin(201), json: "{\"name\":\"ci\"}"),
        row(.get, "/v1/api-tokens/{id}", .admin(200), .token), row(.delete, "/v1/api-tokens/{id}", .admin(204), .token),
        row(.get, "/v1/audit-log", .admin(200)),
    ]

    private static let storages: [RouteRow] = [
        row(.get, "/v1/data-centers", .viewer(200)),
        row(.post, "/v1/data-centers", .admin(201), json: "{\"name\":\"west\"}"),
        row(.get, "/v1/data-centers/{id}", .viewer(200), .dataCenter),
        row(.patch, "/v1/data-centers/{id}", .admin(200), .dataCenter, json: "{\"name\":\"north\"}"),
        row(.delete, "/v1/data-centers/{id}", .admin(409), .dataCenter),
        row(.get, "/v1/image-storages", .viewer(200)), row(.get, "/v1/image-storages/{id}", .viewer(200), .storage),
        row(
            .post, "/v1/image-storages", .admin(202),
            json: "{\"type\":\"standalone\",\"name\":\"beta\",\"dataCenterId\":\"DC\",\"host\":\(host),"
                + "\"disk\":{\"method\":\"localDirectory\"},\"mountPath\":\"/srv/beta\"}"),
        row(.patch, "/v1/image-storages/{id}", .admin(200), .storage, json: "{\"description\":\"new\"}"),
        row(.put, "/v1/image-storages/{id}/password", .admin(200), .storage, json: "{\"password\":\"other\"}"),
        row(.delete, "/v1/image-storages/{id}", .admin(409), .storage),
        row(.get, "/v1/image-storages/{id}/usage", .viewer(200), .storage),
        row(.post, "/v1/image-storages/{id}/reconnect", .admin(202), .storage),
        row(.post, "/v1/image-storages/{id}/enable", .admin(200), .storage),
        row(.post, "/v1/image-storages/{id}/disable", .admin(200), .storage),
        row(.post, "/v1/image-storages/probe", .admin(200), json: "{\"host\":\(host)}"),
        row(.post, "/v1/image-storages/bulk-delete", .admin(200), json: "{\"ids\":[\"STORAGE\"]}"),
    ]

    private static let images: [RouteRow] = [
        row(.get, "/v1/images", .viewer(200)), row(.get, "/v1/images/{id}", .viewer(200), .image),
        row(
            .post, "/v1/images", .operator(202),
            json: "{\"imageStorageId\":\"STORAGE\",\"name\":\"new\",\"type\":\"disk\",\"format\":\"raw\","
                + "\"source\":{\"url\":\"https://example.org/a.raw\"}}"),
        row(.patch, "/v1/images/{id}", .operator(200), .image, json: "{\"name\":\"other\"}"),
        row(.delete, "/v1/images/{id}", .operator(202), .image),
        row(.post, "/v1/images/bulk-delete", .operator(200), json: "{\"ids\":[\"IMAGE\"]}"),
        row(.get, "/v1/images/{id}/content", .viewer(200), .image),
        row(.head, "/v1/images/{id}/content", .viewer(200), .image),
    ]

    private static let uploads: [RouteRow] = [
        RouteRow(
            method: .post, path: "/v1/uploads", codes: .operator(201),
            headers: tus.merging(["Upload-Length": "5", "Upload-Metadata": "imageStorageId STORAGE64"]) { $1 }),
        RouteRow(method: .head, path: "/v1/uploads/{id}", codes: .operator(200), subject: .upload, headers: tus),
        RouteRow(
            method: .patch, path: "/v1/uploads/{id}", codes: .operator(204), subject: .upload, body: [1, 2, 3],
            headers: stream.merging(["Upload-Offset": "0"]) { $1 }),
        RouteRow(method: .delete, path: "/v1/uploads/{id}", codes: .operator(204), subject: .upload, headers: tus),
        RouteRow(
            method: .post, path: "/v1/uploads/{id}", codes: .operator(204), subject: .upload, body: [1, 2, 3],
            headers: stream.merging(["Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"]) { $1 }),
    ]

    private static let rest: [RouteRow] = [
        row(.get, "/v1/jobs", .viewer(200)), row(.get, "/v1/jobs/{id}", .viewer(200), .job),
        row(.post, "/v1/jobs/{id}/cancel", .operator(202), .job), row(.get, "/v1/events", .viewer(200)),
        row(.get, "/v1/system-parameters", .viewer(200)),
        row(.get, "/v1/system-parameters/{name}", .viewer(200), .parameter),
        row(.patch, "/v1/system-parameters/{name}", .admin(200), .parameter, json: "{\"value\":7}"),
    ]
}
