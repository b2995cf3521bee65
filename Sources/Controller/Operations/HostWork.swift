import Bootstrap
import Foundation
import Inventory
import Model
import Scheduler
import Secrets

/// What the look at a host decided; the output of the step `check`.
struct HostDecision: Codable, Sendable, Equatable {
    var hostKey: String
    var scope: HostScope
    var architecture: String
    var listenAddresses: [String]
    var disk: DiskChoice?
}

/// What the step `prepare` found out.
struct PreparedDisk: Codable, Sendable, Equatable {
    var fileSystemID: String
    var hasStore: Bool
}

/// What the step `enrol` found out.
struct Enrolment: Codable, Sendable, Equatable {
    var port: Int
    var agentVersion: String
    var issuedAt: Timestamp
    var expiresAt: Timestamp
}

/// What is done on a storage's host over SSH: the steps that adding, reconnecting and deleting share.
struct HostWork: Sendable {
    let rooms: Rooms

    /// The door into a storage's host, with the credential that is stored now.
    func target(_ storage: ImageStorageRecord) async throws(StepFailure) -> SSHTarget {
        let secret = try await rooms.step { transaction throws(OperationError) in
            try transaction.unseal(ImageStorageRecord.self, storage.id, field: "credential")
        }
        guard let secret, let text = String(validating: secret, as: UTF8.self) else {
            throw .failed(
                Failure(code: "credential-missing", detail: "no password or key is stored; set one and reconnect"))
        }
        let credential: HostCredential =
            storage.credentialKind == .password ? .password(Secret(text)) : .privateKey(Secret(text))
        let spec = HostSpec(
            address: storage.hostAddress, sshPort: storage.sshPort, username: storage.username,
            credential: credential, hostKey: storage.hostKey)
        do throws(OperationError) { return try spec.target() } catch {
            throw .failed(Failure(code: error.code, detail: error.detail, field: error.field))
        }
    }

    func probe(_ target: SSHTarget) async throws(StepFailure) -> ProbeReport {
        do throws(BootstrapError) { return try await rooms.hosts.probe(target) } catch { throw error.stepFailure }
    }

    /// Judges what a probe found against what the storage needs.
    func decide(
        _ storage: ImageStorageRecord, _ report: ProbeReport, confirmedSerial: String?, choosesDisk: Bool = true
    ) async throws(StepFailure) -> HostDecision {
        if storage.diskMethod == .freeDisk, !report.sudo.canBecomeRoot {
            throw failed("sudo-required", "formatting a disk needs root or sudo; '\(storage.username)' has neither")
        }
        guard rooms.bundles.contains(where: { $0.architecture == report.architecture }) else {
            let known = rooms.bundles.map(\.architecture).sorted().joined(separator: ", ")
            throw failed(
                "architecture-unsupported",
                "the host is \(report.architecture); this controller has agents for \(known.isEmpty ? "none" : known)")
        }
        try checkNetworks(storage, report)
        return HostDecision(
            hostKey: report.hostKey, scope: report.sudo.canBecomeRoot ? .system : .user,
            architecture: report.architecture,
            listenAddresses: try await listenAddresses(storage, report),
            disk: choosesDisk && storage.diskMethod == .freeDisk ? try choice(storage, report, confirmedSerial) : nil)
    }

    /// Throws when the host has no address in a network of the storage.
    func checkNetworks(_ storage: ImageStorageRecord, _ report: ProbeReport) throws(StepFailure) {
        for (text, field, name) in [
            (storage.imageSyncNetwork, "/imageSyncNetwork", "image sync network"),
            (storage.dataNetwork, "/dataNetwork", "data network"),
        ] {
            guard let text else { continue }
            guard let network = try? CIDR(parsing: text), !report.addresses(in: network).isEmpty else {
                let has = report.addresses.map { "\($0.address)/\($0.prefixLength)" }.joined(separator: ", ")
                throw .failed(
                    Failure(
                        code: "network-not-on-host",
                        detail: "the host has no address in the \(name) \(text); it has \(has)", field: field))
            }
        }
    }

    private func listenAddresses(
        _ storage: ImageStorageRecord, _ report: ProbeReport
    ) async throws(StepFailure) -> [String] {
        let known: [IPAddress]
        if let address = try? IPAddress(parsing: storage.hostAddress) {
            known = [address]
        } else {
            known = await rooms.resolve(storage.hostAddress)
        }
        var wanted: [IPAddress] = []
        for address in known
        where address.isLoopback || report.addresses.contains(where: { $0.address == address }) {
            wanted.append(address)
        }
        // The host is known by an address that is not its own (address translation): it is reached through any of them.
        if wanted.isEmpty { wanted = report.addresses.map(\.address) }
        for text in [storage.imageSyncNetwork, storage.dataNetwork].compactMap({ $0 }) {
            guard let network = try? CIDR(parsing: text) else { continue }
            wanted += report.addresses(in: network).map(\.address)
        }
        guard !wanted.isEmpty else { throw failed("address-not-on-host", "the host told no address to listen on") }
        return Array(Set(wanted.map(\.description))).sorted()
    }

    private func choice(
        _ storage: ImageStorageRecord, _ report: ProbeReport, _ serial: String?
    ) throws(StepFailure) -> DiskChoice {
        guard let device = storage.diskDevice else { throw failed("disk-not-found", "no device was named") }
        if let disk = report.freeDisks.first(where: { $0.device == device }) { return DiskChoice(disk) }
        guard let other = report.otherDisks.first(where: { $0.disk.device == device }) else {
            let free = report.freeDisks.map(\.device).joined(separator: ", ")
            throw failed(
                "disk-not-found", "the host has no disk \(device); free disks: \(free.isEmpty ? "none" : free)")
        }
        if let serial, other.refusal.yieldsToSerial, other.disk.serial == serial {
            return DiskChoice(other.disk, confirmedSerial: serial)
        }
        throw failed("disk-not-free", "\(device) is not free: \(other.refusal)")
    }

    func install(_ storage: ImageStorageRecord, _ decision: HostDecision) async throws(StepFailure) {
        guard let bundle = rooms.bundles.first(where: { $0.architecture == decision.architecture }) else {
            throw failed("architecture-unsupported", "this controller has no agent for \(decision.architecture)")
        }
        let target = try await target(storage)
        do throws(BootstrapError) {
            _ = try await rooms.hosts.installBundle(target, bundle: bundle, scope: decision.scope)
        } catch { throw error.stepFailure }
    }

    /// Formats and mounts, or makes the directory ready. `mayWipe` false: a disk that has anything on it that is not this
    /// storage's own file system is refused, whatever the admin typed once.
    func prepare(
        _ storage: ImageStorageRecord, _ decision: HostDecision, mayWipe: Bool
    ) async throws(StepFailure) -> PrepareOutput {
        let disk: DiskMethod
        switch storage.diskMethod {
        case .localDirectory: disk = .localDirectory
        case .freeDisk:
            guard var choice = decision.disk ?? storage.diskChoice else {
                throw failed("disk-not-found", "the disk was never chosen")
            }
            if !mayWipe { choice.confirmedSerial = nil }
            disk = .freeDisk(choice)
        }
        let path = try mountPath(storage)
        return try await verb(
            storage, decision.scope, .prepare,
            PrepareInput(
                imageStorageID: storage.id, mountPath: path, disk: disk,
                retrieveExistingImages: storage.retrieveExistingImages || !mayWipe), PrepareOutput.self)
    }

    func undoPrepare(_ storage: ImageStorageRecord, _ scope: HostScope) async throws(StepFailure) {
        let input = UndoPrepareInput(imageStorageID: storage.id, mountPath: try mountPath(storage))
        _ = try await verb(storage, scope, .undoPrepare, input, EmptyOutput.self)
    }

    /// Makes the instance, signs its request and installs the certificate.
    func enrol(
        _ storage: ImageStorageRecord, _ decision: HostDecision, _ disk: PreparedDisk
    ) async throws(StepFailure) -> Enrolment {
        let input = EnrolInput(
            imageStorageID: storage.id, mountPath: try mountPath(storage), fileSystemID: disk.fileSystemID,
            listenAddresses: decision.listenAddresses)
        let output = try await verb(storage, decision.scope, .enrol, input, EnrolOutput.self)
        let issued: SignedCertificate
        do throws(OperationError) { issued = try rooms.sign(output.csrPEM, for: storage.id) } catch {
            throw failed(error.code, error.detail)
        }
        _ = try await verb(
            storage, decision.scope, .installCertificate,
            InstallCertificateInput(
                imageStorageID: storage.id, certificatePEM: issued.certificatePEM, caPEM: issued.authorityPEM),
            EmptyOutput.self)
        return Enrolment(
            port: Int(output.port), agentVersion: output.agentVersion, issuedAt: issued.issuedAt,
            expiresAt: issued.expiresAt)
    }

    func start(_ storage: ImageStorageRecord, _ scope: HostScope) async throws(StepFailure) {
        let status = try await verb(
            storage, scope, .start, InstanceInput(imageStorageID: storage.id, restart: true), StatusOutput.self)
        guard status.isRunning else {
            throw failed("start-failed", "the agent does not stay up: \(status.logTail ?? "it left no log")")
        }
    }

    /// Stops and removes the instance; the store stays. That it is not there is as good.
    func remove(_ storage: ImageStorageRecord, _ scope: HostScope) async throws(StepFailure) {
        let target = try await target(storage)
        do throws(BootstrapError) {
            _ = try await rooms.hosts.runHostVerb(
                target, scope: scope, verb: .remove, InstanceInput(imageStorageID: storage.id),
                answering: EmptyOutput.self)
        } catch {
            if !error.saysNotInstalled { throw error.stepFailure }
        }
    }

    private func verb<Input: Encodable & Sendable, Output: Decodable & Sendable>(
        _ storage: ImageStorageRecord, _ scope: HostScope, _ verb: HostVerb, _ input: Input, _ output: Output.Type
    ) async throws(StepFailure) -> Output {
        let target = try await target(storage)
        do throws(BootstrapError) {
            return try await rooms.hosts.runHostVerb(target, scope: scope, verb: verb, input, answering: output)
        } catch { throw error.stepFailure }
    }

    private func mountPath(_ storage: ImageStorageRecord) throws(StepFailure) -> MountPath {
        do throws(InvalidValue) { return try MountPath(storage.mountPath) } catch {
            throw failed("invalid-value", error.reason)
        }
    }

    func failed(_ code: String, _ detail: String) -> StepFailure { .failed(Failure(code: code, detail: detail)) }
}
