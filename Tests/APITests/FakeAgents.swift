import AgentLink
import Bootstrap
import Foundation
import Model
import Synchronization
import Wire

/// Agents that are all one: images with one content, and uploads in memory.
final class FakeAgents: AgentCalls {
    private struct State: Sendable {
        var uploads: [UploadID: (bytes: [UInt8], byteCount: UInt64)] = [:]
        var failure: AgentLinkError?
        var asked: [String] = []
    }

    private let state = Mutex(State())
    /// The content of every image.
    let content: [UInt8] = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }

    /// What every call fails with from now on; nil: none does.
    func fail(_ failure: AgentLinkError?) { state.withLock { $0.failure = failure } }

    /// The verbs that were asked so far.
    var asked: [String] { state.withLock { $0.asked } }

    func bytes(of id: UploadID) -> [UInt8]? { state.withLock { $0.uploads[id]?.bytes } }

    func facts(_ id: ImageID) -> ImageFacts {
        ImageFacts(
            declaration: ImageDeclaration(
                id: id, name: "debian", description: "", type: .disk, format: .raw,
                createdAt: Timestamp(milliseconds: 0)),
            virtualSizeBytes: UInt64(content.count), referencedBytes: 1000, storedBytes: 500,
            contentDigest: .sha256(content), sourceDigest: .sha256(content), sourceSizeBytes: UInt64(content.count),
            storedAt: Timestamp(milliseconds: 0))
    }

    func call<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, silenceMax: Duration,
        onProgress: @escaping @Sendable (VerbProgress) -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        try note(V.name)
        switch verb {
        case is StatusVerb:
            return try reply(
                StatusVerb.Reply(
                    agentVersion: "1", storeID: StoreID(random: (1, 9)), degradedReason: nil, usage: FakeAgents.usage,
                    isDraining: false, certificateExpiresAt: nil))
        case is ConfigureVerb, is RemoveImageVerb: return try reply(Done())
        case let verb as UpdateImageVerb: return try reply(facts(verb.id))
        case let verb as ContentInfoVerb:
            return try reply(ContentInfoVerb.Reply(byteCount: UInt64(content.count), facts: facts(verb.id)))
        case let verb as CreateUploadVerb:
            state.withLock { $0.uploads[verb.id] = ([], verb.byteCount) }
            return try reply(UploadStanding(durableByteCount: 0, byteCount: verb.byteCount))
        case let verb as UploadStandingVerb: return try reply(try standing(verb.id))
        case let verb as RemoveUploadVerb:
            state.withLock { $0.uploads[verb.id] = nil }
            return try reply(Done())
        default: throw .failed(AgentFailure(code: .unknownVerb, detail: V.name))
        }
    }

    func send<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(AgentLinkError) -> V.Reply {
        try note(V.name)
        guard let verb = verb as? WriteUploadVerb else {
            throw .failed(AgentFailure(code: .unknownVerb, detail: V.name))
        }
        guard try standing(verb.id).durableByteCount == verb.offset else {
            throw .failed(AgentFailure(code: .uploadOffsetMismatch, detail: "another offset is durable"))
        }
        var bytes: [UInt8] = []
        do { while let piece = try await nextPiece() { bytes += piece } } catch { throw .cancelled }
        guard verb.checksum == nil || verb.checksum == .sha256(bytes) else {
            throw .failed(AgentFailure(code: .checksumMismatch, detail: "the bytes are other ones"))
        }
        state.withLock { [bytes] state in state.uploads[verb.id]?.bytes += bytes }
        return try reply(try standing(verb.id))
    }

    func receive<V: AgentVerb>(
        _ verb: V, from agent: AgentAddress, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        try note(V.name)
        guard let verb = verb as? ReadContentVerb else {
            throw .failed(AgentFailure(code: .unknownVerb, detail: V.name))
        }
        let range = Int(verb.offset)..<Int(verb.offset + verb.byteCount)
        // In pieces of an awkward size.
        for start in stride(from: range.lowerBound, to: range.upperBound, by: 77) {
            do { try await onPiece(Array(content[start..<min(start + 77, range.upperBound)])) } catch {
                throw .cancelled
            }
        }
        return try reply(Done())
    }

    func forget(_ agent: AgentAddress) async {}

    private func note(_ name: String) throws(AgentLinkError) {
        let failure = state.withLock { state in
            state.asked.append(name)
            return state.failure
        }
        if let failure { throw failure }
    }

    private func standing(_ id: UploadID) throws(AgentLinkError) -> UploadStanding {
        guard let upload = state.withLock({ $0.uploads[id] }) else {
            throw .failed(AgentFailure(code: .uploadNotFound, detail: "no such upload"))
        }
        return UploadStanding(durableByteCount: UInt64(upload.bytes.count), byteCount: upload.byteCount)
    }

    private func reply<Reply>(_ value: some Sendable) throws(AgentLinkError) -> Reply {
        guard let reply = value as? Reply else { throw .protocolViolation("a reply of another verb") }
        return reply
    }

    static let usage = StorageUsage(
        totalBytes: 1 << 40, usedBytes: 1 << 30, availableBytes: 1 << 39, reservedBytes: 1 << 30, images: 1,
        logicalBytes: 1000, referencedBytes: 1000, storedBytes: 500, reclaimableBytes: 0, temporaryBytes: 0)
}

/// One host that can be looked at and no more.
final class FakeHosts: HostBootstrap {
    func probe(_ target: SSHTarget) async throws(BootstrapError) -> ProbeReport {
        guard target.address.text != "unreachable.example" else { throw .unreachable("unreachable.example:22") }
        return ProbeReport(
            hostKey: "SHA256:" + String(repeating: "k", count: 43), hostKeyType: "ssh-ed25519", os: "Debian",
            osID: "debian", architecture: "x86_64", kernel: "6", hasSystemd: true, sudo: .root,
            freeDisks: [BlockDevice(device: "/dev/vdb", id: "serial:A", sizeBytes: 1 << 40, serial: "A")],
            otherDisks: [], mounts: [], addresses: FakeHosts.addresses)
    }

    private static var addresses: [ProbedAddress] {
        [IPAddress](["10.2.0.7"].compactMap { try? IPAddress(parsing: $0) }).map {
            ProbedAddress(address: $0, interface: "eth1", prefixLength: 24)
        }
    }

    func installBundle(
        _ target: SSHTarget, bundle: BundleFile, scope: HostScope
    ) async throws(BootstrapError) -> InstalledBundle { throw .cancelled }

    func runHostVerb(
        _ target: SSHTarget, scope: HostScope, verb: HostVerb, input: Data
    ) async throws(BootstrapError) -> Data { throw .cancelled }
}
