import HTTPTypes
import Hummingbird
import Inventory
import Model
import NIOCore
import Operations

/// What is sent back.
struct Answer: Sendable {
    enum Body: Sendable {
        case none
        case bytes([UInt8])
        case stream(ResponseBody)
    }

    var status: HTTPResponse.Status
    var headers: HTTPFields = [:]
    var body: Body = .none

    /// A JSON answer.
    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Answer {
        Answer(
            status: status, headers: [.contentType: "application/json"], body: .bytes(JSONText.encode(value)))
    }

    /// A resource with its ETag and, when it was just made, its place.
    static func resource(
        _ value: some Encodable, revision: Int, status: HTTPResponse.Status = .ok, location: String? = nil
    ) -> Answer {
        var answer = json(value, status: status)
        answer.headers[.eTag] = EntityTag.revision(revision)
        if let location { answer.headers[.location] = location }
        return answer
    }

    /// Work that was started.
    static func accepted(_ value: some Encodable, job: JobID) -> Answer {
        var answer = json(value, status: .accepted)
        answer.headers[.location] = "/v1/jobs/\(job)"
        return answer
    }

    /// Nothing to say.
    static func empty(_ status: HTTPResponse.Status = .noContent, _ headers: HTTPFields = [:]) -> Answer {
        Answer(status: status, headers: headers)
    }

    /// The problem document of an error.
    static func problem(_ error: APIError, requestID: String? = nil) -> Answer {
        var answer = json(ProblemView(error), status: error.status)
        answer.headers[.contentType] = "application/problem+json"
        answer.headers[.cacheControl] = "no-store"
        for (name, value) in error.headers { answer.headers[name] = value }
        return answer
    }

    /// The response for the server.
    func response() -> Response {
        switch body {
        case .none: Response(status: status, headers: headers)
        case .bytes(let bytes):
            Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
        case .stream(let body): Response(status: status, headers: headers, body: body)
        }
    }
}

/// Entity tags (RFC 9110). All of ours are strong.
enum EntityTag {
    /// The tag of a record.
    static func revision(_ revision: Int) -> String { "\"\(revision)\"" }

    /// The revision that `If-Match` demands; nil when any will do.
    static func revision(inIfMatch field: String?) throws(APIError) -> Int? {
        guard let field, field != "*" else { return nil }
        let text = field.trimmingPrefix(while: { $0 == " " })
        guard text.first == "\"", text.last == "\"", text.count >= 3 else {
            throw APIError(
                status: .preconditionFailed, code: "precondition-failed",
                detail: "If-Match must be one ETag as it was sent, in quotes", field: "If-Match")
        }
        // A tag that is no revision of ours fits nothing.
        return Int(text.dropFirst().dropLast()) ?? -1
    }

    /// Whether a list of tags has this one. Weak tags never match strongly; `*` matches all.
    static func contains(_ field: String, _ tag: String, isWeak: Bool) -> Bool {
        if field.trimmingPrefix(while: { $0 == " " }) == "*" { return true }
        return field.split(separator: ",").contains { part in
            var candidate = part.trimmingPrefix(while: { $0 == " " })
            while candidate.last == " " { candidate.removeLast() }
            if isWeak, candidate.hasPrefix("W/") { candidate = candidate.dropFirst(2) }
            return candidate == tag
        }
    }
}
