import HTTPTypes
import Hummingbird
import Inventory

/// One thing that the API answers. The router and the OpenAPI document are both made of these.
package struct Route: Sendable {
    /// Who may ask.
    package enum Access: Sendable, Equatable {
        /// Anybody.
        case open
        /// A caller with this role or a stronger one.
        case role(Role)
    }

    /// The method.
    package let method: HTTPRequest.Method
    /// The path, with parameters in braces.
    package let path: String
    /// One sentence.
    package let summary: String
    /// Who may ask.
    package let access: Access
    /// The body of the request.
    let body: RequestBodyShape
    /// Query parameters and header fields.
    let parameters: [RouteParameter]
    /// What comes back when all is well.
    let answers: [AnswerShape]
    /// A secret in the answer, which is not kept for a repeated idempotency key.
    let secretMember: String?
    /// Does it.
    let handler: @Sendable (APIRequest) async throws -> Answer

    init(
        _ method: HTTPRequest.Method, _ path: String, _ summary: String, access: Access,
        body: RequestBodyShape = .none, parameters: [RouteParameter] = [], answers: [AnswerShape],
        secretMember: String? = nil, handler: @escaping @Sendable (APIRequest) async throws -> Answer
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.access = access
        self.body = body
        self.parameters = parameters
        self.answers = answers
        self.secretMember = secretMember
        self.handler = handler
    }
}

/// What a request may bring.
enum RequestBodyShape: Sendable {
    case none
    case json(Schema)
    /// A JSON merge patch (RFC 7396).
    case mergePatch(Schema)
    /// Bytes that are passed on as they come.
    case stream(contentType: String)
}

/// A query parameter or a header field.
struct RouteParameter: Sendable {
    enum Place: String, Sendable { case query, header }
    var name: String
    var place: Place = .query
    var schema: Schema
    var description: String
    var isRequired = false

    static let ifMatch = RouteParameter(
        name: "If-Match", place: .header, schema: .text, description: "The ETag that the resource must still have.")
}

/// An answer that may come.
struct AnswerShape: Sendable {
    var status: HTTPResponse.Status
    var description: String
    var contentType = "application/json"
    /// Nil: no body, or one that is not JSON.
    var schema: Schema?
    var headers: [String: String] = [:]

    /// A JSON answer.
    static func json(_ status: HTTPResponse.Status, _ description: String, _ schema: Schema) -> AnswerShape {
        AnswerShape(status: status, description: description, schema: schema)
    }

    /// An answer without a body.
    static func empty(_ status: HTTPResponse.Status, _ description: String) -> AnswerShape {
        AnswerShape(status: status, description: description, contentType: "")
    }

    /// A resource with its ETag.
    static func resource(_ status: HTTPResponse.Status, _ schema: Schema) -> AnswerShape {
        AnswerShape(
            status: status, description: status == .created ? "It was made." : "As it is now.", schema: schema,
            headers: ["ETag": "Its revision, for If-Match."])
    }

    /// Work that was started.
    static func accepted(_ schema: Schema) -> AnswerShape {
        AnswerShape(
            status: .accepted, description: "The work was started; the job tells how it goes.", schema: schema,
            headers: ["Location": "The job."])
    }
}
