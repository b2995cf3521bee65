import CLI
import Foundation
import Model
// Goal: a download ends with exactly the bytes that were meant, or says why not, whatever happens on the way.
// Method: the program against a server that cuts, changes its mind, and lies.
import NIOHTTP1
import Synchronization
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct DownloadTests {
    private static let id = "11111111-2222-4333-8444-555555555555"
    private static let content: [UInt8] = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 11) }

    private static func head(_ content: [UInt8], tag: String, digest: Digest? = nil) -> [(String, String)] {
        let text = Data((digest ?? .sha256(content)).bytes).base64EncodedString()
        return [("etag", tag), ("repr-digest", "sha-256=:\(text):")]
    }

    /// The whole content, or what the range asks for.
    private static func reply(
        _ request: ScriptedServer.Request, _ content: [UInt8] = content, tag: String = "\"t\"", digest: Digest? = nil
    ) -> ScriptedServer.Reply {
        var headers = head(content, tag: tag, digest: digest)
        guard let range = request.headers.first(name: "range"), request.headers.first(name: "if-range") == tag,
            let start = Int(range.dropFirst(6).dropLast())
        else { return .init(headers: headers, body: content) }
        guard start < content.count else {
            headers.append(("content-range", "bytes */\(content.count)"))
            return .init(status: 416, headers: headers)
        }
        headers.append(("content-range", "bytes \(start)-\(content.count - 1)/\(content.count)"))
        return .init(status: 206, headers: headers, body: Array(content[start...]))
    }

    /// Runs a download against the script of its content requests.
    private func download(
        _ more: [String] = [], file: String = "file", before: (Command) throws -> Void = { _ in },
        _ script: @escaping ScriptedServer.Script
    ) async throws -> (result: Command.Result, bytes: [UInt8]?, ranges: [String?], left: [String]) {
        let server = try await ScriptedServer { request in
            request.path.hasSuffix("/content") ? script(request) : .json("{\"id\":\"\(Self.id)\"}")
        }
        let command = try Command(server)
        defer { command.remove() }
        try before(command)
        let place = file == "-" ? "-" : command.path(file)
        let result = try await command.run(["image", "download", Self.id, "-o", place] + more)
        try await server.close()
        let bytes = FileManager.default.contents(atPath: command.path(file)).map { Array($0) }
        let left = try FileManager.default.contentsOfDirectory(atPath: command.home.path).filter {
            $0.hasPrefix("file.")
        }
        let asked = server.requests.filter { $0.path.hasSuffix("/content") }
        return (result, bytes, asked.map { $0.headers.first(name: "range") }, left.sorted())
    }

    @Test func wholeFile() async throws {
        let done = try await download(["--format", "qcow2"]) { request in
            #expect(request.uri.hasSuffix("?format=qcow2"))
            return Self.reply(request)
        }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.bytes == Self.content)
        #expect(done.result.errors.contains("its digest is right"))
        #expect(done.left.isEmpty)
    }

    @Test func cutsAreTakenUp() async throws {
        let cuts = Mutex([100_000, 50_000, 1])
        let done = try await download { request in
            var reply = Self.reply(request)
            if let count = cuts.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                reply.length = reply.body.count
                reply.body = Array(reply.body.prefix(count))
                reply.isCut = true
            }
            return reply
        }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.bytes == Self.content)
        #expect(done.ranges.count == 4)
        #expect(done.ranges.first == .some(nil))
        // Each goes on from where the one before came to.
        let starts = done.ranges.compactMap { $0?.dropFirst(6).dropLast() }.compactMap { Int($0) }
        #expect(starts == starts.sorted() && starts.allSatisfy { (1..<300_000).contains($0) })
    }

    /// Writes what an earlier run left: so many bytes, all durable.
    private static func leave(_ count: Int, tag: String = "\"t\"") -> (Command) throws -> Void {
        { command in
            try Data(content.prefix(count)).write(to: URL(fileURLWithPath: command.path("file.part")))
            let known = JSONValue.object(["entityTag": .string(tag), "durableByteCount": .integer(Int64(count))])
            try Data(known.compact.utf8).write(to: URL(fileURLWithPath: command.path("file.part.tag")))
        }
    }

    @Test func otherRunGoesOn() async throws {
        let done = try await download(before: Self.leave(100_000)) { Self.reply($0) }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.result.errors.contains("Going on after 97.7 KiB"))
        #expect(done.ranges == ["bytes=100000-"])
        #expect(done.bytes == Self.content)
        #expect(done.left.isEmpty)
    }

    @Test func otherRunHadAll() async throws {
        let done = try await download(before: Self.leave(300_000)) { Self.reply($0) }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.bytes == Self.content)
    }

    @Test func otherRunWasOfAnotherContent() async throws {
        let done = try await download(before: Self.leave(100_000, tag: "\"old\"")) { Self.reply($0) }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.bytes == Self.content)
    }

    /// What lies in the unfinished file is not what was received: the digest finds it out, and the next run is whole.
    @Test func unfinishedFileThatIsDamaged() async throws {
        let done = try await download(
            before: { command in
                try Self.leave(100_000)(command)
                try Data(repeating: 0, count: 100_000).write(to: URL(fileURLWithPath: command.path("file.part")))
            }
        ) { Self.reply($0) }
        #expect(done.result.status == CLI.ExitStatus.failed.rawValue)
        #expect(done.bytes == nil)
        #expect(done.left == ["file.part"])
    }

    @Test func imageThatChangedBeginsAnew() async throws {
        let other = [UInt8](repeating: 9, count: 1234)
        let turn = Mutex(0)
        let done = try await download { request in
            let number = turn.withLock { turn in
                turn += 1
                return turn
            }
            guard number == 1 else { return Self.reply(request, other, tag: "\"u\"") }
            var reply = Self.reply(request)
            reply.length = reply.body.count
            reply.body = Array(reply.body.prefix(200_000))
            reply.isCut = true
            return reply
        }
        #expect(done.result.status == 0, "\(done.result.errors)")
        #expect(done.bytes == other)
    }

    @Test func wrongBytesAreNotTaken() async throws {
        let done = try await download { Self.reply($0, digest: .sha256([1])) }
        #expect(done.result.status == CLI.ExitStatus.failed.rawValue)
        #expect(done.result.errors.contains("digest"))
        #expect(done.bytes == nil)
        #expect(done.left == ["file.part"])
    }

    @Test func contentWithoutATag() async throws {
        let done = try await download { _ in .init(headers: [], body: [1, 2, 3]) }
        #expect(done.result.status == CLI.ExitStatus.failed.rawValue)
        #expect(done.bytes == nil)
    }

    @Test func refusalIsTold() async throws {
        let done = try await download { _ in .problem(409, "image-not-ready") }
        #expect(done.result.status == CLI.ExitStatus.failed.rawValue)
        #expect(done.result.errors.contains("image-not-ready"))
        #expect(done.ranges.count == 1)
    }

    @Test func fileThatExistsStays() async throws {
        func write(_ command: Command) throws {
            try Data("old".utf8).write(to: URL(fileURLWithPath: command.path("file")))
        }
        let refused = try await download(before: write) { Self.reply($0) }
        #expect(refused.result.status == CLI.ExitStatus.wrongUsage.rawValue)
        #expect(refused.bytes == Array("old".utf8))
        #expect(refused.ranges.isEmpty)
        let replaced = try await download(["--replace"], before: write) { Self.reply($0) }
        #expect(replaced.result.status == 0)
        #expect(replaced.bytes == Self.content)
    }

    @Test func standardOutput() async throws {
        let text = Array("hello\n".utf8)
        let done = try await download(file: "-") { Self.reply($0, text) }
        #expect(done.result.status == 0)
        #expect(done.result.output == "hello\n")
        let wrong = try await download(file: "-") { Self.reply($0, text, digest: .sha256([1])) }
        #expect(wrong.result.status == CLI.ExitStatus.failed.rawValue)
    }
}
