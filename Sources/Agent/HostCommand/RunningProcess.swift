import Glibc
import Synchronization

/// Held from the making of pipes until they are close-on-exec and the program has started, so that no program
/// inherits another's pipes. Nothing else in the agent starts programs.
private let spawning = Mutex(())

/// A program that ends before it has read everything must not take us with it.
private let ignoresBrokenPipes: Void = { signal(SIGPIPE, SIG_IGN) }()

/// A started program and our ends of its three pipes. When it goes out of scope nothing of it is left.
struct RunningProcess: ~Copyable {
    private let program: String
    private let pid: pid_t
    private let deadline: ContinuousClock.Instant
    private let outputByteCountMax: Int
    private var input: ArraySlice<UInt8>
    private var ends: Ends
    private var isReaped = false

    private struct Ends {
        var input: Int32 = -1
        var output: Int32 = -1
        var errors: Int32 = -1
    }

    init(path: String, command: HostCommand) throws(HostCommandError) {
        program = command.program
        deadline = ContinuousClock().now + command.timeout
        outputByteCountMax = command.outputByteCountMax
        input = command.input[...]
        _ = ignoresBrokenPipes
        let (pipes, started) = try spawning.withLock {
            (_) throws(HostCommandError) -> (Pipes, (pid: pid_t, error: Int32)) in
            let pipes = try Pipes(program: command.program)
            return (pipes, RunningProcess.spawn(path, [command.program] + command.arguments, pipes))
        }
        pipes.closeTheirs()
        guard started.error == 0 else {
            pipes.closeOurs()
            throw .system(program: command.program, call: "posix_spawn", errno: started.error)
        }
        pid = started.pid
        ends = Ends(input: pipes.input.write, output: pipes.output.read, errors: pipes.errors.read)
        if input.isEmpty { closeInput() }
    }

    deinit {
        for end in [ends.input, ends.output, ends.errors] where end >= 0 { close(end) }
        guard !isReaped else { return }
        // The group first, so that children of the program do not outlive it.
        kill(-pid, SIGKILL)
        kill(pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }

    /// Feeds and reads the program until it has ended.
    mutating func finish() throws(HostCommandError) -> CommandResult {
        var output: [UInt8] = []
        var errors: [UInt8] = []
        var status: Int32?
        while true {
            if status == nil { status = try reap() }
            // Once it has ended, what is in the pipes is all that counts: a daemon it left may hold them open.
            let isReady = try wait(milliseconds: status == nil ? Limits.tickMilliseconds : 0)
            if isReady {
                try feed()
                ends.output = try read(ends.output, into: &output)
                ends.errors = try read(ends.errors, into: &errors)
            } else if let status {
                return try result(status, output, errors)
            }
            if ContinuousClock().now >= deadline { throw .timeout(program: program) }
        }
    }

    private func result(_ status: Int32, _ output: [UInt8], _ errors: [UInt8]) throws(HostCommandError) -> CommandResult
    {
        let signal = status & 0x7f
        guard signal == 0 else { throw .signalled(program: program, signal: signal) }
        return CommandResult(status: status >> 8 & 0xff, output: output, errors: errors)
    }

    private mutating func reap() throws(HostCommandError) -> Int32? {
        var status: Int32 = 0
        let found = waitpid(pid, &status, WNOHANG)
        if found == pid {
            isReaped = true
            return status
        }
        if found < 0, errno != EINTR { throw .system(program: program, call: "waitpid", errno: errno) }
        return nil
    }

    // Whether any pipe has something for us.
    private func wait(milliseconds: Int32) throws(HostCommandError) -> Bool {
        var watched: [pollfd] = []
        if ends.input >= 0 { watched.append(pollfd(fd: ends.input, events: Int16(POLLOUT), revents: 0)) }
        for end in [ends.output, ends.errors] where end >= 0 {
            watched.append(pollfd(fd: end, events: Int16(POLLIN), revents: 0))
        }
        let ready = poll(&watched, nfds_t(watched.count), milliseconds)
        if ready < 0, errno != EINTR { throw .system(program: program, call: "poll", errno: errno) }
        return ready > 0
    }

    private mutating func feed() throws(HostCommandError) {
        guard ends.input >= 0 else { return }
        let sent = input.withUnsafeBytes { write(ends.input, $0.baseAddress, $0.count) }
        if sent > 0 { input = input.dropFirst(sent) }
        if sent < 0, errno != EAGAIN, errno != EINTR {
            // A program may end without having read everything: that is not an error of ours.
            guard errno == EPIPE else { throw .system(program: program, call: "write", errno: errno) }
            input = []
        }
        if input.isEmpty { closeInput() }
    }

    private mutating func closeInput() {
        close(ends.input)
        ends.input = -1
    }

    // Answers the descriptor that is left: -1 once the other side has closed.
    private func read(_ end: Int32, into collected: inout [UInt8]) throws(HostCommandError) -> Int32 {
        guard end >= 0 else { return -1 }
        let count = withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { buffer in
            let count = Glibc.read(end, buffer.baseAddress, buffer.count)
            if count > 0 { collected.append(contentsOf: buffer[..<count]) }
            return count
        }
        guard collected.count <= outputByteCountMax else { throw .outputTooLong(program: program) }
        if count == 0 {
            close(end)
            return -1
        }
        if count < 0, errno != EAGAIN, errno != EINTR {
            throw .system(program: program, call: "read", errno: errno)
        }
        return end
    }

    private static func spawn(_ path: String, _ words: [String], _ pipes: Pipes) -> (pid: pid_t, error: Int32) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // Ours are close-on-exec; these three are the only descriptors of the program.
        posix_spawn_file_actions_adddup2(&actions, pipes.input.read, 0)
        posix_spawn_file_actions_adddup2(&actions, pipes.output.write, 1)
        posix_spawn_file_actions_adddup2(&actions, pipes.errors.write, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments = words.map { strdup($0) } + [nil]
        var environment = HostCommand.environment.map { strdup($0) } + [nil]
        defer { for text in arguments + environment { free(text) } }
        var pid: pid_t = 0
        let error = posix_spawn(&pid, path, &actions, &attributes, &arguments, &environment)
        return (pid, error)
    }
}

/// The three pipes between us and a program.
private struct Pipes {
    let input: (read: Int32, write: Int32)
    let output: (read: Int32, write: Int32)
    let errors: (read: Int32, write: Int32)

    init(program: String) throws(HostCommandError) {
        input = try Pipes.open(program)
        do throws(HostCommandError) { output = try Pipes.open(program) } catch {
            Pipes.close([input.read, input.write])
            throw error
        }
        do throws(HostCommandError) { errors = try Pipes.open(program) } catch {
            Pipes.close([input.read, input.write, output.read, output.write])
            throw error
        }
        // Only our ends: the program expects its own to block.
        for end in [input.write, output.read, errors.read] {
            _ = fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK)
        }
    }

    func closeTheirs() { Pipes.close([input.read, output.write, errors.write]) }
    func closeOurs() { Pipes.close([input.write, output.read, errors.read]) }

    private static func open(_ program: String) throws(HostCommandError) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw .system(program: program, call: "pipe", errno: errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    private static func close(_ ends: [Int32]) { for end in ends { Glibc.close(end) } }
}
