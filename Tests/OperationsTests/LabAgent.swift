import AgentService
import Fetch
import Identity
import Logging
import Model
import SliceStorage
import Storage
import Synchronization
import Transport
import Wire

/// What an agent of the laboratory is started with: what a host keeps of an instance.
struct LabInstance: Sendable {
    var storage: ImageStorageID
    /// The directory of the host that stands for the mount path.
    var directory: String
    var importDirectories: [String]
    var key: KeyPair
    var port: Int
    var certificatePEM: String?
    var authorityPEM: String?
    var configuration: [UInt8]?
    var agent: LabAgent?
}

/// A real agent in this process: a slice store in a directory, behind TLS on the loopback.
final class LabAgent: Sendable {
    private let store: SliceStore
    private let service: AgentService
    private let server: LinkServer
    private let listener: SocketListener

    private init(_ store: SliceStore, _ service: AgentService, _ server: LinkServer, _ listener: SocketListener) {
        self.store = store
        self.service = service
        self.server = server
        self.listener = listener
    }

    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static func start(
        _ instance: LabInstance, clock: WallClock, keep: @escaping @Sendable ([UInt8]) -> Void,
        renewed: @escaping @Sendable (_ certificatePEM: String) -> Void
    ) async throws -> LabAgent {
        guard let certificate = instance.certificatePEM, let authority = instance.authorityPEM else {
            throw LabTrouble("the instance has no certificate")
        }
        let store = try SliceStore.open(
            mountPath: instance.directory, expecting: nil, fileSystem: nil,
            options: StoreOptions(
                wallClock: clock, monotonicSeconds: { 1000 }, workerCount: 2, frameCacheBytes: 4 << 20))
        var settings = AgentSettings(
            version: "1.0-lab", mountPath: instance.directory,
            importDirectories: { () throws(AgentFailure) in instance.importDirectories })
        settings.deniedNetworks = []
        settings.fetchRetries = RetryPolicy(failureCountMax: 2, pauseFirst: .milliseconds(1))
        settings.configuration = instance.configuration
        settings.keepConfiguration = { (bytes) throws(AgentFailure) in keep(bytes) }
        func credentials(_ pem: String) throws -> Credentials {
            let verifier = try PeerVerifier(rootsPEM: authority, clock: clock)
            return Credentials(certificatePEM: pem, keyPEM: instance.key.pem, authorityPEM: authority) { chain in
                try await verifier.verify(chain: chain).identity
            }
        }
        let key = instance.key
        let expiresAt = Mutex(try CertificateFile.owner(of: certificate).expiresAt)
        let service = AgentService(
            store: store, settings: settings,
            certificates: AgentCertificates(
                request: { () throws(AgentFailure) in
                    do throws(IdentityError) { return try key.request() } catch {
                        throw AgentFailure(code: .internal, detail: "\(error)")
                    }
                },
                install: { (pem, _) throws(AgentFailure) in
                    do throws(IdentityError) {
                        guard try CertificateFile.isKey(key, of: pem) else {
                            throw IdentityError.failed("not for this key")
                        }
                        let owner = try CertificateFile.owner(of: pem)
                        expiresAt.withLock { $0 = owner.expiresAt }
                    } catch { throw AgentFailure(code: .badRequest, detail: "\(error)") }
                    renewed(pem)
                }, expiresAt: { expiresAt.withLock { $0 } }),
            time: .continuous(), log: quiet)
        let server = LinkServer(
            hello: Hello(identity: .agent(of: instance.storage), softwareVersion: "1.0-lab"), time: .continuous()
        ) { await service.answer($0) }
        do {
            let listener = try await SocketListener.start(
                SocketListener.Settings(addresses: [IPAddress(parsing: "127.0.0.1")], port: instance.port),
                credentials: try CredentialBox(try credentials(certificate)), accepts: { $0.role == .controller },
                onRefusal: { _, _ in }, onLink: { link in _ = await server.serve(link) })
            return LabAgent(store, service, server, listener)
        } catch {
            store.close()
            throw error
        }
    }

    /// Ends as at a signal: runs are let go of and go on at the next start.
    func stop() async {
        await service.drain(max: .seconds(20))
        server.drain()
        await listener.close()
        let store = store
        await WorkerThreads(countMax: 1).run { store.close() }
    }

    /// What the store itself has, whatever the inventory says.
    func images() throws -> [ImageFacts] { try store.images() }

    /// Sessions that were neither committed nor abandoned.
    func sessions() throws -> [SessionID] { try store.sessions().map(\.id) }
}

/// Something in the laboratory itself went wrong.
struct LabTrouble: Error {
    let words: String
    init(_ words: String) { self.words = words }
}
