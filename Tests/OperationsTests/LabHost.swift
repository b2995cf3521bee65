import Bootstrap
import ControllerTestSupport
import Foundation
import Glibc
import Identity
import Model
import SliceStorage
import Synchronization

/// A double of the port to hosts: what the verbs do is kept in a directory, and `start` starts a real agent.
/// Taps are named after the verbs, and `probe` and `install`.
final class LabHost: HostBootstrap {
    static let hostKey = "SHA256:" + String(repeating: "A", count: 43)
    /// What the host is asked while a storage is added, in order.
    static let addCalls = ["probe", "install", "prepare", "enrol", "install-certificate", "start"]

    private struct State: Sendable {
        var bundle: BundleFile?
        var prepared: [ImageStorageID: PrepareInput] = [:]
        var instances: [ImageStorageID: LabInstance] = [:]
        var targets: [SSHTarget] = []
    }

    let taps = Taps<BootstrapError>()
    /// What a probe finds.
    let report = Mutex(LabHost.standardReport)
    /// Whether a started agent stays up.
    let staysUp = Mutex(true)
    private let directory: TemporaryDirectory
    private let clock: WallClock
    private let state = Mutex(State())
    private let storeNumber = Mutex<UInt64>(0)

    init(clock: WallClock) throws {
        directory = try TemporaryDirectory()
        self.clock = clock
        mkdir(imports, 0o755)
    }

    static var standardReport: ProbeReport {
        ProbeReport(
            hostKey: hostKey, hostKeyType: "ssh-ed25519", os: "Debian GNU/Linux 13", osID: "debian",
            architecture: "x86_64", kernel: "6.12", hasSystemd: true, sudo: .root,
            freeDisks: [BlockDevice(device: "/dev/vdb", id: "serial:S1", sizeBytes: 1 << 40, serial: "S1")],
            otherDisks: [
                RefusedDisk(
                    disk: BlockDevice(
                        device: "/dev/vdc", id: "serial:S2", sizeBytes: 1 << 40, serial: "S2", signatures: ["xfs"]),
                    refusal: .signed(["xfs"])),
                RefusedDisk(
                    disk: BlockDevice(
                        device: "/dev/vda", id: "serial:S0", sizeBytes: 1 << 40, serial: "S0", mountPoints: ["/"]),
                    refusal: .mounted(at: ["/"])),
            ],
            mounts: [
                ProbedMount(
                    path: "/", source: "/dev/vda1", fileSystem: "ext4", sizeBytes: 1 << 40, freeBytes: 1 << 39)
            ],
            addresses: [
                ProbedAddress(address: IPAddress(bytes: [10, 1, 0, 5])!, interface: "eth0", prefixLength: 24)
            ])
    }

    // MARK: What a test looks at

    /// The host's directory that imports may come from.
    var imports: String { directory.path + "/imports" }

    /// What stands for a mount path.
    func place(of mountPath: String) -> String { directory.path + mountPath }

    /// Whether nothing of any storage is set up: no mount, no instance. Bytes on disks stay, and so may the bundle.
    var isClean: Bool { state.withLock { $0.prepared.isEmpty && $0.instances.isEmpty } }

    func prepared(_ id: ImageStorageID) -> PrepareInput? { state.withLock { $0.prepared[id] } }

    func instance(_ id: ImageStorageID) -> LabInstance? { state.withLock { $0.instances[id] } }

    var targets: [SSHTarget] { state.withLock { $0.targets } }

    func hasStore(at mountPath: String) -> Bool { access(place(of: mountPath) + "/lamina/STORE", F_OK) == 0 }

    func agent(_ id: ImageStorageID) throws -> LabAgent {
        guard let agent = instance(id)?.agent else { throw LabTrouble("no agent runs for \(id)") }
        return agent
    }

    // MARK: What befalls a host

    /// The agent ends, as at a reboot.
    func stopAgent(_ id: ImageStorageID) async {
        let agent = state.withLock { state -> LabAgent? in
            defer { state.instances[id]?.agent = nil }
            return state.instances[id]?.agent
        }
        await agent?.stop()
    }

    func startAgent(_ id: ImageStorageID) async throws {
        guard let instance = instance(id) else { throw LabTrouble("no instance \(id)") }
        let agent = try await LabAgent.start(
            instance, clock: clock,
            keep: { bytes in self.state.withLock { $0.instances[id]?.configuration = bytes } },
            renewed: { pem in self.state.withLock { $0.instances[id]?.certificatePEM = pem } })
        state.withLock { $0.instances[id]?.agent = agent }
    }

    func end() async {
        for id in state.withLock({ Array($0.instances.keys) }) { await stopAgent(id) }
    }

    // MARK: The port

    func probe(_ target: SSHTarget) async throws(BootstrapError) -> ProbeReport {
        try await taps.around("probe") { () throws(BootstrapError) in
            let report = self.report.withLock { $0 }
            state.withLock { $0.targets.append(target) }
            if let expected = target.expectedHostKey, expected != report.hostKey {
                throw .hostKeyChanged(expected: expected, found: report.hostKey)
            }
            return report
        }
    }

    func installBundle(
        _ target: SSHTarget, bundle: BundleFile, scope: HostScope
    ) async throws(BootstrapError) -> InstalledBundle {
        try await taps.around("install") { () throws(BootstrapError) in
            let wasPresent = state.withLock { state -> Bool in
                defer { state.bundle = bundle }
                return state.bundle == bundle
            }
            return InstalledBundle(directory: "/opt/lamina-agent/1", wasPresent: wasPresent, hostKey: LabHost.hostKey)
        }
    }

    func runHostVerb(
        _ target: SSHTarget, scope: HostScope, verb: HostVerb, input: Data
    ) async throws(BootstrapError) -> Data {
        try await taps.around(verb.rawValue) { () throws(BootstrapError) in
            guard state.withLock({ $0.bundle }) != nil else { throw .notInstalled }
            do {
                switch verb {
                case .prepare: return try answer(prepare(try read(input)))
                case .undoPrepare:
                    let input: UndoPrepareInput = try read(input)
                    state.withLock { $0.prepared[input.imageStorageID] = nil }
                    return try answer(EmptyOutput())
                case .enrol: return try answer(enrol(try read(input)))
                case .installCertificate: return try answer(install(try read(input)))
                case .start: return try answer(try await start(try read(input)))
                case .remove:
                    let input: InstanceInput = try read(input)
                    await stopAgent(input.imageStorageID)
                    state.withLock { $0.instances[input.imageStorageID] = nil }
                    return try answer(EmptyOutput())
                case .stop, .status: throw LabTrouble("\(verb) is not asked by the controller")
                }
            } catch let error as BootstrapError { throw error } catch {
                throw BootstrapError.badAnswer("\(error)")
            }
        }
    }

    private func read<T: Decodable>(_ input: Data) throws -> T { try JSONDecoder().decode(T.self, from: input) }

    private func answer(_ value: some Encodable) throws -> Data { try JSONEncoder().encode(value) }

    private func prepare(_ input: PrepareInput) throws -> PrepareOutput {
        let path = input.mountPath.text
        try FileManager.default.createDirectory(atPath: place(of: path), withIntermediateDirectories: true)
        state.withLock { $0.prepared[input.imageStorageID] = input }
        return PrepareOutput(
            fileSystemID: "xfs:\(input.imageStorageID)", fileSystem: "xfs", source: "/dev/vdb", totalBytes: 1 << 40,
            availableBytes: 1 << 40, didFormat: false, hasStore: hasStore(at: path))
    }

    private func enrol(_ input: EnrolInput) throws -> EnrolOutput {
        guard state.withLock({ $0.prepared[input.imageStorageID] }) != nil else {
            throw BootstrapError.host(code: .mountPathRefused, detail: "it was not prepared")
        }
        let known = instance(input.imageStorageID)
        let made = LabInstance(
            storage: input.imageStorageID, directory: place(of: input.mountPath.text), importDirectories: [imports],
            key: known?.key ?? KeyPair(), port: try known?.port ?? LabHost.freePort(),
            certificatePEM: known?.certificatePEM, authorityPEM: known?.authorityPEM,
            configuration: known?.configuration, agent: known?.agent)
        state.withLock { $0.instances[input.imageStorageID] = made }
        return EnrolOutput(csrPEM: try made.key.request(), port: UInt16(made.port), agentVersion: "1.0-lab")
    }

    private func install(_ input: InstallCertificateInput) throws -> EmptyOutput {
        guard let known = instance(input.imageStorageID) else {
            throw BootstrapError.host(code: .notInstalled, detail: "")
        }
        guard try CertificateFile.isKey(known.key, of: input.certificatePEM) else {
            throw BootstrapError.host(code: .certificateRefused, detail: "it is for another key")
        }
        state.withLock { state in
            state.instances[input.imageStorageID]?.certificatePEM = input.certificatePEM
            state.instances[input.imageStorageID]?.authorityPEM = input.caPEM
        }
        return EmptyOutput()
    }

    private func start(_ input: InstanceInput) async throws -> StatusOutput {
        let id = input.imageStorageID
        guard let known = instance(id) else { throw BootstrapError.host(code: .notInstalled, detail: "") }
        if input.restart { await stopAgent(id) }
        let staysUp = self.staysUp.withLock { $0 }
        if staysUp {
            if access(known.directory + "/lamina/STORE", F_OK) != 0 {
                let number = storeNumber.withLock { number in
                    number += 1
                    return number
                }
                try SliceStore.format(
                    mountPath: known.directory, id: InventoryBench.makeID(number), fileSystem: "", at: clock.now())
            }
            try await startAgent(id)
        }
        return StatusOutput(
            isInstalled: true, isRunning: staysUp, supervisor: "systemd", startsAtBoot: true, port: UInt16(known.port),
            agentVersion: "1.0-lab", logTail: staysUp ? nil : "no room")
    }

    // Below the range that the system gives to those who dial, and no two alike in this process.
    private static let nextPort = Mutex(15_000 + Int(getpid() % 100) * 100)

    /// A port of the loopback that nobody listens on now.
    private static func freePort() throws -> Int {
        for _ in 0..<1000 {
            let port = nextPort.withLock { next in
                next = next < 30_000 ? next + 1 : 15_000
                return next
            }
            let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(socket) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            let isFree = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    bind(socket, pointer, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            if isFree { return port }
        }
        throw LabTrouble("no port is free")
    }
}
