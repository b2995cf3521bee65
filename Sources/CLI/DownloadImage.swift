import ArgumentParser
import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1

struct DownloadImage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "download", abstract: "Write an image's content to a file.",
        discussion: """
            Until it is complete the content is in FILE.part; the same command goes on from there, and begins anew when \
            the image has changed. Blocks of zeros become holes.
            """)

    /// The containers that content comes in.
    enum Container: String, ExpressibleByArgument, CaseIterable { case raw, qcow2, vmdk }

    @Argument(help: "The image's name or id.") var image: String
    @Option(help: "The container to write.") var format: Container = .raw
    @Option(
        name: [.customShort("o"), .customLong("output-file")], help: "The file; '-' is standard output.",
        completion: .file())
    var file: String
    @Flag(help: "Replace FILE when it exists.") var replace = false
    @Option(name: .customLong("storage"), help: "The image storage, where names are not unique.") var storage: String?
    @OptionGroup var global: DownloadOptions

    func run() async throws {
        guard file == "-" || replace || !FileManager.default.fileExists(atPath: file) else {
            throw CLIError.usage("'\(file)' exists; add --replace to replace it")
        }
        try await global.global.withAPI { api in
            var filter: String?
            if let storage { filter = try await api.id(.storage, storage) }
            let id = try await api.id(.image, image, filters: [("imageStorageId", filter)])
            let download = ContentDownload(
                api: api, path: Noun.image.path(id, "content"), query: [("format", format.rawValue)])
            if file == "-" {
                try await download.toStandardOutput()
            } else {
                let result = try await download.toFile(file)
                let check = result.isVerified ? "its digest is right" : "the controller gave no digest to compare"
                Terminal.note("Wrote \(ByteText.short(Int64(result.byteCount))) to '\(file)'; \(check).")
            }
        }
    }
}

/// `-o` is the file here, so that the format of results has only its long name.
struct DownloadOptions: ParsableArguments {
    @Option(name: .customLong("controller"), help: "The controller, instead of the one logged in to (or LAMINA_URL).")
    var controller: String?

    @Option(name: .customLong("ca"), help: "A PEM file with the controller's certificate authority (or LAMINA_CA).")
    var authorityFile: String?

    var global: GlobalOptions {
        var options = GlobalOptions()
        options.output = .table
        options.controller = controller
        options.authorityFile = authorityFile
        return options
    }
}

/// One download of content, resumed after cuts.
struct ContentDownload {
    /// How often the download is taken up again without getting further.
    private static let attemptCountMax = 8

    let api: APIClient
    let path: String
    let query: [(String, String)]

    /// What was written.
    struct Result {
        var byteCount: UInt64
        var isVerified: Bool
    }

    /// What the head of an answer says of the whole content.
    private struct Head {
        var entityTag: String
        var byteCount: UInt64
        var digest: Digest?
    }

    /// Writes the content to `file` by way of `file.part`.
    func toFile(_ file: String) async throws(CLIError) -> Result {
        var part = try PartFile(target: file)
        var line = ProgressLine()
        defer { line.clear() }
        var rate = Rate()
        let start = part.byteCount
        if start > 0 { Terminal.note("Going on after \(ByteText.short(Int64(start))) in '\(file).part'.") }
        var attempts = 0
        while true {
            let before = part.byteCount
            do throws(CLIError) {
                let head = try await fetch(into: &part) { done, total in
                    rate.note(bytes: done - min(done, start))
                    line.draw(rate.line("download", done: done, total: total))
                }
                line.clear()
                let isVerified = try part.finish(byteCount: head.byteCount, digest: head.digest)
                return Result(byteCount: head.byteCount, isVerified: isVerified)
            } catch {
                if part.byteCount > before { attempts = 0 }
                attempts += 1
                guard ContentDownload.isWorthTrying(error), attempts <= ContentDownload.attemptCountMax else {
                    throw error
                }
                line.draw("the connection was cut; trying again")
                try? await Task.sleep(for: .milliseconds(250 << min(attempts, 6)))
            }
        }
    }

    private static func isWorthTrying(_ error: CLIError) -> Bool {
        switch error {
        case .notReachable: true
        case .problem(let problem): [429, 502, 503, 504].contains(problem.status)
        default: false
        }
    }

    /// Asks for what is missing and appends it. A changed image answers 200 and begins anew.
    private func fetch(
        into part: inout PartFile, onProgress: (UInt64, UInt64) -> Void
    ) async throws(CLIError) -> Head {
        var request = api.bareRequest(.GET, path, query: query)
        if part.byteCount > 0, let tag = part.entityTag {
            request.headers.add(name: "range", value: "bytes=\(part.byteCount)-")
            request.headers.add(name: "if-range", value: tag)
        }
        let response = try await api.execute(request, timeout: .hours(24 * 7))
        if response.status.code == 416, let head = try completeHead(response, part) { return head }
        guard response.status.code == 200 || response.status.code == 206 else { try await api.refuse(response) }
        let head = try self.head(of: response, from: part.byteCount)
        if response.status.code == 200 { try part.begin(entityTag: head.entityTag) }
        do {
            for try await piece in response.body {
                try part.append(piece.readableBytesView)
                onProgress(part.byteCount, head.byteCount)
            }
        } catch let error as CLIError {
            throw error
        } catch {
            throw APIClient.unreachable(api.profile.url, error)
        }
        guard part.byteCount == head.byteCount else {
            throw .notReachable("the content ended after \(part.byteCount) of \(head.byteCount) bytes")
        }
        return head
    }

    /// A range that begins at the very end means that all had arrived before the last cut.
    private func completeHead(_ response: HTTPClientResponse, _ part: borrowing PartFile) throws(CLIError) -> Head? {
        guard
            let total = response.headers.first(name: "content-range")?.split(separator: "/").last.flatMap({ UInt64($0) }
            ),
            total == part.byteCount, let tag = response.headers.first(name: "etag"), tag == part.entityTag
        else { return nil }
        return Head(entityTag: tag, byteCount: total, digest: ContentDigestField.sha256(in: response.headers))
    }

    private func head(of response: HTTPClientResponse, from offset: UInt64) throws(CLIError) -> Head {
        guard let tag = response.headers.first(name: "etag") else {
            throw .unexpectedAnswer("the content came without an ETag")
        }
        let digest = ContentDigestField.sha256(in: response.headers)
        if response.status.code == 200 {
            guard let count = response.headers.first(name: "content-length").flatMap(UInt64.init) else {
                throw .unexpectedAnswer("the content came without its length")
            }
            return Head(entityTag: tag, byteCount: count, digest: digest)
        }
        guard let range = response.headers.first(name: "content-range"),
            range.hasPrefix("bytes \(offset)-"), let total = range.split(separator: "/").last.flatMap({ UInt64($0) })
        else { throw .unexpectedAnswer("the controller sent another range than was asked for") }
        return Head(entityTag: tag, byteCount: total, digest: digest)
    }

    /// Streams the content to standard output.
    func toStandardOutput() async throws(CLIError) {
        let response = try await api.execute(api.bareRequest(.GET, path, query: query), timeout: .hours(24 * 7))
        guard response.status.code == 200 else { try await api.refuse(response) }
        let head = try head(of: response, from: 0)
        var hasher = SHA256Hasher()
        var count: UInt64 = 0
        do {
            for try await piece in response.body {
                let bytes = Array(piece.readableBytesView)
                hasher.update(bytes)
                count += UInt64(bytes.count)
                try FileHandle.standardOutput.write(contentsOf: bytes)
            }
        } catch {
            throw APIClient.unreachable(api.profile.url, error)
        }
        guard count == head.byteCount else { throw .damaged("the content was cut after \(count) bytes") }
        if let digest = head.digest, digest != hasher.current() { throw .damaged("the content's digest is wrong") }
    }
}

/// The header field with the digest of the whole content. Source: RFC 9530, `Repr-Digest`.
package enum ContentDigestField {
    /// The SHA-256 in `Repr-Digest: sha-256=:BASE64:`; nil when there is none.
    package static func sha256(in headers: HTTPHeaders) -> Digest? {
        for field in headers["repr-digest"] {
            for entry in field.split(separator: ",") {
                let text = entry.trimmingCharacters(in: .whitespaces)
                guard text.hasPrefix("sha-256=:"), text.hasSuffix(":") else { continue }
                guard let bytes = Data(base64Encoded: String(text.dropFirst(9).dropLast())) else { continue }
                return Digest(bytes: Array(bytes))
            }
        }
        return nil
    }
}
