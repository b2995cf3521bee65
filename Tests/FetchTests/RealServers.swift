// Real servers on loopback for the tests: nginx (nginx-light), vsftpd, sshd (openssh-server). Each runs with a
// configuration of its own in a directory of its own, and is ended by its process id.
import Foundation
import Testing

/// A directory that is removed with the value that holds it.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = "/tmp/fetch-tests-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path + "/files", withIntermediateDirectories: true)
        chmod(path, 0o755)
        chmod(path + "/files", 0o755)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        chmod(path + "/" + name, mode)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
    }
}

/// A process that is ended with the value that holds it. Started by the system's own call: Foundation's `Process` takes
/// a daemon that closes its inherited files for one that ended, and then waits for it in front of everybody else.
final class Daemon: Sendable {
    private let id: pid_t

    init(_ program: String, _ arguments: [String], port: UInt16, log: String) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The threads of the test pool block signals, and a child would inherit that.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var started: pid_t = 0
        try #require(posix_spawn(&started, program, &actions, &attributes, &words, environ) == 0, "\(program) starts")
        id = started
        let deadline = ContinuousClock.now + .seconds(20)
        while !Loopback.accepts(port) {
            let said = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            var status: Int32 = 0
            let isRunning = waitpid(started, &status, WNOHANG) == 0
            try #require(isRunning && ContinuousClock.now < deadline, "\(program) serves: \(said)")
            poll(nil, 0, 10)
        }
    }

    deinit {
        kill(id, SIGTERM)
        var status: Int32 = 0
        waitpid(id, &status, 0)
    }
}

func run(_ program: String, _ arguments: String...) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(program) \(arguments)")
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
}

func isInstalled(_ program: String) -> Bool { FileManager.default.isExecutableFile(atPath: program) }

/// nginx with a directory of files, by http and by https with a certificate of its own.
struct Nginx {
    static let program = "/usr/sbin/nginx"
    let scratch: Scratch
    let port: UInt16
    let tlsPort: UInt16
    private let daemon: Daemon

    init() throws {
        scratch = try Scratch()
        let path = scratch.path
        port = try Loopback.freePort()
        tlsPort = try Loopback.freePort()
        _ = try run(
            "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", path + "/key.pem", "-out", path + "/cert.pem", "-days", "2", "-subj", "/CN=lamina-test",
            "-addext",
            "subjectAltName=IP:127.0.0.1")
        try scratch.write(
            "nginx.conf",
            """
            daemon off; master_process off; pid \(path)/pid; error_log stderr;
            events {}
            http {
              access_log off;
              client_body_temp_path \(path)/t1; proxy_temp_path \(path)/t2; fastcgi_temp_path \(path)/t3;
              uwsgi_temp_path \(path)/t4; scgi_temp_path \(path)/t5;
              server {
                listen 127.0.0.1:\(port);
                listen 127.0.0.1:\(tlsPort) ssl;
                ssl_certificate \(path)/cert.pem; ssl_certificate_key \(path)/key.pem;
                root \(path)/files;
                location /locked { return 403; }
                location /asks { add_header WWW-Authenticate Basic always; return 401; }
                location /busy { add_header Retry-After 7 always; return 503; }
                location /moved { return 302 /image; }
                location /downgrade { return 302 http://127.0.0.1:\(port)/image; }
              }
            }
            """)
        daemon = try Daemon(Self.program, ["-e", "stderr", "-c", path + "/nginx.conf"], port: port, log: path + "/log")
    }
}

/// vsftpd for anonymous users.
struct Vsftpd {
    static let program = "/usr/sbin/vsftpd"
    let scratch: Scratch
    let port: UInt16
    private let daemon: Daemon

    init() throws {
        scratch = try Scratch()
        port = try Loopback.freePort()
        try FileManager.default.createDirectory(atPath: scratch.path + "/empty", withIntermediateDirectories: false)
        try scratch.write(
            "vsftpd.conf",
            """
            listen=YES
            listen_address=127.0.0.1
            listen_port=\(port)
            background=NO
            anonymous_enable=YES
            local_enable=NO
            no_anon_password=YES
            anon_root=\(scratch.path)/files
            secure_chroot_dir=\(scratch.path)/empty
            seccomp_sandbox=NO
            """)
        daemon = try Daemon(Self.program, [scratch.path + "/vsftpd.conf"], port: port, log: scratch.path + "/log")
    }
}

/// sshd in a mount namespace where a user `keeper` with the password `open sesame` exists: nothing of the machine changes.
struct Sshd {
    static let program = "/usr/sbin/sshd"
    let scratch: Scratch
    let port: UInt16
    private let daemon: Daemon

    init() throws {
        scratch = try Scratch()
        let path = scratch.path
        port = try Loopback.freePort()
        for kind in ["ed25519", "ecdsa"] {
            _ = try run("/usr/bin/ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path + "/" + kind)
        }
        let hash = try run("/usr/bin/openssl", "passwd", "-6", "open sesame")
        let users = try String(contentsOfFile: "/etc/passwd", encoding: .utf8)
        let secrets = try String(contentsOfFile: "/etc/shadow", encoding: .utf8)
        try scratch.write("passwd", users + "keeper:x:1999:65534::\(path)/files:/bin/sh\n")
        try scratch.write("shadow", secrets + "keeper:\(hash):19000:0:99999:7:::\n", mode: 0o600)
        try scratch.write(
            "sshd_config",
            """
            Port \(port)
            ListenAddress 127.0.0.1
            HostKey \(path)/ed25519
            HostKey \(path)/ecdsa
            PidFile none
            UsePAM no
            PasswordAuthentication yes
            Subsystem sftp internal-sftp
            """)
        let script = """
            mount --bind \(path)/passwd /etc/passwd && mount --bind \(path)/shadow /etc/shadow && \
            mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \(Self.program) -D -e -f \(path)/sshd_config
            """
        daemon = try Daemon(
            "/usr/bin/unshare", ["-m", "--propagation", "private", "/bin/sh", "-c", script], port: port,
            log: path + "/log")
    }

    /// The fingerprint of a host key, as ssh-keygen tells it.
    func fingerprint(_ kind: String) throws -> String {
        String(try run("/usr/bin/ssh-keygen", "-l", "-f", scratch.path + "/\(kind).pub").split(separator: " ")[1])
    }
}
