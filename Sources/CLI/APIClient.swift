import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL

/// An answer of the API.
package struct APIAnswer: Sendable {
    /// The HTTP status, 2xx.
    package var status: Int
    /// The header fields.
    package var headers: HTTPHeaders
    /// The JSON body; null when there is none.
    package var json: JSONValue
}

/// The HTTP API of one controller with one token.
package struct APIClient: Sendable {
    /// The most bytes of a JSON answer that are read.
    private static let answerByteCountMax = 64 << 20
    /// How long a request that is answered at once may take.
    private static let requestTimeout = TimeAmount.seconds(120)

    /// Whom it speaks to.
    package let profile: Profile
    /// The connections; shared with the transfers.
    let http: HTTPClient

    /// Runs `body` with a client that is closed afterwards.
    package static func with<R: Sendable>(_ profile: Profile, _ body: (APIClient) async throws -> R) async throws -> R {
        let http = try makeHTTP(roots: roots(profile.authorityPEM))
        do {
            let result = try await body(APIClient(profile: profile, http: http))
            try await http.shutdown()
            return result
        } catch {
            try? await http.shutdown()
            throw error
        }
    }

    static func roots(_ pem: String?) throws(CLIError) -> NIOSSLTrustRoots {
        guard let pem else { return .default }
        do {
            let certificates = try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8))
            guard !certificates.isEmpty else { throw CLIError.usage("") }
            return .certificates(certificates)
        } catch {
            throw .usage("the certificate authority is not a PEM certificate")
        }
    }

    static func makeHTTP(roots: NIOSSLTrustRoots, isVerifying: Bool = true) -> HTTPClient {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = roots
        tls.minimumTLSVersion = .tlsv13
        if !isVerifying { tls.certificateVerification = .none }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
        configuration.timeout = .init(connect: .seconds(10), read: .seconds(120))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// A request with the token, for transfers that need their own body or headers.
    func bareRequest(_ method: HTTPMethod, _ path: String, query: [(String, String)] = []) -> HTTPClientRequest {
        var url = profile.url + path
        if !query.isEmpty {
            url += "?" + query.map { APIClient.escaped($0.0) + "=" + APIClient.escaped($0.1) }.joined(separator: "&")
        }
        var request = HTTPClientRequest(url: url)
        request.method = method
        request.headers.add(name: "user-agent", value: "lamina/\(Lamina.version)")
        if let token = profile.token { request.headers.add(name: "authorization", value: "Bearer \(token)") }
        return request
    }

    /// Sends a request whose answer is JSON or nothing.
    /// - Throws: `.problem` for every status that is not 2xx.
    package func send(
        _ method: HTTPMethod, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
        headers: [(String, String)] = []
    ) async throws(CLIError) -> APIAnswer {
        var request = bareRequest(method, path, query: query)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            let type = method == .PATCH ? "application/merge-patch+json" : "application/json"
            request.headers.add(name: "content-type", value: type)
            request.body = .bytes(ByteBuffer(string: body.compact))
        }
        // A POST that is cut may be sent again by a person or script: the key makes it happen once.
        if method == .POST { request.headers.add(name: "idempotency-key", value: UUID().uuidString.lowercased()) }
        return try await answer(to: request)
    }

    func answer(to request: HTTPClientRequest) async throws(CLIError) -> APIAnswer {
        let response = try await execute(request, timeout: APIClient.requestTimeout)
        do {
            let buffer = try await response.body.collect(upTo: APIClient.answerByteCountMax)
            let json = JSONValue.parse(Data(buffer.readableBytesView))
            let status = Int(response.status.code)
            guard (200..<300).contains(status) else { throw CLIError.problem(Problem(status: status, body: json)) }
            if json == nil, buffer.readableBytes > 0 {
                throw CLIError.unexpectedAnswer("\(request.url) answered something that is not JSON")
            }
            return APIAnswer(status: status, headers: response.headers, json: json ?? .null)
        } catch let error as CLIError {
            throw error
        } catch {
            throw APIClient.unreachable(profile.url, error)
        }
    }

    /// Sends a request and answers as soon as the head of the response is there.
    func execute(_ request: HTTPClientRequest, timeout: TimeAmount) async throws(CLIError) -> HTTPClientResponse {
        do { return try await http.execute(request, timeout: timeout) } catch {
            throw APIClient.unreachable(profile.url, error)
        }
    }

    /// Throws the problem that a response with an error status carries.
    func refuse(_ response: HTTPClientResponse) async throws(CLIError) -> Never {
        let body: JSONValue?
        do {
            body = JSONValue.parse(Data(try await response.body.collect(upTo: 1 << 20).readableBytesView))
        } catch {
            body = nil
        }
        throw .problem(Problem(status: Int(response.status.code), body: body))
    }

    static func unreachable(_ url: String, _ error: any Error) -> CLIError {
        let text = String(describing: error)
        if text.contains("CERTIFICATE_VERIFY_FAILED") || text.contains("unableToValidateCertificate") {
            return .notReachable(
                "the certificate of \(url) is not trusted: log in again with --ca FILE or --fingerprint, and use a name "
                    + "or address that the certificate has")
        }
        return .notReachable("\(url) cannot be reached: \(text)")
    }

    static func escaped(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte)
            out += isPlain ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return out
    }
}
