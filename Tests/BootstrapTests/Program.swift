import Foundation
import Synchronization

struct ProgramFailed: Error, CustomStringConvertible {
    let description: String
}

/// Programs that a test runs. Not Foundation's `Process`: it waits until everything that the program left running is gone
/// as well, and a lab host stays.
enum Program {
    /// The longest that one may take.
    static let secondsMax = 60

    /// Runs a program; its output is the answer, any failure an error, a program that takes too long as well.
    @discardableResult
    static func run(
        _ path: String, _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> String {
        let folder = FileManager.default.temporaryDirectory.appending(path: "lamina-program-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        let (given, said, complained) = (
            folder.appending(path: "in"), folder.appending(path: "out"), folder.appending(path: "err")
        )
        try Data(input.utf8).write(to: given)
        // Files, not pipes: whoever keeps them open, nobody waits for their end.
        let process = try spawn(
            ["/usr/bin/timeout", "--kill-after=5", String(secondsMax), path] + arguments, environment,
            [(given.path, O_RDONLY), (said.path, O_WRONLY | O_CREAT), (complained.path, O_WRONLY | O_CREAT)])
        let (output, errors) = (try FileHandle(forReadingFrom: said), try FileHandle(forReadingFrom: complained))
        // Whatever happens to this process now, nothing of it lies about.
        try FileManager.default.removeItem(at: folder)
        let status = try wait(process)
        guard status == 0 else {
            let words = String(decoding: try errors.readToEnd() ?? Data(), as: UTF8.self)
            throw ProgramFailed(
                description: status == 124
                    ? "\(path) \(arguments): not done after \(secondsMax) s: \(words)"
                    : "\(path) \(arguments): status \(status): \(words)")
        }
        return String(decoding: try output.readToEnd() ?? Data(), as: UTF8.self)
    }

    /// Held while descriptors are made that no program may inherit, and while one is started.
    fileprivate static let spawning = Mutex(())

    /// Starts a program in a process group of its own with these files as its descriptors from 0 on, and no others.
    fileprivate static func spawn(
        _ words: [String], _ environment: [String: String], _ files: [(path: String, flags: Int32)],
        input: Int32? = nil
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
        for (index, file) in files.enumerated() {
            posix_spawn_file_actions_addopen(
                &actions, Int32(index) + (input == nil ? 0 : 1), file.path, file.flags, 0o600)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var process = pid_t()
        let failure = spawning.withLock { _ in
            for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
                if let number = Int32(name), number > 2 { posix_spawn_file_actions_addclose(&actions, number) }
            }
            return withStrings(words) { words in
                withStrings(all.map { "\($0.key)=\($0.value)" }) { environment in
                    posix_spawn(&process, words[0]!, &actions, &attributes, words, environment)
                }
            }
        }
        guard failure == 0 else {
            throw ProgramFailed(description: "\(words[0]): \(String(cString: strerror(failure)))")
        }
        return process
    }

    private static func withStrings<T>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> T
    ) -> T {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return body(copies + [nil])
    }

    fileprivate static func wait(_ process: pid_t) throws -> Int32 {
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 {
            guard errno == EINTR else { throw ProgramFailed(description: "waitpid: \(errno)") }
        }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
    }
}

/// Runs a shell command when this process ends, however it ends, or earlier when told to.
final class LastWill: Sendable {
    private let state: Mutex<(process: pid_t, pipe: Int32)?>

    /// Prepares it; `words` are its `$1`, `$2` ...
    init(_ command: String, _ words: [String], environment: [String: String] = [:]) throws {
        var ends: [Int32] = [0, 0]
        let made = Program.spawning.withLock { _ in
            pipe(&ends) == 0 && ends.allSatisfy { fcntl($0, F_SETFD, FD_CLOEXEC) == 0 }
        }
        guard made else { throw ProgramFailed(description: "pipe: \(errno)") }
        defer { close(ends[0]) }
        // Its input ends when nobody holds the other end of the pipe any more: this process does alone.
        let process = try Program.spawn(
            ["/bin/bash", "-c", "cat >/dev/null; \(command)", "last-will"] + words, environment,
            [("/dev/null", O_WRONLY), ("/dev/null", O_WRONLY)], input: ends[0])
        state = Mutex((process, ends[1]))
    }

    /// Runs it now and waits for its end.
    /// - Returns: its exit status; 0 when it ran before.
    @discardableResult
    func execute() throws -> Int32 {
        let taken = state.withLock { state in
            defer { state = nil }
            return state
        }
        guard let taken else { return 0 }
        close(taken.pipe)
        return try Program.wait(taken.process)
    }
}
