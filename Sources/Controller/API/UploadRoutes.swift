import HTTPTypes
import Hummingbird
import Inventory
import Model
import NIOCore
import Operations

/// `/v1/uploads`: tus 1.0.0 with creation, expiration, checksum and termination. Bytes go to the agent as they come.
enum UploadRoutes {
    private static let contentType = "application/offset+octet-stream"
    private static let resumable = RouteParameter(
        name: "Tus-Resumable", place: .header, schema: .values(TusHeaders.version),
        description: "The version of tus.", isRequired: true)

    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .options, "/v1/uploads", "Ask what of tus is offered.", access: .open,
                answers: [.empty(.noContent, "The versions and extensions of tus.")]
            ) { _ in .empty(.noContent, capabilities) },
            creation(operations),
            Route(
                .head, "/v1/uploads/{id}", "Ask how much of an upload is durable.", access: .role(.operator),
                parameters: [resumable],
                answers: [
                    AnswerShape(
                        status: .ok, description: "How it stands.", contentType: "",
                        headers: ["Upload-Offset": "Durable bytes.", "Upload-Length": "All bytes."])
                ]
            ) { request in
                try needVersion(request)
                let upload = try await operations.upload(try request.id("upload"), caller: request.caller)
                var headers = standing(upload)
                headers[.uploadLength] = String(upload.byteCount)
                headers[.cacheControl] = "no-store"
                return .empty(.ok, headers)
            },
            Route(
                .patch, "/v1/uploads/{id}", "Send bytes from the durable offset on.", access: .role(.operator),
                body: .stream(contentType: contentType),
                parameters: [
                    resumable,
                    RouteParameter(
                        name: "Upload-Offset", place: .header, schema: .byteCount,
                        description: "Must be the durable offset.", isRequired: true),
                    RouteParameter(
                        name: "Upload-Checksum", place: .header, schema: .text,
                        description: "sha256 and the base64 digest of this request's bytes."),
                ],
                answers: [
                    AnswerShape(
                        status: .noContent, description: "They are durable.", contentType: "",
                        headers: ["Upload-Offset": "Durable bytes."])
                ]
            ) { request in try await write(request, operations) },
            Route(
                .delete, "/v1/uploads/{id}", "Throw an upload away.", access: .role(.operator), parameters: [resumable],
                answers: [.empty(.noContent, "It is gone.")]
            ) { request in try await remove(request, operations) },
            Route(
                .post, "/v1/uploads/{id}",
                "For clients that cannot send PATCH or DELETE: X-HTTP-Method-Override names the method.",
                access: .role(.operator), body: .stream(contentType: contentType),
                parameters: [
                    resumable,
                    RouteParameter(
                        name: "X-HTTP-Method-Override", place: .header, schema: .values("PATCH", "DELETE"),
                        description: "The method.", isRequired: true),
                ],
                answers: [.empty(.noContent, "As the method itself.")]
            ) { request in
                switch request.header(.methodOverride) {
                case "PATCH": try await write(request, operations)
                case "DELETE": try await remove(request, operations)
                default: throw APIError.methodNotAllowed("DELETE, HEAD, PATCH")
                }
            },
        ]
    }

    private static func creation(_ operations: Operations) -> Route {
        Route(
            .post, "/v1/uploads", "Begin an upload.", access: .role(.operator),
            parameters: [
                resumable,
                RouteParameter(
                    name: "Upload-Length", place: .header, schema: .byteCount, description: "The file's length.",
                    isRequired: true),
                RouteParameter(
                    name: "Upload-Metadata", place: .header, schema: .text,
                    description: "Must have imageStorageId; filename is kept. Values are base64.", isRequired: true),
            ],
            answers: [
                AnswerShape(
                    status: .created, description: "It was begun.", contentType: "",
                    headers: ["Location": "Where to send it.", "Upload-Expires": "When it is thrown away."])
            ]
        ) { request in
            try needVersion(request)
            guard request.header(.uploadDeferLength) == nil else {
                throw TusHeaders.malformed(.uploadDeferLength, "an upload says its length when it begins")
            }
            let length = try TusHeaders.byteCount(request.header(.uploadLength), .uploadLength)
            guard length <= Limits.uploadByteCountMax else {
                throw APIError(
                    status: .contentTooLarge, code: "upload-too-large",
                    detail: "an upload has at most \(Limits.uploadByteCountMax) bytes", field: "Upload-Length")
            }
            let metadata = try TusHeaders.metadata(request.header(.uploadMetadata))
            guard let text = metadata["imageStorageId"], let storage = try? ImageStorageID(parsing: text) else {
                throw TusHeaders.malformed(
                    .uploadMetadata, "Upload-Metadata must have imageStorageId: the storage's id in base64")
            }
            let made = try await operations.createUpload(
                imageStorageID: storage, byteCount: length, fileName: metadata["filename"], caller: request.caller)
            var headers = standing(made)
            headers[.location] = "/v1/uploads/\(made.id)"
            return .empty(.created, headers)
        }
    }

    private static func write(_ request: APIRequest, _ operations: Operations) async throws -> Answer {
        try needVersion(request)
        guard request.header(.contentType) == contentType else {
            throw APIError(
                status: .unsupportedMediaType, code: "unsupported-media-type", detail: "send '\(contentType)'",
                headers: [.tusResumable: TusHeaders.version])
        }
        let offset = try TusHeaders.byteCount(request.header(.uploadOffset), .uploadOffset)
        let checksum = try TusHeaders.checksum(request.header(.uploadChecksum))
        let pieces = BodyPieces(request.http.body)
        let upload = try await operations.writeUpload(
            try request.id("upload"), offset: offset, checksum: checksum, caller: request.caller,
            nextPiece: { try await pieces.next() })
        return .empty(.noContent, standing(upload))
    }

    private static func remove(_ request: APIRequest, _ operations: Operations) async throws -> Answer {
        try needVersion(request)
        try await operations.deleteUpload(try request.id("upload"), caller: request.caller)
        return .empty(.noContent, [.tusResumable: TusHeaders.version])
    }

    private static func needVersion(_ request: APIRequest) throws(APIError) {
        guard request.header(.tusResumable) == TusHeaders.version else {
            throw APIError(
                status: .preconditionFailed, code: "tus-version", detail: "send 'Tus-Resumable: \(TusHeaders.version)'",
                field: "Tus-Resumable", headers: [.tusVersion: TusHeaders.version])
        }
    }

    private static func standing(_ upload: UploadRecord) -> HTTPFields {
        [
            .tusResumable: TusHeaders.version, .uploadOffset: String(upload.durableByteCount),
            .uploadExpires: TusHeaders.date(upload.expiresAt),
        ]
    }

    private static let capabilities: HTTPFields = [
        .tusResumable: TusHeaders.version, .tusVersion: TusHeaders.version,
        .tusExtension: "creation,expiration,checksum,termination", .tusMaxSize: String(Limits.uploadByteCountMax),
        .tusChecksumAlgorithm: "sha256",
    ]
}

/// A request's body in pieces that are worth a change of thread. Asked by one reader, one call after the other; the next
/// bytes are taken from the connection only when they are asked for.
final class BodyPieces: @unchecked Sendable {
    private var iterator: RequestBody.AsyncIterator
    private var rest: [UInt8] = []
    private var failure: (any Error)?
    private var hasEnded = false

    init(_ body: RequestBody) { iterator = body.makeAsyncIterator() }

    /// The next piece; nil at the end. What came before a cut is still handed on.
    func next() async throws -> [UInt8]? {
        if rest.isEmpty, let failure { throw failure }
        while !hasEnded, failure == nil, rest.count < Limits.uploadPieceByteCountMin {
            do {
                guard let buffer = try await iterator.next() else {
                    hasEnded = true
                    break
                }
                rest += buffer.readableBytesView
            } catch {
                failure = error
                if rest.isEmpty { throw error }
            }
        }
        guard !rest.isEmpty else { return nil }
        if rest.count <= Limits.uploadPieceByteCountMax {
            defer { rest = [] }
            return rest
        }
        let piece = Array(rest.prefix(Limits.uploadPieceByteCountMax))
        rest.removeFirst(piece.count)
        return piece
    }
}
