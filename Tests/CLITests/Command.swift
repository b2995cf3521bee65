import Foundation
import Synchronization

/// The `lamina` program, run with a home of the test's own.
struct Command: Sendable {
    /// What a run left behind.
    struct Result: Sendable {
        var status: Int32
        var output: String
        var errors: String
    }

    let home: URL
    var environment: [String: String] = [:]

    /// Makes an empty home; `remove` takes it away.
    init() throws {
        home = FileManager.default.temporaryDirectory.appending(path: "lamina-cli-\(UUID())")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: false)
    }

    /// One for a server that is known and logged in to.
    init(_ server: ScriptedServer) throws {
        try self.init()
        environment = ["LAMINA_URL": server.url, "LAMINA_TOKEN": "lamina_test"]
    }

    func remove() { try? FileManager.default.removeItem(at: home) }

    /// A file in the home.
    func path(_ name: String) -> String { home.appending(path: name).path }

    /// Runs it with nothing on standard input and no terminal anywhere.
    func run(_ words: [String], input: String = "") async throws -> Result {
        let process = Process()
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        process.executableURL = program.appending(path: "lamina")
        process.arguments = words
        process.environment = [
            "HOME": home.path, "XDG_CONFIG_HOME": path("config"), "XDG_STATE_HOME": path("state"),
            "PATH": "/usr/bin:/bin",
        ].merging(environment) { $1 }
        let unique = UUID().uuidString
        let (given, said, complained) = (path("in-\(unique)"), path("out-\(unique)"), path("err-\(unique)"))
        try Data(input.utf8).write(to: URL(fileURLWithPath: given))
        for file in [said, complained] { try Data().write(to: URL(fileURLWithPath: file)) }
        process.standardInput = FileHandle(forReadingAtPath: given)
        process.standardOutput = FileHandle(forWritingAtPath: said)
        process.standardError = FileHandle(forWritingAtPath: complained)
        let status = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        return Result(
            status: status, output: try String(contentsOfFile: said, encoding: .utf8),
            errors: try String(contentsOfFile: complained, encoding: .utf8))
    }
}
