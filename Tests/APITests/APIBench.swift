import API
import Bootstrap
import ControllerTestSupport
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Identity
import Inventory
import Logging
import Model
import NIOCore
import Operations
import Secrets
import Testing

/// The whole API over a temporary inventory, with agents and hosts of the test's own. No job runs.
final class APIBench: Sendable {
    static let passwords: [Role: String] = [
        .viewer: "viewer-password-7", .operator: "operator-password-8", .admin: "admin-password-9",
    ]
    /// An authority costs a key; one is enough for all tests.
    private static let authority = Result {
        var generator = SystemRandomNumberGenerator()
        return try Authority(
            creating: "test", now: Timestamp(milliseconds: 1_790_000_000_000), using: &generator)
    }

    let records: InventoryBench
    let agents = FakeAgents()
    let hosts = FakeHosts()
    let ending = EndSignal()
    let operations: Operations
    let api: LaminaAPI
    /// A bearer token for each role.
    let tokens: [Role: String]
    let users: [Role: UserID]
    let dataCenter = DataCenterID(random: (1, 1))
    /// Connected, with an agent.
    let storage = ImageStorageID(random: (1, 2))
    /// Ready, on `storage`.
    let image = ImageID(random: (1, 3))

    init() async throws {
        records = try InventoryBench()
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let authority = try APIBench.authority.get()
        operations = Operations(
            inventory: records.inventory, agents: agents, hosts: hosts, authority: authority, bundles: [],
            clock: records.clock.wall, randomness: records.randomness, log: log,
            passwordCost: ScryptCost(logarithm: 4, blockSize: 8, parallelism: 1), resolve: { _ in [] })
        api = LaminaAPI(
            APIEnvironment(
                operations: operations, version: "9.9.9", authorityPEM: authority.certificatePEM,
                clock: records.clock.wall, ending: ending, log: log))
        (tokens, users) = try await APIBench.accounts(operations)
        try await fill()
    }

    private static func accounts(_ operations: Operations) async throws -> ([Role: String], [Role: UserID]) {
        var tokens: [Role: String] = [:]
        var users: [Role: UserID] = [:]
        for role in Role.allCases {
            let password = Secret(passwords[role] ?? "")
            let user = try await operations.createUser(
                name: role.rawValue, description: "", role: role, password: password, caller: .controller)
            let logIn = try await operations.logIn(username: user.name, password: password, address: "-")
            tokens[role] = logIn.token.reveal
            users[role] = user.id
        }
        return (tokens, users)
    }

    private func fill() async throws {
        let now = records.clock.wall.now()
        let (dataCenter, storage, image, facts) = (dataCenter, storage, image, agents.facts(image))
        try await records.write { transaction throws(InventoryError) in
            try transaction.insert(DataCenterRecord(id: dataCenter, name: "east", description: "", createdAt: now))
            var place = APIBench.storage(storage, "alpha", in: dataCenter, at: now)
            place.status = .connected
            place.agentPort = 7443
            try transaction.insert(place)
            try transaction.seal(
                Array("the-host-password".utf8), for: ImageStorageRecord.self, storage, field: "credential")
            var made = ImageRecord(
                id: image, imageStorageID: storage, name: "debian", description: "", type: .disk, format: .raw,
                sourceKind: .url, sourceText: "https://example.org/debian.raw", createdAt: now)
            made.take(facts)
            made.status = .ready
            try transaction.insert(made)
        }
    }

    static func storage(
        _ id: ImageStorageID, _ name: String, in dataCenter: DataCenterID, at now: Timestamp
    ) -> ImageStorageRecord {
        ImageStorageRecord(
            id: id, name: name, description: "", type: .standalone, dataCenterID: dataCenter,
            hostAddress: "192.0.2.7", sshPort: 22, username: "root", hostKey: nil, credentialKind: .password,
            diskMethod: .localDirectory, diskDevice: nil, mountPath: "/srv/\(name)", retrieveExistingImages: false,
            imageSyncNetwork: nil, dataNetwork: nil, reservedCapacityBytes: 1 << 30, blobUploadConcurrency: 1,
            blobDownloadConcurrency: 1, createdAt: now)
    }

    /// The application as ControllerMain makes it, but for TLS.
    var application: some ApplicationProtocol { Application(router: api.router()) }

    /// Sends one request to the router.
    /// - Parameter role: whose token is sent; nil: none.
    func send(
        _ method: HTTPRequest.Method, _ uri: String, as role: Role? = .admin, json: String? = nil,
        headers: HTTPFields = [:], body: [UInt8]? = nil
    ) async throws -> TestResponse {
        var headers = headers
        if let role, headers[.authorization] == nil { headers[.authorization] = "Bearer \(tokens[role] ?? "")" }
        if json != nil, headers[.contentType] == nil { headers[.contentType] = "application/json" }
        let bytes = json.map { Array($0.utf8) } ?? body
        let (fields, buffer) = (headers, bytes.map { ByteBuffer(bytes: $0) })
        return try await application.test(.router) { client in
            try await client.execute(uri: uri, method: method, headers: fields, body: buffer)
        }
    }

    /// Lets a request be answered by the router itself, with a body that is written to a writer of the test's own.
    func answer(_ request: Request, on channel: any Channel) async throws -> Response {
        // What the server's logger has, and the router relies on.
        var log = Logger(label: "request")
        log.logLevel = .critical
        log[metadataKey: "hb.request.id"] = "1"
        return try await api.router().buildResponder()
            .respond(to: request, context: APIContext(source: .init(channel: channel, logger: log)))
    }

    /// A data center, for lists.
    func add(_ name: String, _ description: String = "") async throws -> String {
        let answer = try await send(
            .post, "/v1/data-centers", json: "{\"name\":\"\(name)\",\"description\":\"\(description)\"}")
        #expect(answer.status == .created)
        return answer.tree["id"].text ?? ""
    }
}

extension HTTPField.Name {
    static func named(_ name: String) -> HTTPField.Name {
        guard let made = HTTPField.Name(name) else { preconditionFailure("'\(name)' is no field name") }
        return made
    }
}

extension TestResponse {
    var text: String { String(buffer: body) }
    var bytes: [UInt8] { Array(body.readableBytesView) }
    /// The JSON of the body; null when it is none.
    var tree: Tree { (try? JSONDecoder().decode(Tree.self, from: Data(bytes))) ?? .null }
    var code: Int { status.code }
    func field(_ name: String) -> String? { headers[.named(name)] }

    /// Expects a problem document with this status and code.
    func expectProblem(
        _ status: Int, _ code: String, field: String? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(self.code == status, "\(text)", sourceLocation: location)
        #expect(headers[.contentType] == "application/problem+json", sourceLocation: location)
        #expect(tree["code"].text == code, "\(text)", sourceLocation: location)
        #expect(tree["field"].text == field, "\(text)", sourceLocation: location)
        #expect(tree["status"].int == status, sourceLocation: location)
        #expect(tree["type"].text == "urn:lamina:problem:\(code)", sourceLocation: location)
        #expect(tree["title"].text?.isEmpty == false, sourceLocation: location)
        #expect(tree["detail"].text?.isEmpty == false, sourceLocation: location)
    }
}

/// JSON as it came.
enum Tree: Decodable, Equatable, Sendable {
    case null
    case bool(Bool)
    case int(Int)
    case number(Double)
    case text(String)
    case list([Tree])
    case object([String: Tree])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([Tree].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: Tree].self))
        }
    }

    subscript(_ key: String) -> Tree { if case .object(let members) = self { members[key] ?? .null } else { .null } }
    subscript(_ index: Int) -> Tree { list.indices.contains(index) ? list[index] : .null }
    var text: String? { if case .text(let value) = self { value } else { nil } }
    var int: Int? { if case .int(let value) = self { value } else { nil } }
    var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    var list: [Tree] { if case .list(let values) = self { values } else { [] } }
    var members: [String: Tree] { if case .object(let values) = self { values } else { [:] } }
}
