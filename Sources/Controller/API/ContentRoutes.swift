import Foundation
import HTTPTypes
import Hummingbird
import Inventory
import Model
import NIOCore
import Operations

extension HTTPField.Name {
    static let reprDigest = HTTPField.Name("Repr-Digest")!
    static let digest = HTTPField.Name("Digest")!
}

/// `/v1/images/{id}/content`: streamed as the agent reads it; nothing is staged.
enum ContentRoutes {
    private static let parameters = [
        RouteParameter(
            name: "format", schema: .values("raw", "qcow2", "vmdk"), description: "The container; raw when absent."),
        RouteParameter(name: "Range", place: .header, schema: .text, description: "One range of bytes."),
        RouteParameter(
            name: "If-Range", place: .header, schema: .text,
            description: "The ETag that the range is of; else all is sent."),
        RouteParameter(
            name: "If-None-Match", place: .header, schema: .text, description: "ETags that need not be sent again."),
    ]

    private static let headers = [
        "ETag": "Strong: changes whenever a byte does.", "Accept-Ranges": "bytes",
        "Repr-Digest": "The SHA-256 of the whole content, where it is known without reading it.",
        "Content-Disposition": "A name for the file.",
    ]

    static func all(_ environment: APIEnvironment) -> [Route] {
        [HTTPRequest.Method.get, .head].map { method in
            let description = method == .get ? "The content." : "The head that GET would have."
            return Route(
                method, "/v1/images/{id}/content",
                method == .get
                    ? "Download an image's content." : "Ask for the length and the ETag of an image's content.",
                access: .role(.viewer), parameters: parameters,
                answers: [
                    AnswerShape(
                        status: .ok, description: description, contentType: "application/octet-stream", headers: headers
                    ),
                    AnswerShape(
                        status: .partialContent, description: "One range of it.",
                        contentType: "application/octet-stream", headers: headers),
                    .empty(.notModified, "The client has it."),
                    .empty(.rangeNotSatisfiable, "No byte of it is in the range."),
                ]
            ) { request in
                let format = try format(request)
                let content = try await environment.operations.content(
                    request.id("image"), format: format, caller: request.caller)
                return try answer(content, request, isHead: method == .head)
            }
        }
    }

    private static func format(_ request: APIRequest) throws(APIError) -> ImageFormat {
        switch request.query["format"] {
        case nil, "raw": .raw
        case "qcow2": .qcow2
        case "vmdk": .vmdk
        default: throw .invalid("format", "content comes as raw, qcow2 or vmdk")
        }
    }

    private static func answer(_ content: ImageContent, _ request: APIRequest, isHead: Bool) throws(APIError) -> Answer
    {
        let tag = "\"\(content.etag)\""
        var headers = ContentHead.fields(content, tag: tag)
        if let field = request.header(.ifNoneMatch), EntityTag.contains(field, tag, isWeak: true) {
            headers[.contentType] = nil
            headers[.contentDisposition] = nil
            return .empty(.notModified, headers)
        }
        var range = ByteRange(field: request.header(.range), byteCount: content.byteCount)
        // If-Range: a tag that is not this one, or a date, asks for all of what is there now.
        if let field = request.header(.ifRange), field != tag { range = .whole }
        switch range {
        case .unsatisfiable:
            throw APIError(
                status: .rangeNotSatisfiable, code: "range-not-satisfiable",
                detail: "the content has \(content.byteCount) bytes", field: "Range",
                headers: [.contentRange: "bytes */\(content.byteCount)", .eTag: tag, .acceptRanges: "bytes"])
        case .whole:
            return stream(content, 0, content.byteCount, .ok, headers, isHead: isHead)
        case .part(let first, let count):
            headers[.contentRange] = "bytes \(first)-\(first + count - 1)/\(content.byteCount)"
            return stream(content, first, count, .partialContent, headers, isHead: isHead)
        }
    }

    private static func stream(
        _ content: ImageContent, _ offset: UInt64, _ byteCount: UInt64, _ status: HTTPResponse.Status,
        _ headers: HTTPFields, isHead: Bool
    ) -> Answer {
        var headers = headers
        headers[.contentLength] = String(byteCount)
        guard !isHead, byteCount > 0 else { return Answer(status: status, headers: headers) }
        let body = ResponseBody(contentLength: Int(byteCount)) { writer in
            let box = WriterBox(writer)
            // The agent's next piece is asked for when this one was taken: back-pressure from the client to the disk.
            try await content.read(offset: offset, byteCount: byteCount) { piece in
                try await box.writer.write(ByteBuffer(bytes: piece))
            }
            try await writer.finish(nil)
        }
        return Answer(status: status, headers: headers, body: .stream(body))
    }
}

/// Lends a body's writer to the one reader that fills it, whose calls come one after the other.
private final class WriterBox: @unchecked Sendable {
    var writer: any ResponseBodyWriter
    init(_ writer: any ResponseBodyWriter) { self.writer = writer }
}

/// The head of content.
enum ContentHead {
    static func fields(_ content: ImageContent, tag: String) -> HTTPFields {
        var headers: HTTPFields = [
            .contentType: "application/octet-stream", .eTag: tag, .acceptRanges: "bytes",
            .cacheControl: "private, no-cache", .contentDisposition: disposition(content.suggestedFileName),
        ]
        if let digest = content.digest {
            let text = Data(digest.bytes).base64EncodedString()
            headers[.reprDigest] = "sha-256=:\(text):"
            headers[.digest] = "sha-256=\(text)"
        }
        return headers
    }

    /// RFC 6266: a name in plain ASCII for old clients, and the true one in UTF-8 (RFC 8187). No character of a name can
    /// end the field or leave the folder.
    static func disposition(_ name: String) -> String {
        var plain = ""
        for scalar in name.unicodeScalars {
            let isPlain =
                scalar.isASCII
                && (Ascii.isAlphanumeric(UInt8(scalar.value)) || " ._-+()".unicodeScalars.contains(scalar))
            plain.unicodeScalars.append(isPlain ? scalar : "_")
        }
        while plain.hasPrefix(".") || plain.hasPrefix(" ") { plain.removeFirst() }
        if plain.isEmpty { plain = "image" }
        guard plain != name else { return "attachment; filename=\"\(plain)\"" }
        var encoded = ""
        for byte in name.utf8 {
            if Ascii.isAlphanumeric(byte) || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte) {
                encoded.unicodeScalars.append(UnicodeScalar(byte))
            } else {
                encoded += "%" + Hex.encode([byte]).uppercased()
            }
        }
        return "attachment; filename=\"\(plain)\"; filename*=UTF-8''\(encoded)"
    }
}
