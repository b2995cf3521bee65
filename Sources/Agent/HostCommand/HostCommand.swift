// HostCommand: runs a program of the host with arguments and tells exactly what came of it.
//
// Hides: posix_spawn, pipes, process groups.
// Invariants: no shell; programs are found only in a fixed list of directories; the environment is fixed; every run
// ends within its time limit, and what is left of its process group is killed with it; output is bounded.
// Is not: for long-lived processes. It blocks: never call it on the cooperative pool.
import Glibc

/// Why a program did not do what it was asked to.
package enum HostCommandError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It is in none of the directories of programs.
    case notFound(program: String)
    /// A system call of starting or feeding it failed.
    case system(program: String, call: String, errno: Int32)
    /// It ran longer than it may and was killed.
    case timeout(program: String)
    /// It printed more than it may and was killed.
    case outputTooLong(program: String)
    /// It was killed by a signal.
    case signalled(program: String, signal: Int32)
    /// It ended with a status that means failure.
    case failed(program: String, status: Int32, message: String)

    /// The program, and what became of it.
    package var description: String {
        switch self {
        case .notFound(let program): "the program '\(program)' is not on this host"
        case .system(let program, let call, let number): "\(program): \(call): error \(number)"
        case .timeout(let program): "\(program) took too long and was stopped"
        case .outputTooLong(let program): "\(program) printed too much and was stopped"
        case .signalled(let program, let signal): "\(program) was killed by signal \(signal)"
        case .failed(let program, let status, let message): "\(program) failed with status \(status): \(message)"
        }
    }
}

/// What a program that ended by itself left behind.
package struct CommandResult: Hashable, Sendable {
    /// Its exit status.
    package let status: Int32
    /// What it printed.
    package let output: [UInt8]
    /// What it complained of.
    package let errors: [UInt8]

    /// The output as text; bytes that are no UTF-8 are replaced.
    package var text: String { String(decoding: output, as: UTF8.self) }
    /// The complaints on one line.
    package var message: String {
        let lines = String(decoding: errors, as: UTF8.self).split(whereSeparator: \.isNewline)
        return String(lines.joined(separator: "; ").prefix(Limits.messageCharacterCountMax))
    }
}

/// A program with its arguments, ready to run.
package struct HostCommand: Sendable {
    /// The program's name, or an absolute path.
    package let program: String
    /// Its arguments, without its own name.
    package let arguments: [String]
    /// What it reads on standard input.
    package let input: [UInt8]
    /// How long it may take.
    package let timeout: Duration
    /// How many bytes it may print on each of standard output and standard error.
    package let outputByteCountMax: Int

    /// Where programs are looked for, in this order.
    package static let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
    /// The whole environment of a program.
    static let environment = ["LC_ALL=C", "LANG=C", "PATH=" + directories.joined(separator: ":")]

    /// Describes a run; nothing happens before `run`.
    package init(
        _ program: String, _ arguments: [String], input: [UInt8] = [], timeout: Duration = Limits.timeout,
        outputByteCountMax: Int = Limits.outputByteCountMax
    ) {
        self.program = program
        self.arguments = arguments
        self.input = input
        self.timeout = timeout
        self.outputByteCountMax = outputByteCountMax
    }

    /// Where a program is; nil when the host does not have it.
    package static func locate(_ program: String) -> String? {
        if program.hasPrefix("/") { return access(program, X_OK) == 0 ? program : nil }
        return directories.map { $0 + "/" + program }.first { access($0, X_OK) == 0 }
    }

    /// Runs the program and waits for its end. Any exit status is a result.
    package func run() throws(HostCommandError) -> CommandResult {
        guard let path = HostCommand.locate(program) else { throw .notFound(program: program) }
        var process = try RunningProcess(path: path, command: self)
        return try process.finish()
    }

    /// Runs the program; a status outside `accepting` is an error with what it complained of.
    @discardableResult
    package func succeed(accepting: Set<Int32> = [0]) throws(HostCommandError) -> CommandResult {
        let result = try run()
        guard accepting.contains(result.status) else {
            throw .failed(program: program, status: result.status, message: result.message)
        }
        return result
    }
}
