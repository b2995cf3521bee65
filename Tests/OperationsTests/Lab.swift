import AgentLink
import Bootstrap
import ControllerTestSupport
import Foundation
import Identity
import Inventory
import Model
import Operations
import Secrets
import Synchronization
import Testing
import Transport
import Wire

/// A controller over a real inventory, with a host that is a double and agents that are real. It can end and start again.
final class Lab: Sendable {
    private struct Running: Sendable {
        var operations: Operations
        var agents: TappedAgents
        var task: Task<Void, Never>
    }

    static let admin = Caller(
        userID: InventoryBench.makeID(100), username: "admin", role: .admin, address: "192.0.2.1", tokenID: nil)
    static let `operator` = Caller(
        userID: InventoryBench.makeID(101), username: "op", role: .operator, address: "192.0.2.2", tokenID: nil)
    static let viewer = Caller(
        userID: InventoryBench.makeID(102), username: "view", role: .viewer, address: "192.0.2.3", tokenID: nil)

    let bench: InventoryBench
    let host: LabHost
    let agentTaps = Taps<AgentLinkError>()
    let dataCenter: DataCenterID
    /// At which short pauses stand while it is set.
    let pauseGate = Mutex<Gate?>(nil)
    private let running: Mutex<Running?> = Mutex(nil)

    init() async throws {
        bench = try InventoryBench()
        host = try LabHost(clock: bench.clock.wall)
        let center = DataCenterRecord(
            id: InventoryBench.makeID(1), name: "dc", description: "", createdAt: bench.clock.wall.now())
        dataCenter = center.id
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            // Pings come only when a test asks for them: see `sleep`.
            try transaction.setSystemParameter("agent.ping-seconds", .count(299))
        }
        try await start()
    }

    var inventory: Inventory { bench.inventory }

    var operations: Operations {
        guard let operations = running.withLock({ $0?.operations }) else { preconditionFailure("it was not started") }
        return operations
    }

    private func start() async throws {
        let clock = bench.clock.wall
        let authority = try await Operations.openAuthority(
            inventory: bench.inventory, clock: clock, randomness: bench.randomness)
        let identity = PeerIdentity(role: .controller, id: InventoryBench.makeID(3))
        let key = KeyPair()
        var generator = SystemRandomNumberGenerator()
        let issued = try authority.issue(
            requestPEM: try key.request(), to: identity, now: clock.now(), using: &generator)
        let verifier = try PeerVerifier(rootsPEM: authority.certificatePEM, clock: clock)
        let box = try CredentialBox(
            Credentials(certificatePEM: issued.pem, keyPEM: key.pem, authorityPEM: authority.certificatePEM) { chain in
                try await verifier.verify(chain: chain).identity
            })
        let agents = TappedAgents(
            AgentConnections(
                dialer: SocketDialer(credentials: box), hello: Hello(identity: identity, softwareVersion: "lab"),
                time: .continuous(), log: LabAgent.quiet), agentTaps)
        let operations = Operations(
            inventory: bench.inventory, agents: agents, hosts: host, authority: authority,
            bundles: [
                BundleFile(path: "/bundle", version: "1.0-lab", sha256: Digest.sha256([1]), architecture: "x86_64")
            ], clock: clock, randomness: bench.randomness, log: LabAgent.quiet,
            passwordCost: ScryptCost(logarithm: 4, blockSize: 8, parallelism: 1),
            sleep: { duration in
                // The loops of ping and expiry stand still after their first round; all other pauses take no time.
                if duration >= .seconds(60) { await Gate().wait() } else { await self.gateOfPauses()?.wait() }
                await Task.yield()
                try Task.checkCancellation()
            }, resolve: { _ in [] })
        let task = Task { await operations.run() }
        running.withLock { $0 = Running(operations: operations, agents: agents, task: task) }
    }

    private func gateOfPauses() -> Gate? { pauseGate.withLock { $0 } }

    /// Ends the controller as a signal does.
    func stop() async {
        guard let ending = running.withLock({ $0 }) else { return }
        ending.task.cancel()
        await ending.task.value
        await ending.agents.close()
    }

    /// The next life of the controller.
    func restart() async throws {
        await stop()
        try bench.reopen()
        try await start()
    }

    func end() async {
        await stop()
        await host.end()
    }

    // MARK: What most tests need

    static func host(_ credential: HostCredential = .password(Secret("p4ss"))) -> HostSpec {
        HostSpec(address: "127.0.0.1", credential: credential)
    }

    func spec(
        _ name: String = "one", disk: DiskSpec = .localDirectory, mountPath: String = "/srv/one",
        retrieves: Bool = false
    ) -> StandaloneSpec {
        StandaloneSpec(
            name: name, dataCenterID: dataCenter, host: Lab.host(), disk: disk, mountPath: mountPath,
            retrieveExistingImages: retrieves, reservedCapacityBytes: 1 << 20)
    }

    /// Adds a storage and waits until it is there.
    func addStorage(_ spec: StandaloneSpec? = nil) async throws -> ImageStorageRecord {
        let (job, storage) = try await operations.addStandalone(spec ?? self.spec(), caller: Lab.admin)
        let ended = try await inventory.ended(job.id)
        try #require(ended.state == .succeeded, "\(String(describing: ended.error))")
        return try await self.storage(storage.id)
    }

    func storage(_ id: ImageStorageID) async throws -> ImageStorageRecord {
        try #require(try await inventory.find(ImageStorageRecord.self, id))
    }

    func image(_ id: ImageID) async throws -> ImageRecord {
        try #require(try await inventory.find(ImageRecord.self, id))
    }

    /// A disk with data and holes as a file that the host may import; answers its path.
    func importFile(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = host.imports + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return path
    }

    static func disk(_ seed: UInt64 = 1) -> [UInt8] {
        let random = Randomness.seeded(seed).bytes(256 << 10)
        // The first bytes must not look like any file format.
        return [UInt8](repeating: 0x11, count: 4096) + [UInt8](repeating: 0, count: 256 << 10) + random
    }

    /// Adds an image from a path on the host and waits for its end.
    func addImage(_ storage: ImageStorageID, _ name: String = "image", seed: UInt64 = 1) async throws -> ImageRecord {
        let path = try importFile("\(name).raw", Lab.disk(seed))
        let (job, image) = try await operations.addImage(
            ImageSpec(imageStorageID: storage, name: name, type: .disk, format: .raw, source: .hostPath(path)),
            caller: Lab.admin)
        let ended = try await inventory.ended(job.id)
        try #require(ended.state == .succeeded, "\(String(describing: ended.error))")
        return try await self.image(image.id)
    }

    /// Uploads bytes and answers the upload, which is whole then.
    func upload(
        _ bytes: [UInt8], to storage: ImageStorageID, caller: Caller = Lab.admin
    ) async throws -> UploadRecord {
        let upload = try await operations.createUpload(
            imageStorageID: storage, byteCount: UInt64(bytes.count), fileName: "disk.raw", caller: caller)
        return try await write(bytes, to: upload.id, caller: caller)
    }

    /// Writes bytes to an upload from an offset, as one piece.
    func write(
        _ bytes: [UInt8], to upload: UploadID, at offset: UInt64 = 0, checksum: Digest? = nil,
        caller: Caller = Lab.admin
    ) async throws(OperationError) -> UploadRecord {
        let rest = Shelf(bytes)
        return try await operations.writeUpload(
            upload, offset: offset, checksum: checksum, caller: caller, nextPiece: { rest.take() })
    }

    /// Gives its bytes once.
    private final class Shelf: Sendable {
        private let bytes: Mutex<[UInt8]?>
        init(_ bytes: [UInt8]) { self.bytes = Mutex(bytes) }
        func take() -> [UInt8]? {
            bytes.withLock { bytes in
                defer { bytes = nil }
                return bytes
            }
        }
    }

    /// The lines of the audit log with an action, newest first, as `outcome detail`.
    func audit(_ action: String) async throws -> [String] {
        try await inventory.auditLog(limit: 500, cursor: nil).items.filter { $0.action == action }
            .map { "\($0.outcome.rawValue) \($0.detail)" }
    }

    /// Expects that nothing of a storage is left anywhere but the bytes on its disk.
    func expectGone(_ id: ImageStorageID, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        #expect(
            try await inventory.find(ImageStorageRecord.self, id) == nil, sourceLocation: sourceLocation)
        let left = try await bench.write { transaction throws(InventoryError) in
            Left(
                credential: try transaction.unseal(ImageStorageRecord.self, id, field: "credential") != nil,
                images: try transaction.images(ofStorage: id).count,
                uploads: try transaction.all(UploadRecord.self, where: "imageStorageID", is: [id.description]).count)
        }
        #expect(left == Left(credential: false, images: 0, uploads: 0), sourceLocation: sourceLocation)
        #expect(host.isClean, sourceLocation: sourceLocation)
    }

    private struct Left: Sendable, Equatable {
        var credential: Bool
        var images: Int
        var uploads: Int
    }
}

/// The error of an operation.
func refusal<T>(_ body: () async throws(OperationError) -> T) async -> OperationError? {
    do throws(OperationError) {
        _ = try await body()
        return nil
    } catch { return error }
}
