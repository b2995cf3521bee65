import DiskImage
import Fetch
import Model
import Storage
import Volumes
import Wire

extension AgentFailure {
    /// A store's error in the words of the wire.
    init(_ error: StorageError) {
        switch error {
        case .imageNotFound(let id):
            self.init(code: .imageNotFound, detail: "the storage has no image \(id)")
        case .imageExists(let id):
            self.init(code: .imageExists, detail: "the storage has another image under the id \(id)")
        case .sessionNotFound(let id):
            self.init(code: .sessionNotFound, detail: "the session \(id) has ended or expired; begin again")
        case .sessionBusy(let id):
            self.init(
                code: .sessionBusy, detail: "another request works on \(id); ask again in a moment", isRetryable: true)
        case .noSpace(let needed, let available):
            self.init(
                code: .noSpace,
                detail: "\(needed) bytes are needed and \(available) are available beside the reserved capacity; "
                    + "delete images or lower the reserved capacity, then try again: what was done is kept")
        case .checksumMismatch(let expected, let found):
            self.init(
                code: .checksumMismatch,
                detail: "the checksum given is \(expected), the file's is \(found); compare both with the source's")
        case .corrupt(let id, let detail):
            self.init(
                code: .storeCorrupt,
                detail: (id.map { "the image \($0) is damaged on the disk: " } ?? "the store is damaged: ") + detail
                    + "; check the host's disk")
        case .wrongStore(let detail):
            self.init(code: .wrongStore, detail: detail)
        case .storeInUse(let detail):
            self.init(code: .wrongStore, detail: detail + "; end the other agent first")
        case .formatTooNew(let found, let supported):
            self.init(
                code: .wrongStore,
                detail: "the store has format \(found), this agent knows up to \(supported); update the agent")
        case .source(let error): self.init(error)
        case .volume(let detail, let step):
            self.init(
                code: .storeDegraded,
                detail: "the file system failed to \(step): \(detail); check the host's disk, then try again")
        case .cancelled: self.init(code: .cancelled, detail: "it was cancelled", isRetryable: true)
        }
    }

    /// A disk image's error in the words of the wire.
    init(_ error: DiskImageError) {
        switch error {
        case .mismatch(let declared, let found):
            self.init(
                code: .imageFormatMismatch,
                detail: "the image was declared as \(declared), the file is \(found); declare its real format, or "
                    + "check the source")
        case .unsafe(let rule, let offset):
            self.init(code: .imageUnsafe, detail: "\(rule) (at byte \(offset)); convert it to a file of its own first")
        case .corrupt(let rule, let offset):
            self.init(code: .imageCorrupt, detail: "\(rule) (at byte \(offset)); check the source")
        case .unsupported(let feature, let offset):
            self.init(code: .imageUnsupported, detail: "\(feature) (at byte \(offset)); convert it first")
        case .tooLarge(let size, let limit):
            self.init(
                code: .imageTooLarge, detail: "the disk has \(size) bytes, at most \(limit) are taken")
        case .source(let detail): self.init(code: .storeDegraded, detail: "the file cannot be read: \(detail)")
        }
    }

    /// A fetch's error in the words of the wire; no secret of the URL is in it.
    init(_ error: FetchError) {
        let code: Code =
            switch error {
            case .schemeNotAllowed, .addressDenied: .sourceDenied
            case .invalidURL, .tooManyRedirects, .hostKeyNotKnown, .accessDenied, .fileNotFound, .status,
                .protocolViolation:
                .sourceRefused
            case .hostNotFound, .notConnected, .tls, .tooSlow, .interrupted: .sourceUnreachable
            case .truncated: .sourceTruncated
            case .tooLarge: .imageTooLarge
            case .receiver, .local: .internal
            case .cancelled: .cancelled
            }
        if case .receiver(let inner as StorageError) = error {
            self.init(inner)
        } else if case .receiver(let inner as AgentFailure) = error {
            self = inner
        } else {
            self.init(code: code, detail: "\(error)", isRetryable: error.isRetryable || code == .cancelled)
        }
    }
}
