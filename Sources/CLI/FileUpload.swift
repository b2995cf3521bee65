import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1

/// Sends a file by tus 1.0 in pieces with a checksum each, and goes on from the controller's offset after a cut.
/// The command has nothing else to do: files are read where they are needed.
struct FileUpload {
    /// Bytes of one PATCH; each is checked by its SHA-256 before it counts.
    private static let pieceByteCount: UInt64 = 32 << 20
    /// Bytes read at once.
    private static let readByteCount = 1 << 20
    /// How often a piece is tried again without getting further.
    private static let attemptCountMax = 8

    let api: APIClient
    let path: String
    let storageID: String

    /// A finished upload.
    struct Result {
        var id: String
        var digest: Digest
        var remembered: RememberedUpload
    }

    func run() async throws(CLIError) -> Result {
        let file = try SourceFile(path: path)
        var remembered = RememberedUpload(
            controller: api.profile.url, storageID: storageID, path: file.absolutePath, byteCount: file.byteCount,
            modifiedNanoseconds: file.modifiedNanoseconds, location: "")
        var offset: UInt64 = 0
        if let known = RememberedUploads.location(of: remembered), let standing = try await standing(of: known) {
            remembered.location = known
            offset = standing
            if offset > 0 { Terminal.note("Going on after \(ByteText.short(Int64(offset))) that arrived before.") }
        } else {
            remembered.location = try await create(file)
            try RememberedUploads.remember(remembered)
        }
        let digest = try await transfer(file, to: remembered.location, from: offset)
        guard try SourceFile(path: path).isSameState(as: file) else {
            throw .damaged("'\(path)' was changed while it was sent; nothing was made of it")
        }
        let id = String(remembered.location.split(separator: "/").last ?? "")
        return Result(id: id, digest: digest, remembered: remembered)
    }

    private func transfer(_ file: SourceFile, to location: String, from start: UInt64) async throws(CLIError) -> Digest
    {
        var hasher = FileHash()
        var line = ProgressLine()
        defer { line.clear() }
        var rate = Rate()
        var offset = start
        var attempts = 0
        while offset < file.byteCount {
            let count = min(FileUpload.pieceByteCount, file.byteCount - offset)
            do throws(CLIError) {
                let piece = try file.digest(offset: offset, byteCount: count)
                let reached = try await send(file, piece, offset: offset, byteCount: count, to: location)
                if reached > offset { attempts = 0 }
                offset = reached
            } catch {
                attempts += 1
                guard FileUpload.isWorthTrying(error), attempts <= FileUpload.attemptCountMax else { throw error }
                line.draw("\(error.message.prefix(60)); trying again")
                try? await Task.sleep(for: .milliseconds(250 << min(attempts, 6)))
                offset = try await standing(of: location, else: offset)
            }
            try hasher.advance(to: offset, of: file)
            rate.note(bytes: offset - start)
            line.draw(rate.line("upload", done: offset, total: file.byteCount))
        }
        try hasher.advance(to: file.byteCount, of: file)
        return hasher.digest
    }

    private static func isWorthTrying(_ error: CLIError) -> Bool {
        switch error {
        case .notReachable: true
        // 409: another offset than ours is durable; 460: the checksum differed on arrival; 5xx: later.
        case .problem(let problem): [409, 423, 429, 460, 502, 503, 504].contains(problem.status)
        default: false
        }
    }

    private func create(_ file: SourceFile) async throws(CLIError) -> String {
        var request = tusRequest(.POST, "/v1/uploads")
        request.headers.add(name: "upload-length", value: String(file.byteCount))
        let metadata = [("imageStorageId", storageID), ("filename", file.name)]
            .map { "\($0.0) \(Data($0.1.utf8).base64EncodedString())" }.joined(separator: ",")
        request.headers.add(name: "upload-metadata", value: metadata)
        let answer = try await api.answer(to: request)
        guard let location = answer.headers.first(name: "location") else {
            throw .unexpectedAnswer("the controller made an upload without saying where")
        }
        guard location.hasPrefix("/") else { return URLComponents(string: location)?.path ?? location }
        return location
    }

    /// The durable offset of an upload; nil when the controller does not know it any more.
    private func standing(of location: String) async throws(CLIError) -> UInt64? {
        do {
            let answer = try await api.answer(to: tusRequest(.HEAD, location))
            return answer.headers.first(name: "upload-offset").flatMap(UInt64.init)
        } catch {
            guard case .problem(let problem) = error, [404, 410].contains(problem.status) else { throw error }
            return nil
        }
    }

    /// The durable offset, or `fallback` while the controller, or the agent behind it, cannot be asked.
    private func standing(of location: String, else fallback: UInt64) async throws(CLIError) -> UInt64 {
        do throws(CLIError) {
            guard let offset = try await standing(of: location) else {
                throw CLIError.notFound("the upload expired or was removed; begin again")
            }
            return offset
        } catch {
            // The controller or the storage's agent is away for a moment: what asks again is bounded by the caller.
            guard FileUpload.isWorthTrying(error) else { throw error }
            return fallback
        }
    }

    private func send(
        _ file: SourceFile, _ digest: Digest, offset: UInt64, byteCount: UInt64, to location: String
    ) async throws(CLIError) -> UInt64 {
        var request = tusRequest(.PATCH, location)
        request.headers.add(name: "content-type", value: "application/offset+octet-stream")
        request.headers.add(name: "upload-offset", value: String(offset))
        request.headers.add(
            name: "upload-checksum", value: "sha256 " + Data(digest.bytes).base64EncodedString())
        let pieces = FilePieces(
            file: file, offset: offset, byteCount: byteCount, pieceByteCount: FileUpload.readByteCount)
        request.body = .stream(pieces, length: .known(Int64(byteCount)))
        let answer = try await api.answer(to: request)
        guard let reached = answer.headers.first(name: "upload-offset").flatMap(UInt64.init) else {
            throw .unexpectedAnswer("the controller did not say how much of the upload it has")
        }
        return reached
    }

    private func tusRequest(_ method: HTTPMethod, _ path: String) -> HTTPClientRequest {
        var request = api.bareRequest(method, path)
        request.headers.add(name: "tus-resumable", value: "1.0.0")
        return request
    }
}

/// The SHA-256 of a file, computed as far as it arrived.
private struct FileHash {
    private var hasher: HasherBox = HasherBox()
    private var position: UInt64 = 0

    mutating func advance(to end: UInt64, of file: SourceFile) throws(CLIError) {
        while position < end {
            let bytes = try file.read(offset: position, byteCount: Int(min(1 << 20, end - position)))
            hasher.update(bytes)
            position += UInt64(bytes.count)
        }
    }

    var digest: Digest { hasher.current() }
}

/// Keeps the hasher, which cannot be copied, in one place.
private final class HasherBox {
    private var hasher = SHA256Hasher()
    func update(_ bytes: [UInt8]) { hasher.update(bytes) }
    func current() -> Digest { hasher.current() }
}
