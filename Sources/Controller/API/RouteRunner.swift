import HTTPTypes
import Hummingbird
import Inventory
import Model
import NIOCore
import Operations

extension HTTPField.Name {
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let idempotencyReplayed = HTTPField.Name("Idempotency-Replayed")!
}

/// Runs one route: who asks, may they, what do they bring, was it asked before; then the handler.
struct RouteRunner: Sendable {
    let route: Route
    let environment: APIEnvironment

    func run(_ http: Request, _ context: APIContext) async throws -> Response {
        let caller = try await authenticate(http, context)
        let query = try readQuery(http)
        let bytes = try await readBody(http)
        let request = APIRequest(
            http: http, context: context, caller: caller, query: query, bodyBytes: bytes, body: try check(bytes, http))
        guard route.method == .post, route.access != .open, let key = http.headers[.idempotencyKey] else {
            return try await route.handler(request).response()
        }
        return try await once(key, request).response()
    }

    /// Who asks. Their role is compared before their body is read.
    private func authenticate(_ http: Request, _ context: APIContext) async throws -> Caller {
        guard case .role(let needed) = route.access else {
            return Caller(userID: nil, username: "-", role: .viewer, address: context.address, tokenID: nil)
        }
        guard let field = http.headers[.authorization], field.utf8.count <= 512,
            field.lowercased().hasPrefix("bearer ")
        else { throw APIError.unauthenticated }
        let token = String(field.dropFirst("bearer ".count))
        let caller = try await environment.operations.authenticate(bearerToken: token, address: context.address)
        // The operation compares again; here the refusal comes before the body is looked at, and is in the audit log.
        try await environment.operations.allow(caller, needed, "\(route.method.rawValue) \(route.path)")
        return caller
    }

    private func readQuery(_ http: Request) throws(APIError) -> [String: String] {
        let query = try QueryText.parse(http.uri.query)
        let known = route.parameters.filter { $0.place == .query }
        for name in query.keys.sorted() where !known.contains(where: { $0.name == name }) {
            let names = known.map(\.name).joined(separator: ", ")
            throw .invalid(
                String(name.prefix(80)),
                names.isEmpty ? "this takes no query parameters" : "there is no such parameter; there are: \(names)")
        }
        return query
    }

    private func readBody(_ http: Request) async throws(APIError) -> [UInt8] {
        if case .stream = route.body { return [] }
        if let length = http.headers[.contentLength].flatMap(Int.init), length > Limits.jsonByteCountMax {
            throw RouteRunner.tooLarge
        }
        var bytes: [UInt8] = []
        do {
            for try await piece in http.body {
                guard bytes.count + piece.readableBytes <= Limits.jsonByteCountMax else { throw RouteRunner.tooLarge }
                bytes += piece.readableBytesView
            }
        } catch let error as APIError {
            throw error
        } catch {
            throw .malformed("the body ended early")
        }
        return bytes
    }

    private static let tooLarge = APIError(
        status: .contentTooLarge, code: "body-too-large",
        detail: "a JSON body may have at most \(Limits.jsonByteCountMax) bytes")

    private func check(_ bytes: [UInt8], _ http: Request) throws(APIError) -> JSONNode? {
        let schema: Schema
        switch route.body {
        case .stream: return nil
        case .none:
            guard !bytes.isEmpty else { return nil }
            schema = .object(.init(fields: []))
        case .json(let shape), .mergePatch(let shape): schema = shape
        }
        let type = http.headers[.contentType]?.split(separator: ";").first?.lowercased() ?? ""
        guard ["application/json", "application/merge-patch+json"].contains(type) else {
            throw APIError(
                status: .unsupportedMediaType, code: "unsupported-media-type",
                detail: "send JSON with 'Content-Type: application/json'")
        }
        let node = try JSONNode.parse(bytes)
        try schema.check(node)
        return node
    }

    /// The same key and body give the same answer for a day. Only what was done is remembered: a refusal may be cured.
    private func once(_ key: String, _ request: APIRequest) async throws -> Answer {
        guard !key.isEmpty, key.count <= Limits.idempotencyKeyCountMax,
            key.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else {
            throw APIError.invalid(
                "Idempotency-Key", "a key has 1 to \(Limits.idempotencyKeyCountMax) visible ASCII characters")
        }
        let operations = environment.operations
        let seen = try await operations.idempotent(
            key: key, caller: request.caller, route: "POST \(request.http.uri.path)",
            bodyDigest: RouteRunner.digest(request))
        switch seen {
        case .fresh: break
        case .replay(let stored): return RouteRunner.replay(stored)
        case .conflict:
            throw OperationError.conflict(
                code: "idempotency-key-reused", detail: "this Idempotency-Key was used for another request")
        case .inProgress:
            throw OperationError.conflict(
                code: "idempotency-key-in-use", detail: "the first request with this key is still being answered")
        }
        let answer: Answer
        do { answer = try await route.handler(request) } catch {
            try await operations.forget(key: key, caller: request.caller)
            throw error
        }
        if let stored = storable(answer) {
            try await operations.remember(key: key, caller: request.caller, answer: stored)
        } else {
            try await operations.forget(key: key, caller: request.caller)
        }
        return answer
    }

    /// What makes two requests the same: the body, the query and what an upload's creation says in its head.
    private static func digest(_ request: APIRequest) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update(request.bodyBytes)
        for name in [HTTPField.Name.uploadLength, .uploadMetadata] {
            hasher.update(Array("\n\(name.canonicalName)=\(request.header(name) ?? "")".utf8))
        }
        hasher.update(Array("\n?\(request.http.uri.query ?? "")".utf8))
        return hasher.current()
    }

    private func storable(_ answer: Answer) -> StoredAnswer? {
        var bytes: [UInt8]
        switch answer.body {
        case .stream: return nil
        case .none: bytes = []
        case .bytes(let body): bytes = body
        }
        if let secretMember = route.secretMember, case .object(var members) = try? JSONNode.parse(bytes) {
            members[secretMember] = nil
            bytes = JSONText.encode(JSONNode.object(members))
        }
        var headers: [String: String] = [:]
        for field in answer.headers { headers[field.name.rawName] = field.value }
        return StoredAnswer(status: answer.status.code, headers: headers, body: bytes)
    }

    private static func replay(_ stored: StoredAnswer) -> Answer {
        var answer = Answer(status: .init(code: stored.status), body: stored.body.isEmpty ? .none : .bytes(stored.body))
        for (name, value) in stored.headers {
            guard let name = HTTPField.Name(name) else { continue }
            answer.headers[name] = value
        }
        answer.headers[.idempotencyReplayed] = "true"
        return answer
    }
}
