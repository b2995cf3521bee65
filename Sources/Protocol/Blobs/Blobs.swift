// Blobs: slices to blob bytes and back.
//
// Hides: the layout of a blob file, and that frames are zstd.
// Invariants: whatever the bytes say, reading is bounded and every refusal names its offset; a slice is only handed
// out after its SHA-256 was compared.
// Is not: aware of files, of images or of which slices a store has.
import Compression
import Model

/// Why a blob or a slice in it is refused.
package enum BlobError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The bytes are no blob, or not this one.
    case malformed(MalformedBytes)
    /// A frame does not decode. `position` is its offset in the blob.
    case frameCorrupt(position: UInt64, CompressionError)
    /// The bytes of a slice are not what its name says.
    case sliceCorrupt(expected: Digest, found: Digest)

    /// What was found.
    package var description: String {
        switch self {
        case .malformed(let error): "the blob is malformed: \(error)"
        case .frameCorrupt(let position, let error): "the frame at byte \(position) does not decode: \(error)"
        case .sliceCorrupt(let expected, let found): "slice \(expected.hex) has become \(found.hex)"
        }
    }
}

/// The fixed parts of a blob file: a header, frames, a directory, a trailer. docs/formats.md, "Blob".
package enum BlobFormat {
    /// The version of the layout. History: 1, the first.
    package static let version: UInt16 = 1
    /// The length of the header.
    package static let headerByteCount = 16
    /// The length of the trailer.
    package static let trailerByteCount = 72
    private static let headerMagic = Array("LAMIBLOB".utf8)

    /// The first 16 bytes of a blob.
    package static func header() -> [UInt8] {
        var out = ByteWriter(capacity: headerByteCount)
        out.raw(headerMagic)
        out.u16(version)
        out.raw([UInt8](repeating: 0, count: 6))
        return out.bytes
    }

    /// Checks the first 16 bytes of a blob.
    package static func check(header: [UInt8]) throws(BlobError) {
        guard header.count == headerByteCount, header.prefix(8).elementsEqual(headerMagic) else {
            throw .malformed(MalformedBytes("a blob begins with its magic", at: 0))
        }
        guard header[8...].elementsEqual(Self.header()[8...]) else {
            throw .malformed(MalformedBytes("the blob's version is \(version)", at: 8))
        }
    }
}

/// The last 72 bytes of a blob file: where the directory is, who wrote the file.
package struct BlobTrailer: Hashable, Sendable {
    /// The offset of the directory.
    package var directoryPosition: UInt64
    /// Its length.
    package var directoryByteCount: UInt32
    /// The epoch of the store that wrote this file. It does not enter the name: a blob keeps it when it moves.
    package var epoch: UInt64
    /// The SHA-256 of the directory: the blob's name.
    package var name: Digest

    private static let magic = Array("BLOB-END".utf8)

    /// Creates a trailer.
    package init(directoryPosition: UInt64, directoryByteCount: UInt32, epoch: UInt64, name: Digest) {
        self.directoryPosition = directoryPosition
        self.directoryByteCount = directoryByteCount
        self.epoch = epoch
        self.name = name
    }

    /// The bytes.
    package func encoded() -> [UInt8] {
        var out = ByteWriter(capacity: BlobFormat.trailerByteCount)
        out.u64(directoryPosition)
        out.u32(directoryByteCount)
        out.u32(0)
        out.u64(epoch)
        out.digest(name)
        out.raw(Digest.sha256(out.bytes).bytes.prefix(8))
        out.raw(Self.magic)
        return out.bytes
    }

    /// Reads the last 72 bytes of a blob of `blobByteCount` bytes.
    package init(decoding bytes: [UInt8], blobByteCount: UInt64) throws(BlobError) {
        let base = Int(clamping: blobByteCount) - BlobFormat.trailerByteCount
        guard base >= BlobFormat.headerByteCount, bytes.count == BlobFormat.trailerByteCount,
            bytes.suffix(8).elementsEqual(Self.magic)
        else { throw .malformed(MalformedBytes("a blob ends with its trailer", at: max(0, base))) }
        guard Digest.sha256(Array(bytes.prefix(56))).bytes.prefix(8).elementsEqual(bytes[56..<64]) else {
            throw .malformed(MalformedBytes("the checksum is that of the trailer", at: base + 56))
        }
        let result: Result<BlobTrailer, MalformedBytes> = bytes.withUnsafeBytes { raw in
            do throws(MalformedBytes) {
                var reader = ByteReader(raw, base: base)
                let position = try reader.u64()
                let count = try reader.u32()
                guard try reader.u32() == 0 else { throw reader.malformed("the reserved bytes are zero") }
                let epoch = try reader.u64()
                return .success(
                    BlobTrailer(
                        directoryPosition: position, directoryByteCount: count, epoch: epoch,
                        name: try reader.digest()))
            } catch { return .failure(error) }
        }
        do throws(MalformedBytes) { self = try result.get() } catch { throw .malformed(error) }
        guard Int(directoryByteCount) <= BlobLimits.directoryByteCountMax,
            blobByteCount <= BlobLimits.blobByteCountMax, directoryPosition <= blobByteCount,
            directoryPosition + UInt64(directoryByteCount) + UInt64(BlobFormat.trailerByteCount) == blobByteCount
        else { throw .malformed(MalformedBytes("the directory lies right before the trailer", at: base)) }
    }

    /// Checks the directory's bytes against the name, and reads them.
    package func directory(decoding bytes: [UInt8]) throws(BlobError) -> BlobDirectory {
        guard Digest.sha256(bytes) == name else {
            throw .malformed(
                MalformedBytes("the directory has the digest that names the blob", at: Int(directoryPosition)))
        }
        do throws(MalformedBytes) {
            return try BlobDirectory(decoding: bytes, position: directoryPosition)
        } catch { throw .malformed(error) }
    }
}
