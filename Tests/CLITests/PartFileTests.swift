import CLI
import Foundation
import Model
// Goal: what is in an unfinished download is what was received, and no more of it is trusted than is durable.
// Method: the file is written, dropped and opened again, as a cut does; its tag is damaged and its length changed.
import NIOHTTP1
import Testing

@Suite struct PartFileTests {
    /// A folder that goes away.
    private final class Folder {
        let url = FileManager.default.temporaryDirectory.appending(path: "lamina-part-\(UUID())")
        init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false) }
        deinit { try? FileManager.default.removeItem(at: url) }
        var target: String { url.appending(path: "image.raw").path }
        var names: [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: url.path)) ?? []).sorted()
        }
        func bytes(_ name: String = "image.raw") throws -> [UInt8] {
            Array(try Data(contentsOf: url.appending(path: name)))
        }
    }

    private static let content: [UInt8] = {
        var bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ 1) }
        // Zeros over whole blocks, over parts of them, and at the end.
        bytes.replaceSubrange(8192..<24576, with: repeatElement(0, count: 16384))
        bytes.replaceSubrange(30000..<30100, with: repeatElement(0, count: 100))
        bytes.replaceSubrange(90112..<100_000, with: repeatElement(0, count: 9888))
        return bytes
    }()

    @Test(arguments: [1, 77, 4096, 5000, 100_000])
    func contentInPieces(size: Int) throws {
        let folder = try Folder()
        var part = try PartFile(target: folder.target)
        #expect(part.byteCount == 0 && part.entityTag == nil)
        try part.begin(entityTag: "\"t\"")
        let content = size == 1 ? Array(Self.content.prefix(20_000)) : Self.content
        for start in stride(from: 0, to: content.count, by: size) {
            try part.append(content[start..<min(start + size, content.count)])
        }
        #expect(part.byteCount == content.count)
        #expect(try part.finish(byteCount: UInt64(content.count), digest: .sha256(content)))
        #expect(try folder.bytes() == content)
        #expect(folder.names == ["image.raw"])
    }

    @Test func zerosAreHoles() throws {
        let folder = try Folder()
        var part = try PartFile(target: folder.target)
        try part.begin(entityTag: "\"t\"")
        try part.append([UInt8](repeating: 0, count: 8 << 20))
        try part.append([1])
        #expect(try !part.finish(byteCount: 8 << 20 + 1, digest: nil))
        var status = stat()
        #expect(stat(folder.target, &status) == 0)
        #expect(status.st_size == 8 << 20 + 1)
        #expect(status.st_blocks * 512 < 1 << 20)
    }

    /// A second download of the same file is refused while the first one lives.
    @Test func oneWriterAtATime() throws {
        let folder = try Folder()
        let first = try PartFile(target: folder.target)
        #expect(throws: CLIError.self) { _ = try PartFile(target: folder.target) }
        #expect(first.byteCount == 0)
    }

    /// Only what was made durable is gone on from: here all, since the tag says so.
    @Test func cutIsTakenUp() throws {
        let folder = try Folder()
        let bytes = [UInt8](repeating: 7, count: 65 << 20)
        try write(bytes, folder)
        var part = try PartFile(target: folder.target)
        #expect(part.byteCount == bytes.count)
        #expect(part.entityTag == "\"t\"")
        try part.append([1, 2, 3])
        let whole = bytes + [1, 2, 3]
        #expect(try part.finish(byteCount: UInt64(whole.count), digest: .sha256(whole)))
        #expect(try folder.bytes().suffix(4) == [7, 1, 2, 3])
    }

    /// What came after the last sync may be holes after a power cut: it is not trusted.
    @Test func whatIsNotDurableIsFetchedAgain() throws {
        let folder = try Folder()
        try write([UInt8](repeating: 7, count: 1000), folder)
        #expect(folder.names == ["image.raw.part", "image.raw.part.tag"])
        let part = try PartFile(target: folder.target)
        #expect(part.byteCount == 0)
        #expect(part.entityTag == "\"t\"")
    }

    @Test func shorterFileThanItsTagSays() throws {
        let folder = try Folder()
        try write([UInt8](repeating: 7, count: 65 << 20), folder)
        #expect(truncate(folder.target + ".part", 5000) == 0)
        #expect(try PartFile(target: folder.target).byteCount == 5000)
    }

    @Test(arguments: ["", "{", "{\"entityTag\":1}", "nonsense"])
    func damagedTagBeginsAnew(tag: String) throws {
        let folder = try Folder()
        try write([UInt8](repeating: 7, count: 65 << 20), folder)
        try Data(tag.utf8).write(to: folder.url.appending(path: "image.raw.part.tag"))
        let part = try PartFile(target: folder.target)
        #expect(part.byteCount == 0 && part.entityTag == nil)
    }

    @Test func otherContentBeginsAnew() throws {
        let folder = try Folder()
        try write([UInt8](repeating: 7, count: 65 << 20), folder)
        var part = try PartFile(target: folder.target)
        try part.begin(entityTag: "\"other\"")
        try part.append([1, 2])
        #expect(try part.finish(byteCount: 2, digest: .sha256([1, 2])))
        #expect(try folder.bytes() == [1, 2])
    }

    @Test func wrongDigestIsNotGivenTheName() throws {
        let folder = try Folder()
        var part = try PartFile(target: folder.target)
        try part.begin(entityTag: "\"t\"")
        try part.append([1, 2, 3])
        do {
            _ = try part.finish(byteCount: 3, digest: .sha256([9]))
            Issue.record("it was taken")
        } catch {
            guard case .damaged = error else {
                Issue.record("\(error)")
                return
            }
        }
        // The next download begins anew.
        #expect(folder.names == ["image.raw.part"])
    }

    @Test func wrongLengthIsNotGivenTheName() throws {
        let folder = try Folder()
        var part = try PartFile(target: folder.target)
        try part.begin(entityTag: "\"t\"")
        try part.append([1, 2, 3])
        do {
            _ = try part.finish(byteCount: 4, digest: nil)
            Issue.record("it was taken")
        } catch { #expect(error.exitStatus == .failed) }
        #expect(!FileManager.default.fileExists(atPath: folder.target))
    }

    @Test func linksAreNotWrittenThrough() throws {
        let folder = try Folder()
        let victim = folder.url.appending(path: "victim").path
        try Data("keep".utf8).write(to: URL(fileURLWithPath: victim))
        #expect(symlink(victim, folder.target + ".part") == 0)
        #expect(throws: CLIError.self) { _ = try PartFile(target: folder.target) }
        #expect(try folder.bytes("victim") == Array("keep".utf8))
    }

    private func write(_ bytes: [UInt8], _ folder: Folder) throws {
        var part = try PartFile(target: folder.target)
        try part.begin(entityTag: "\"t\"")
        try part.append(bytes)
    }
}
