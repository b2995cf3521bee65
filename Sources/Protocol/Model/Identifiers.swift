/// A UUID that knows what it names: an `ID<ImageKind>` cannot be passed where a storage's is wanted.
/// Written in lower case, as the API does.
package struct ID<Kind>: Hashable, Sendable, Comparable {
    private let high: UInt64
    private let low: UInt64

    /// Creates a version 4 UUID from 128 random bits. The randomness is the caller's, so that tests can choose it.
    package init(random: (UInt64, UInt64)) {
        high = random.0 & 0xffff_ffff_ffff_0fff | 0x4000
        low = random.1 & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000
    }

    /// Creates a version 4 UUID from a generator.
    package init(using generator: inout some RandomNumberGenerator) {
        self.init(random: (generator.next(), generator.next()))
    }

    /// Creates an identifier from its 16 bytes; `nil` for any other count.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Reads the usual form with four dashes; upper case is accepted.
    package init(parsing text: String) throws(InvalidValue) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12], let bytes = Hex.decode(parts.joined()) else {
            throw InvalidValue("an id is a UUID, such as 01234567-89ab-4cde-8f01-23456789abcd")
        }
        self.init(bytes: bytes)!
    }

    /// The 16 bytes, most significant first.
    package var bytes: [UInt8] {
        (0..<16).map { index in
            let word = index < 8 ? high : low
            return UInt8(truncatingIfNeeded: word >> (56 - 8 * (index % 8)))
        }
    }

    /// Orders identifiers as their bytes.
    package static func < (a: ID<Kind>, b: ID<Kind>) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

extension ID: CustomStringConvertible {
    /// The usual lower-case form.
    package var description: String {
        let hex = Hex.encode(bytes)
        var out = ""
        for (index, digit) in hex.enumerated() {
            if [8, 12, 16, 20].contains(index) { out.append("-") }
            out.append(digit)
        }
        return out
    }
}

extension ID: Codable {
    /// Reads the usual form.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do { try self.init(parsing: text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes the usual form.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// What an `ImageID` names.
package enum ImageKind {}
/// What an `ImageStorageID` names.
package enum ImageStorageKind {}
/// What a `StoreID` names.
package enum StoreKind {}
/// What a `DataCenterID` names.
package enum DataCenterKind {}
/// What a `JobID` names.
package enum JobKind {}
/// What a `SessionID` names.
package enum SessionKind {}
/// What an `UploadID` names.
package enum UploadKind {}
/// What a `UserID` names.
package enum UserKind {}
/// What a `TokenID` names.
package enum TokenKind {}

/// An image, the same on every storage that keeps it under this id.
package typealias ImageID = ID<ImageKind>
/// An image storage as the controller knows it.
package typealias ImageStorageID = ID<ImageStorageKind>
/// The store on a disk, written in its `STORE` marker; it survives moving the disk to another host.
package typealias StoreID = ID<StoreKind>
/// A data center.
package typealias DataCenterID = ID<DataCenterKind>
/// A job: one durable run of an operation.
package typealias JobID = ID<JobKind>
/// An ingest session in a store; the job's id is used, so that asking again finds it.
package typealias SessionID = ID<SessionKind>
/// An upload (tus).
package typealias UploadID = ID<UploadKind>
/// An account.
package typealias UserID = ID<UserKind>
/// A log-in session's or API token's record.
package typealias TokenID = ID<TokenKind>
