import Bootstrap
import Inventory
import Model

extension Operations {
    /// Looks at a host over SSH; nothing on it is changed. Source: issue, "Probe"; api.md, `probe`.
    package func probe(_ host: HostSpec, caller: Caller) async throws(OperationError) -> HostProbe {
        try await allow(caller, .admin, "image-storage.probe")
        let target = try host.target()
        let report: ProbeReport
        do throws(BootstrapError) { report = try await rooms.hosts.probe(target) } catch {
            let failure = error.operationError
            try await rooms.change { transaction throws(OperationError) in
                try transaction.audit(
                    caller, "image-storage.probe", nil, .failed, "\(host.address): \(failure.code)")
            }
            throw failure
        }
        try await rooms.change { transaction throws(OperationError) in
            try transaction.audit(caller, "image-storage.probe", nil, .done, host.address)
        }
        return HostProbe(report)
    }
}

extension HostProbe {
    init(_ report: ProbeReport) {
        hostKey = report.hostKey
        hostKeyType = report.hostKeyType
        os = report.os
        architecture = report.architecture
        kernel = report.kernel
        hasSystemd = report.hasSystemd
        sudo = report.sudo.rawValue
        freeDisks = report.freeDisks
        otherDisks = report.otherDisks.map { RefusedDisk(disk: $0.disk, reason: $0.refusal.description) }
        mounts = report.mounts.map {
            Mount(
                path: $0.path, source: $0.source, fileSystem: $0.fileSystem, sizeBytes: $0.sizeBytes,
                freeBytes: $0.freeBytes)
        }
        addresses = report.addresses.map {
            Address(address: $0.address.description, interface: $0.interface, prefixLength: $0.prefixLength)
        }
    }
}
