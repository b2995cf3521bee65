import Model

/// What the file `STORE` says: which store this is. It is text, so that an admin can read it; its last line is the
/// SHA-256 of the lines before. docs/formats.md, "STORE".
package struct StoreMarker: Sendable, Equatable {
    /// The version of the whole layout. History: 1, the first.
    package static let formatVersion = 1
    /// The store's id.
    package var id: StoreID
    /// The file system's id (its UUID) when the store was made; empty when it was not known.
    package var fileSystem: String
    /// The version of the rules that cut slices.
    package var slicingVersion: UInt16
    /// The zstd level.
    package var compressionLevel: Int
    /// When the store was made.
    package var createdAt: Timestamp
    /// Raised by every agent that opens the store.
    package var epoch: UInt64

    /// Creates a marker.
    package init(
        id: StoreID, fileSystem: String, slicingVersion: UInt16, compressionLevel: Int, createdAt: Timestamp,
        epoch: UInt64
    ) {
        self.id = id
        self.fileSystem = fileSystem
        self.slicingVersion = slicingVersion
        self.compressionLevel = compressionLevel
        self.createdAt = createdAt
        self.epoch = epoch
    }

    private static let title = "lamina store"

    /// The bytes of the file.
    package func encoded() -> [UInt8] {
        let text = """
            \(Self.title)
            format \(Self.formatVersion)
            slicing \(slicingVersion)
            level \(compressionLevel)
            id \(id)
            file-system \(fileSystem.isEmpty ? "-" : fileSystem)
            created \(createdAt)
            epoch \(epoch)

            """
        return Array((text + "sum \(Digest.sha256(Array(text.utf8)).hex)\n").utf8)
    }

    /// Why a marker was refused.
    package enum Refusal: Error, Sendable, Equatable {
        /// It is of a later format.
        case tooNew(Int)
        /// It is no marker, or damaged; in words.
        case malformed(String)
    }

    /// Reads the file.
    package init(decoding bytes: [UInt8]) throws(Refusal) {
        guard let text = String(validating: bytes, as: UTF8.self), text.hasPrefix(Self.title + "\n") else {
            throw .malformed("it does not begin with '\(Self.title)'")
        }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 10, lines[9].isEmpty else { throw Self.lateFormat(lines) ?? .malformed("it has 9 lines") }
        func value(_ line: Int, _ key: String) throws(Refusal) -> String {
            guard lines[line].hasPrefix(key + " ") else { throw .malformed("line \(line + 1) is '\(key) …'") }
            return String(lines[line].dropFirst(key.utf8.count + 1))
        }
        if let late = Self.lateFormat(lines) { throw late }
        let body = lines[0..<8].joined(separator: "\n") + "\n"
        guard try value(8, "sum") == Digest.sha256(Array(body.utf8)).hex else {
            throw .malformed("the sum is that of the lines before")
        }
        guard let slicing = UInt16(try value(2, "slicing")), let level = Int(try value(3, "level")),
            let id = try? StoreID(parsing: try value(4, "id")),
            let createdAt = try? Timestamp(parsing: try value(6, "created")),
            let epoch = UInt64(try value(7, "epoch"))
        else { throw .malformed("its values are numbers, an id and a time") }
        let fileSystem = try value(5, "file-system")
        self.init(
            id: id, fileSystem: fileSystem == "-" ? "" : fileSystem, slicingVersion: slicing, compressionLevel: level,
            createdAt: createdAt, epoch: epoch)
    }

    // The format line keeps its place in every version, so that an older program can say what it sees.
    private static func lateFormat(_ lines: [Substring]) -> Refusal? {
        guard lines.count > 1, lines[1].hasPrefix("format "), let format = Int(lines[1].dropFirst(7)),
            format > formatVersion
        else { return nil }
        return .tooNew(format)
    }
}
