import Foundation

/// An upload that was begun: what file, where it goes, and the controller's name for it.
package struct RememberedUpload: Codable, Sendable, Equatable {
    /// The controller.
    package var controller: String
    /// The storage that takes it.
    package var storageID: String
    /// The file's absolute path.
    package var path: String
    /// Its size.
    package var byteCount: UInt64
    /// When it was changed last, in nanoseconds since 1970.
    package var modifiedNanoseconds: Int64
    /// The upload's path on the controller; empty until it was made.
    package var location: String

    /// Creates it from its parts.
    package init(
        controller: String, storageID: String, path: String, byteCount: UInt64, modifiedNanoseconds: Int64,
        location: String
    ) {
        self.controller = controller
        self.storageID = storageID
        self.path = path
        self.byteCount = byteCount
        self.modifiedNanoseconds = modifiedNanoseconds
        self.location = location
    }

    /// Whether both are about the same bytes going to the same place.
    package func isSameTransfer(as other: RememberedUpload) -> Bool {
        var copy = other
        copy.location = location
        return copy == self
    }
}

/// The uploads that were begun and not used yet, in the state directory.
package enum RememberedUploads {
    /// The most uploads remembered; the oldest are forgotten first.
    private static let countMax = 100

    private static var path: String { Profile.directory("XDG_STATE_HOME", below: ".local/state") + "/uploads.json" }

    /// The location of an earlier upload of the same file to the same storage.
    package static func location(of upload: RememberedUpload, in path: String? = nil) -> String? {
        all(in: path ?? self.path).first { $0.isSameTransfer(as: upload) }?.location
    }

    /// Remembers an upload.
    package static func remember(_ upload: RememberedUpload, in path: String? = nil) throws(CLIError) {
        let file = path ?? self.path
        let others = all(in: file).filter { !$0.isSameTransfer(as: upload) }
        try save(others.suffix(countMax - 1) + [upload], to: file)
    }

    /// Forgets an upload.
    package static func forget(_ upload: RememberedUpload, in path: String? = nil) throws(CLIError) {
        let file = path ?? self.path
        try save(all(in: file).filter { !$0.isSameTransfer(as: upload) }, to: file)
    }

    private static func all(in path: String) -> [RememberedUpload] {
        // A file that is missing or damaged only means that an upload begins anew.
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        return (try? JSONDecoder().decode([RememberedUpload].self, from: data)) ?? []
    }

    private static func save(_ uploads: [RememberedUpload], to path: String) throws(CLIError) {
        guard let data = try? JSONEncoder().encode(uploads) else { return }
        try PrivateFile.write(data, to: path)
    }
}
