import AgentLink
import AgentService
import Fetch
import Glibc
import LinkTestSupport
import Logging
import Model
import SliceStorage
import Storage
import Synchronization
import Testing
import Transport
import Wire

/// A host with a store in a directory of its own, an agent on the loopback, and a controller's calls to it.
final class TestHost: Sendable {
    /// What lives between a start and an end of the agent.
    private struct Running: Sendable {
        var store: SliceStore
        var service: AgentService
        var server: LinkServer
        var listener: SocketListener
        var calls: AgentConnections
        var address: AgentAddress
    }

    let directory: String
    private let authority: TestAuthority
    private let allowsLoopback: Bool
    /// Running time of the host, which a test may advance.
    let seconds = Mutex<UInt64>(1000)
    let configured = Mutex<[UInt8]?>(nil)
    private let running: Mutex<Running>

    var imports: String { directory + "/imports" }
    var mount: String { directory + "/mount" }
    var calls: AgentConnections { running.withLock { $0.calls } }
    var address: AgentAddress { running.withLock { $0.address } }
    var service: AgentService { running.withLock { $0.service } }
    var server: LinkServer { running.withLock { $0.server } }
    var listener: SocketListener { running.withLock { $0.listener } }
    var store: SliceStore { running.withLock { $0.store } }

    init(allowsLoopback: Bool = true) async throws {
        var template = Array("/tmp/lamina-service-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestTrouble("mkdtemp") }
        let made = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        directory = made
        self.allowsLoopback = allowsLoopback
        mkdir(made + "/mount", 0o755)
        mkdir(made + "/imports", 0o755)
        try SliceStore.format(
            mountPath: made + "/mount", id: StoreID(random: (1, 2)), fileSystem: "", at: TestAuthority.now)
        authority = try TestAuthority()
        let first = try await TestHost.start(
            made, authority, seconds: { 1000 }, allowsLoopback: allowsLoopback, configured: nil, keep: { _ in })
        running = Mutex(first)
        // The first one knew neither this object's clock nor its configuration.
        try await restart()
    }

    private static func start(
        _ directory: String, _ authority: TestAuthority, seconds: @escaping @Sendable () -> UInt64,
        allowsLoopback: Bool, configured: [UInt8]?, keep: @escaping @Sendable ([UInt8]) -> Void
    ) async throws -> Running {
        let store = try SliceStore.open(
            mountPath: directory + "/mount", expecting: StoreID(random: (1, 2)), fileSystem: nil,
            options: StoreOptions(
                wallClock: WallClock { TestAuthority.now }, monotonicSeconds: seconds, workerCount: 2,
                frameCacheBytes: 8 << 20))
        var settings = AgentSettings(
            version: "test", mountPath: directory + "/mount",
            importDirectories: { [directory] in [directory + "/imports"] })
        if allowsLoopback { settings.deniedNetworks = [] }
        settings.fetchRetries = RetryPolicy(failureCountMax: 3, pauseFirst: .milliseconds(1))
        settings.configuration = configured
        settings.keepConfiguration = keep
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let service = AgentService(
            store: store, settings: settings,
            certificates: AgentCertificates(
                request: { () throws(AgentFailure) in "request" },
                install: { (pem, _) throws(AgentFailure) in
                    if pem != "good" { throw AgentFailure(code: .badRequest, detail: "no") }
                }, expiresAt: { TestAuthority.now }),
            time: .continuous(), log: quiet)
        let id = ImageStorageID(random: (4, 4))
        let server = LinkServer(
            hello: Hello(identity: .agent(of: id), softwareVersion: "test"), time: .continuous()
        ) { await service.answer($0) }
        let listener = try await authority.listen(as: .agent(of: id)) { link in _ = await server.serve(link) }
        let box = try CredentialBox(try authority.credentials(TestAuthority.controller))
        let calls = AgentConnections(
            dialer: SocketDialer(credentials: box),
            hello: Hello(identity: TestAuthority.controller, softwareVersion: "test"), time: .continuous(), log: quiet)
        return Running(
            store: store, service: service, server: server, listener: listener, calls: calls,
            address: AgentAddress(identity: id, host: "127.0.0.1", port: listener.ports[0]))
    }

    /// Ends the agent as a signal would, and starts it again on the same store.
    func restart() async throws {
        await stop()
        let next = try await TestHost.start(
            directory, authority, seconds: { [unowned self] in self.seconds.withLock { $0 } },
            allowsLoopback: allowsLoopback, configured: configured.withLock { $0 },
            keep: { [unowned self] bytes in self.configured.withLock { $0 = bytes } })
        running.withLock { $0 = next }
    }

    private func stop() async {
        let now = running.withLock { $0 }
        await now.calls.close()
        await now.service.drain(max: .seconds(20))
        now.server.drain()
        await now.listener.close()
        await WorkerThreads(countMax: 1).run { now.store.close() }
    }

    func end() async {
        await stop()
        TestHost.removeTree(directory)
    }

    // MARK: Files

    func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = fopen(path, "w") else { throw TestTrouble("fopen \(path)") }
        defer { fclose(file) }
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw TestTrouble("fwrite \(path)") }
    }

    private static func removeTree(_ path: String) {
        guard let stream = opendir(path) else {
            unlink(path)
            return
        }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { removeTree(path + "/" + name) }
        }
        closedir(stream)
        rmdir(path)
    }

    // MARK: Calls

    /// The error of a call.
    func failure(_ body: () async throws -> Void) async -> AgentFailure.Code? {
        do {
            try await body()
            return nil
        } catch {
            if case .failed(let failure) = error as? AgentLinkError { return failure.code }
            Issue.record("\(error)")
            return nil
        }
    }

    func ingest(_ verb: IngestVerb, onProgress: @escaping @Sendable (VerbProgress) -> Void = { _ in })
        async throws -> IngestVerb.Reply
    {
        try await calls.call(verb, to: address, silenceMax: .seconds(20), onProgress: onProgress)
    }

    /// The content of an image, or a range of it.
    func content(_ id: ImageID, _ format: ImageFormat, _ range: Range<UInt64>? = nil) async throws -> [UInt8] {
        let info = try await calls.call(ContentInfoVerb(id: id, format: format), to: address)
        let range = range ?? 0..<info.byteCount
        let bytes = Mutex<[UInt8]>([])
        let verb = ReadContentVerb(
            id: id, format: format, offset: range.lowerBound, byteCount: UInt64(range.count))
        _ = try await calls.receive(verb, from: address) { piece in
            #expect(!piece.isEmpty && piece.count <= WireLimits.dataByteCountMax)
            bytes.withLock { $0 += piece }
        }
        return bytes.withLock { $0 }
    }

    /// Sends bytes into an upload; `cutAfter`: the sender fails after so many pieces.
    func upload(
        _ id: UploadID, _ bytes: [UInt8], at offset: Int = 0, checksum: Digest? = nil, cutAfter: Int? = nil
    ) async throws -> UploadStanding {
        let place = Mutex((next: offset, pieces: 0))
        return try await calls.send(
            WriteUploadVerb(id: id, offset: UInt64(offset), checksum: checksum), to: address
        ) {
            try place.withLock { place in
                if let cutAfter, place.pieces == cutAfter { throw TestTrouble("cut") }
                guard place.next < bytes.count else { return nil }
                let end = min(bytes.count, place.next + 1 << 20)
                defer { place = (end, place.pieces + 1) }
                return Array(bytes[place.next..<end])
            }
        }
    }

    /// What an admin would declare.
    static func declaration(_ number: UInt64, _ format: ImageFormat = .raw, _ type: ImageType = .disk)
        -> ImageDeclaration
    {
        ImageDeclaration(
            id: ImageID(random: (number, 7)), name: "image \(number)", description: "", type: type, format: format,
            createdAt: TestAuthority.now)
    }

    /// A disk with data, holes and repetition.
    static func disk(_ megabytes: Int, seed: UInt64 = 1) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        var bytes = [UInt8](repeating: 0, count: megabytes << 20)
        for megabyte in 0..<megabytes where megabyte % 3 != 1 {
            for place in stride(from: megabyte << 20, to: (megabyte + 1) << 20, by: 8) {
                let word = random.next()
                for byte in 0..<8 { bytes[place + byte] = UInt8(truncatingIfNeeded: word >> (8 * UInt64(byte))) }
            }
        }
        // No bytes of the test may look like a file format.
        bytes.replaceSubrange(0..<512, with: [UInt8](repeating: 0x11, count: 512))
        return bytes
    }
}

/// Something in the test itself went wrong.
struct TestTrouble: Error {
    let words: String
    init(_ words: String) { self.words = words }
}
