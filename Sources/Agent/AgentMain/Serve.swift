import AgentService
import ArgumentParser
import Glibc
import Identity
import Logging
import Model
import SliceStorage
import Storage
import Synchronization
import Transport
import Wire

/// `lamina-agent serve`: the daemon.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serves an image storage until it is told to end.")

    @Option(help: "The directory of the instance, with agent.json and its keys.")
    var instance: String

    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = "info"

    /// How long running exchanges have to end, and ingests to stop.
    private static let drainMax: Duration = .seconds(20)

    func run() throws {
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("'\(logLevel)' is no log level")
        }
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        let log = Logger(label: "lamina-agent")
        // Before any thread exists, so that every thread has it.
        signal(SIGPIPE, SIG_IGN)
        let signals = Signals()
        let ended = Ended()
        let directory = instance
        Task {
            do {
                try await Serve.serve(directory, signals, log)
                ended.signal(0)
            } catch {
                log.critical("\(error)")
                ended.signal(1)
            }
        }
        let status = ended.wait()
        if status != 0 { throw ExitCode(status) }
    }

    private static func serve(_ directory: String, _ signals: Signals, _ log: Logger) async throws {
        let clock = WallClock(now: Serve.now)
        let time = MonotonicClock.continuous()
        let instance = try Instance(directory: directory)
        let (credentials, owner) = try instance.credentials(clock: clock)
        let certificate = Mutex(owner)
        let box = try CredentialBox(credentials)
        let store = try openStore(instance, clock, time)
        log.notice("store \(store.id) is open at \(instance.configuration.mountPath)")

        let service = AgentService(
            store: store, settings: try settings(instance, store),
            certificates: AgentCertificates(
                request: { () throws(AgentFailure) in
                    do { return try instance.key().request() } catch {
                        throw AgentFailure(code: .internal, detail: "\(error)")
                    }
                },
                install: { (pem, authority) throws(AgentFailure) in
                    try await instance.install(certificatePEM: pem, authorityPEM: authority, clock: clock)
                    do {
                        let (credentials, owner) = try instance.credentials(clock: clock)
                        try box.replace(credentials)
                        certificate.withLock { $0 = owner }
                    } catch { throw AgentFailure(code: .internal, detail: "\(error)") }
                }, expiresAt: { certificate.withLock { $0.expiresAt } }),
            time: time, log: log)
        let server = LinkServer(
            hello: Hello(identity: instance.identity, softwareVersion: LaminaAgent.softwareVersion), time: time
        ) { request in await service.answer(request) }
        let listener = try await SocketListener.start(
            try listening(instance), credentials: box, accepts: { $0.role == .controller },
            onRefusal: { host, error in log.info("a connection from \(host) was refused: \(error)") },
            onLink: { link in
                log.debug("connected: \(link.peer)")
                if let error = await server.serve(link) { log.debug("\(link.peer): \(error)") }
            })
        log.notice("listening on \(instance.configuration.listenAddresses), port \(listener.ports)")
        let maintenance = Task { await service.maintain() }
        for await number in signals.stream {
            guard number == SIGHUP else { break }
            do {
                let (credentials, owner) = try instance.credentials(clock: clock)
                try box.replace(credentials)
                certificate.withLock { $0 = owner }
                log.notice("the certificate was read again")
            } catch { log.error("the certificate was not read again: \(error)") }
        }
        log.notice("ending: no new connections, running exchanges finish")
        maintenance.cancel()
        await listener.stopListening()
        async let drained: Void = service.drain(max: drainMax)
        server.drain()
        await drained
        let end = time.now() + drainMax
        while server.connectionCount > 0, time.now() < end { await time.sleep(.milliseconds(20)) }
        await listener.close()
        await WorkerThreads(countMax: 1).run { store.close() }
        log.notice("ended")
    }

    private static func openStore(_ instance: Instance, _ clock: WallClock, _ time: MonotonicClock) throws
        -> SliceStore
    {
        let options = StoreOptions(
            wallClock: clock, monotonicSeconds: { UInt64(max(0, time.now().components.seconds)) },
            workerCount: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        var generator = SystemRandomNumberGenerator()
        return try instance.openStore(
            options: options, now: clock.now(), newID: StoreID(using: &generator))
    }

    private static func settings(_ instance: Instance, _ store: SliceStore) throws -> AgentSettings {
        var settings = AgentSettings(
            version: LaminaAgent.softwareVersion, mountPath: instance.configuration.mountPath.text,
            importDirectories: { () throws(AgentFailure) in try instance.importDirectories() })
        settings.deniedPorts = [instance.configuration.port]
        settings.configuration = try instance.configured()
        settings.keepConfiguration = { (bytes) throws(AgentFailure) in try instance.keepConfigured(bytes) }
        settings.degradedReason = {
            store.isDegraded
                ? "the store found damage or an error of the disk; the agent's log has the details" : nil
        }
        settings.expireSessions = { (seconds) throws(StorageError) in try store.expireSessions(idleFor: seconds) }
        settings.random = { Double.random(in: 0...1) }
        return settings
    }

    private static func listening(_ instance: Instance) throws -> SocketListener.Settings {
        let addresses = try instance.configuration.listenAddresses.map { try IPAddress(parsing: $0) }
        guard !addresses.isEmpty else { throw StartFailure("agent.json names no address to listen on") }
        return SocketListener.Settings(addresses: addresses, port: Int(instance.configuration.port))
    }

    private static func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}

/// The signals of the daemon, taken by a thread of their own.
struct Signals: Sendable {
    let stream: AsyncStream<Int32>

    private final class Start {
        let input: AsyncStream<Int32>.Continuation
        init(_ input: AsyncStream<Int32>.Continuation) { self.input = input }
    }

    /// To be made before any other thread: they all are to leave the signals to this one.
    init() {
        let input: AsyncStream<Int32>.Continuation
        (stream, input) = AsyncStream.makeStream()
        var set = Signals.set()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        var thread = pthread_t()
        let raw = Unmanaged.passRetained(Start(input)).toOpaque()
        let started = pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                let input = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue().input
                var set = Signals.set()
                var number: Int32 = 0
                while sigwait(&set, &number) == 0 { input.yield(number) }
                return nil
            }, raw)
        precondition(started == 0, "no thread for signals")
        pthread_detach(thread)
    }

    private static func set() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, number) }
        return set
    }
}

/// Lets the first thread wait for the end of the asynchronous part.
final class Ended: @unchecked Sendable {
    // A semaphore is made for several threads; `status` is written before and read after it.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private var status: Int32 = 0

    init() { sem_init(semaphore, 0, 0) }

    func signal(_ status: Int32) {
        self.status = status
        sem_post(semaphore)
    }

    func wait() -> Int32 {
        while sem_wait(semaphore) != 0 {}
        return status
    }
}
