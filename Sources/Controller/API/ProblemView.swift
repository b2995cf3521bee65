import HTTPTypes
import Operations

/// A problem document (RFC 9457) with our code and field.
struct ProblemView: Codable, Sendable {
    var type: String
    var title: String
    var status: Int
    var detail: String
    var code: String
    var field: String?
    var items: [Item]?

    struct Item: Codable, Sendable {
        var id: String
        var name: String
        var reason: String
    }

    init(_ error: APIError) {
        type = "urn:lamina:problem:" + error.code
        title = error.status.reasonPhrase
        status = error.status.code
        detail = error.detail
        code = error.code
        field = error.field
        items = error.items.isEmpty ? nil : error.items.map { Item(id: $0.id, name: $0.name, reason: $0.reason) }
    }

    init(_ error: OperationError) { self.init(APIError(error)) }

    static let schema = Schema.object(
        "Problem",
        [
            .required("type", .text, "A URN that names the kind of problem."),
            .required("title", .text, "The status in words."),
            .required("status", .integer(minimum: 100, maximum: 599), "The HTTP status."),
            .required("detail", .text, "What was wrong and what to do next."),
            .required("code", .text, "A stable code, such as image-storage-not-connected."),
            .optional("field", .text, "What of the request is to blame: a JSON pointer, or a parameter's name."),
            .optional(
                "items",
                .array(
                    .object(
                        "Obstacle",
                        [
                            .required("id", .text, "Its id."), .required("name", .text, "Its name."),
                            .required("reason", .text, "Why it stands in the way."),
                        ]), countMax: nil), "What stands in the way."),
        ])
}
