import Logging
import Model
import Storage
import Wire

extension AgentService {
    func status(_ verb: StatusVerb) async throws(AgentFailure) -> StatusVerb.Reply {
        let store = store
        let usage = try await onThread { () throws(StorageError) in try store.usage() }
        return StatusVerb.Reply(
            agentVersion: settings.version, storeID: store.id, degradedReason: settings.degradedReason(), usage: usage,
            isDraining: isDraining, certificateExpiresAt: certificates.expiresAt())
    }

    func configure(_ verb: ConfigureVerb) async throws(AgentFailure) -> Done {
        guard (1...24 * 365).contains(verb.sessionExpiryHours) else {
            throw AgentFailure(code: .badRequest, detail: "sessions expire after 1 hour to 1 year")
        }
        let store = store
        try await onThread { () throws(StorageError) in try store.setReserved(bytes: verb.reservedCapacityBytes) }
        let keep = settings.keepConfiguration
        let body: [UInt8]
        do throws(WireError) { body = try Messages.encode(verb) } catch {
            throw AgentFailure(code: .internal, detail: "\(error)")
        }
        try await blocking { () throws(AgentFailure) in try keep(body) }
        setConfiguration(verb)
        return Done()
    }

    func certificateRequest(_ verb: CertificateRequestVerb) async throws(AgentFailure) -> CertificateRequestVerb.Reply {
        let request = certificates.request
        return CertificateRequestVerb.Reply(
            requestPEM: try await blocking { () throws(AgentFailure) in try request() })
    }

    func installCertificate(_ verb: InstallCertificateVerb) async throws(AgentFailure) -> Done {
        try await certificates.install(verb.certificatePEM, verb.authorityPEM)
        log.notice("a new certificate is in use")
        return Done()
    }

    private func blocking<T: Sendable>(
        _ body: @escaping @Sendable () throws(AgentFailure) -> T
    ) async throws(AgentFailure) -> T {
        let result = await threads.run { () -> Result<T, AgentFailure> in
            do throws(AgentFailure) { return .success(try body()) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
