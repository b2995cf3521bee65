import Model
import Volumes

/// Every path below a store's root, in one place. docs/formats.md, "Layout".
enum StorePaths {
    static let marker = "STORE"
    static let markerTemporary = ".STORE.tmp"
    static let blobs = "blobs"
    static let images = "images"
    static let sessions = "sessions"
    static let exports = "exports"
    static let index = "index.sqlite"
    static let reserve = "reserve"

    /// The ending of a manifest whose image was removed, until the blobs that only it needed are gone.
    static let removedSuffix = ".removed"
    /// The ending of a session's directory once it has ended, until what only it made is gone.
    static let endedSuffix = ".ended"
    /// The ending of every temporary.
    static let temporarySuffix = ".tmp"

    static func fanOut(_ number: Int) -> String { blobs + "/" + Hex.encode([UInt8(number)]) }

    static func blobDirectory(_ name: Digest) -> String { blobs + "/" + String(name.hex.prefix(2)) }
    static func blob(_ name: Digest) -> String { blobDirectory(name) + "/" + name.hex }

    static func image(_ id: ImageID) -> String { images + "/" + id.description }
    static func removedImage(_ id: ImageID, _ number: Int) -> String { image(id) + ".\(number)" + removedSuffix }
    /// Reads the name of a removed image's manifest.
    static func removedImage(parsing name: String) -> (ImageID, Int)? {
        let parts = name.dropLast(removedSuffix.utf8.count).split(separator: ".", omittingEmptySubsequences: false)
        guard name.hasSuffix(removedSuffix), parts.count == 2, let id = try? ImageID(parsing: String(parts[0])),
            let number = Int(parts[1])
        else { return nil }
        return (id, number)
    }
    static func imageTemporary(_ session: SessionID) -> String { images + "/." + session.description + temporarySuffix }
    static func updateTemporary(_ id: ImageID) -> String {
        images + "/." + id.description + ".update" + temporarySuffix
    }

    static func session(_ id: SessionID) -> String { sessions + "/" + id.description }
    static func endedSession(_ id: SessionID) -> String { session(id) + endedSuffix }
    static let journalName = "journal"
    static let stagedName = "staged"
    static let stateName = "state"
    static let notesName = "notes"
    static func blobTemporaryName(_ number: Int) -> String { ".blob-\(number)" + temporarySuffix }
    static func temporaryName(_ name: String) -> String { "." + name + temporarySuffix }
}
