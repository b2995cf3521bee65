// The one file in which failures get their HTTP status.
import HTTPTypes
import Inventory
import Operations

extension HTTPResponse.Status {
    /// tus 1.0: the checksum of the received bytes differs.
    static let checksumMismatch = HTTPResponse.Status(code: 460, reasonPhrase: "Checksum Mismatch")
    static let locked = HTTPResponse.Status(code: 423, reasonPhrase: "Locked")
    static let insufficientStorage = HTTPResponse.Status(code: 507, reasonPhrase: "Insufficient Storage")
}

extension APIError {
    /// The answer to an operation that was not done.
    init(_ error: OperationError) {
        self.init(
            status: APIError.status(of: error), code: error.code, detail: error.detail, field: error.field,
            items: error.items)
        switch error {
        case .unauthenticated: headers = APIError.unauthenticated.headers
        case .tooManyAttempts(let seconds): headers = [.retryAfter: String(seconds)]
        case .internal:
            // What went wrong inside is for the log, not for the one who asked.
            detail = "the controller failed; its log has the reason under this request's id"
        default: break
        }
    }

    /// The status of an error.
    private static func status(of error: OperationError) -> HTTPResponse.Status {
        switch error {
        case .invalid: .unprocessableContent
        case .notFound: .notFound
        case .conflict(let code, _, _): status(ofCode: code) ?? .conflict
        case .forbidden: .forbidden
        case .preconditionFailed: .preconditionFailed
        case .unauthenticated: .unauthorized
        case .tooManyAttempts: .tooManyRequests
        case .host(let code, _): status(ofHostCode: code)
        case .agent(let code, _): status(ofCode: code) ?? .badGateway
        case .storageNotConnected, .storageDisabled: .conflict
        case .limit: .tooManyRequests
        case .internal: .internalServerError
        }
    }

    /// Codes that mean the same wherever they come from.
    private static func status(ofCode code: String) -> HTTPResponse.Status? {
        switch code {
        case "image-not-found", "upload-not-found", "session-not-found": .notFound
        case "checksum-mismatch": .checksumMismatch
        case "upload-busy", "session-busy": .locked
        case "upload-offset-mismatch", "upload-incomplete", "image-exists", "image-not-ready": .conflict
        case "image-storage-full": .insufficientStorage
        case "image-format-mismatch", "image-unsafe", "image-unsupported", "image-too-large", "image-corrupt",
            "host-path-refused", "source-denied", "source-refused":
            .unprocessableContent
        case "agent-draining", "store-degraded": .serviceUnavailable
        default: nil
        }
    }

    /// What is wrong with a host: with the way to it, with its identity, or with what was asked of it.
    private static func status(ofHostCode code: String) -> HTTPResponse.Status {
        switch code {
        case "host-unknown", "host-unreachable", "host-timeout", "host-disconnected", "host-bad-answer",
            "ssh-port-closed",
            "not-ssh":
            .badGateway
        case "ssh-host-key-changed": .conflict
        default: .unprocessableContent
        }
    }

    /// The answer when the inventory itself was asked.
    init(_ error: InventoryError) {
        switch error {
        case .badQuery(let field, let detail): self = .invalid(field, detail)
        case .notFound(let kind, let id): self.init(OperationError.notFound(kind: kind, id: id))
        case .stale: self.init(OperationError.preconditionFailed)
        case .notUnique, .database, .newerSchema, .secrets:
            self.init(OperationError.internal(detail: error.description))
        }
    }
}
