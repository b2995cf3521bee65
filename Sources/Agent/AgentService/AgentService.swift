// AgentService: one handler per verb; it introduces the rooms of the agent to each other.
//
// Hides: which rooms and threads a verb needs, and what runs for whom.
// Invariants: asking a verb again is safe; an ingest goes on when its asker goes away, and stops only when it is
// abandoned or the agent ends; what an upload was told to be durable is; no blocking call runs on the cooperative pool.
// Is not: aware of sockets, of where its own files lie, or of why something is asked.
import DiskImage
import Fetch
import Logging
import Model
import Storage
import Synchronization
import Wire

/// The agent's own certificate, as the handlers need it; made by the Main.
package struct AgentCertificates: Sendable {
    /// A request for the agent's key, in PEM. May block.
    package var request: @Sendable () throws(AgentFailure) -> String
    /// Keeps and uses a new certificate and new roots.
    package var install: @Sendable (_ certificatePEM: String, _ authorityPEM: String) async throws(AgentFailure) -> Void
    /// When the present one ends.
    package var expiresAt: @Sendable () -> Timestamp?

    /// Creates it from functions.
    package init(
        request: @escaping @Sendable () throws(AgentFailure) -> String,
        install: @escaping @Sendable (String, String) async throws(AgentFailure) -> Void,
        expiresAt: @escaping @Sendable () -> Timestamp?
    ) {
        self.request = request
        self.install = install
        self.expiresAt = expiresAt
    }
}

/// What an agent is started with.
package struct AgentSettings: Sendable {
    /// The version of the software.
    package var version: String
    /// Where the store lies; files below it, but not in the store, may be taken in.
    package var mountPath: String
    /// Directories below which `hostPath` imports may lie, beside the mount path; asked at each import.
    package var importDirectories: @Sendable () throws(AgentFailure) -> [String]
    /// Networks that no URL may lead to, whatever a request says.
    package var deniedNetworks: [CIDR] = AddressPolicy.standardDeniedNetworks
    /// Ports that no URL may lead to: the agent's own.
    package var deniedPorts: Set<UInt16> = []
    /// How a fetch is tried again.
    package var fetchRetries = RetryPolicy()
    /// What was configured before, in JSON; nil when nothing was.
    package var configuration: [UInt8]?
    /// Keeps what was configured.
    package var keepConfiguration: @Sendable ([UInt8]) throws(AgentFailure) -> Void = { _ in }
    /// Nil when the store works; else what is wrong.
    package var degradedReason: @Sendable () -> String? = { nil }
    /// Ends the sessions that were idle for so many seconds; nil: by the port's own means.
    package var expireSessions: (@Sendable (UInt64) throws(StorageError) -> [SessionID])?
    /// A number from 0 to 1, at random.
    package var random: @Sendable () -> Double = { 0.5 }

    /// Creates settings.
    package init(
        version: String, mountPath: String, importDirectories: @escaping @Sendable () throws(AgentFailure) -> [String]
    ) {
        self.version = version
        self.mountPath = mountPath
        self.importDirectories = importDirectories
    }
}

/// The verbs of the agent.
package final class AgentService: Sendable {
    let store: any ImageStore
    let settings: AgentSettings
    let certificates: AgentCertificates
    let time: MonotonicClock
    let log: Logger
    /// Short calls of the store.
    let threads = WorkerThreads(countMax: ServiceLimits.shortThreadCountMax)
    /// Reading content and writing uploads.
    let bulkThreads = WorkerThreads(countMax: ServiceLimits.bulkThreadCountMax)
    let runs: IngestRuns
    let uploads: Uploads
    let contents: Contents
    private let configured: Mutex<ConfigureVerb?>
    private let draining = Mutex(false)

    /// Creates the service of an open store.
    package init(
        store: any ImageStore, settings: AgentSettings, certificates: AgentCertificates, time: MonotonicClock,
        log: Logger
    ) {
        self.store = store
        self.settings = settings
        self.certificates = certificates
        self.time = time
        self.log = log
        runs = IngestRuns(log: log)
        uploads = Uploads(store: store)
        contents = Contents(store: store)
        var before: ConfigureVerb?
        if let kept = settings.configuration {
            do throws(WireError) { before = try Messages.decode(ConfigureVerb.self, from: kept) } catch {
                log.warning("the kept configuration cannot be read; waiting for a new one: \(error)")
            }
        }
        configured = Mutex(before)
        if let before { apply(before) }
    }

    // The store does not keep what it was told: a start must not give away what the admin reserved.
    private func apply(_ before: ConfigureVerb) {
        runs.setSlicingMax(before.blobUploadConcurrency.count)
        do throws(StorageError) { try store.setReserved(bytes: before.reservedCapacityBytes) } catch {
            log.error("the reserved capacity is not in force: \(error)")
        }
    }

    /// What the admin configured last.
    var configuration: ConfigureVerb? { configured.withLock { $0 } }

    /// Whether the agent takes no new work.
    package var isDraining: Bool { draining.withLock { $0 } }

    func setConfiguration(_ verb: ConfigureVerb) {
        configured.withLock { $0 = verb }
        runs.setSlicingMax(verb.blobUploadConcurrency.count)
    }

    /// Answers a request; the handler for `LinkServer`.
    package func answer(_ request: IncomingRequest) async -> Answer {
        do throws(AgentFailure) {
            if isDraining, request.verb != StatusVerb.name {
                throw AgentFailure(
                    code: .draining, detail: "the agent is ending; ask again when it is back", isRetryable: true)
            }
            return .reply(try await dispatch(request))
        } catch {
            if error.code == .internal || error.code == .storeDegraded || error.code == .storeCorrupt {
                log.error("\(request.verb) failed: \(error)")
            } else {
                log.info("\(request.verb) refused: \(error)")
            }
            return .failure(error)
        }
    }

    private func dispatch(_ request: IncomingRequest) async throws(AgentFailure) -> [UInt8] {
        switch request.verb {
        case StatusVerb.name: try await reply(request, status(_:))
        case ConfigureVerb.name: try await reply(request, configure(_:))
        case CertificateRequestVerb.name: try await reply(request, certificateRequest(_:))
        case InstallCertificateVerb.name: try await reply(request, installCertificate(_:))
        case IngestVerb.name:
            try await reply(request) { (verb) throws(AgentFailure) in try await self.ingest(verb, request) }
        case AbandonVerb.name: try await reply(request, abandon(_:))
        case ListImagesVerb.name: try await reply(request, listImages(_:))
        case ListLooseFilesVerb.name: try await reply(request, listLooseFiles(_:))
        case UpdateImageVerb.name: try await reply(request, updateImage(_:))
        case RemoveImageVerb.name: try await reply(request, removeImage(_:))
        case ContentInfoVerb.name: try await reply(request, contentInfo(_:))
        case ReadContentVerb.name:
            try await reply(request) { (verb) throws(AgentFailure) in try await self.readContent(verb, request) }
        case CreateUploadVerb.name: try await reply(request, createUpload(_:))
        case UploadStandingVerb.name: try await reply(request, uploadStanding(_:))
        case WriteUploadVerb.name:
            try await reply(request) { (verb) throws(AgentFailure) in try await self.writeUpload(verb, request) }
        case RemoveUploadVerb.name: try await reply(request, removeUpload(_:))
        default:
            throw AgentFailure(
                code: .unknownVerb,
                detail: "this agent (\(settings.version)) has no verb '\(request.verb.prefix(64))'; update the agent")
        }
    }

    private func reply<V: AgentVerb>(
        _ request: IncomingRequest, _ handler: (V) async throws(AgentFailure) -> V.Reply
    ) async throws(AgentFailure) -> [UInt8] {
        let verb: V
        do throws(WireError) { verb = try request.arguments(of: V.self) } catch {
            throw AgentFailure(code: .badRequest, detail: "\(V.name): \(error)")
        }
        guard request.dataFollows == (V.bulk == .toAgent) else {
            throw AgentFailure(code: .badRequest, detail: "\(V.name): data follows where none should, or none does")
        }
        let answer = try await handler(verb)
        do throws(WireError) { return try Messages.encode(answer) } catch {
            throw AgentFailure(code: .internal, detail: "\(V.name): \(error)")
        }
    }

    /// Runs a call of the store on a thread of its own.
    func onThread<T: Sendable>(
        _ body: @escaping @Sendable () throws(StorageError) -> T
    ) async throws(AgentFailure) -> T {
        let result = await threads.run { () -> Result<T, StorageError> in
            do throws(StorageError) { return .success(try body()) } catch { return .failure(error) }
        }
        do throws(StorageError) { return try result.get() } catch { throw AgentFailure(error) }
    }

    /// Runs until its task is cancelled: expires idle sessions and uploads.
    package func maintain() async {
        while !Task.isCancelled {
            await expireIdle()
            await time.sleep(ServiceLimits.expiryPause)
        }
    }

    /// Abandons the sessions and uploads that were idle for longer than was configured.
    package func expireIdle() async {
        let hours = configuration?.sessionExpiryHours ?? ServiceLimits.sessionExpiryHours
        let limit = UInt64(max(1, hours)) * 3600
        let (store, runs, log, expire) = (store, runs, log, settings.expireSessions)
        await threads.run {
            do throws(StorageError) {
                if let expire {
                    for session in try expire(limit) { log.info("session \(session) was idle and ended") }
                    return
                }
                for session in try store.sessions() where session.idleSeconds >= limit && !runs.isRunning(session.id) {
                    log.info("session \(session.id) was idle for \(session.idleSeconds) s and ends")
                    try store.abandon(session.id)
                }
            } catch { log.warning("idle sessions could not be ended: \(error)") }
        }
    }

    /// Takes no new work, stops the ingests that run (they go on when they are asked for again), and returns when
    /// they have stopped, or after `max`.
    package func drain(max: Duration) async {
        draining.withLock { $0 = true }
        runs.cancelAll()
        contents.forgetAll()
        let end = time.now() + max
        while runs.runningCount > 0, time.now() < end { await time.sleep(.milliseconds(20)) }
    }
}
