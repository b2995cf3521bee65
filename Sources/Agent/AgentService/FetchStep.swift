import Fetch
import Glibc
import Model
import Storage
import Volumes
import Wire

/// Brings a URL's file to the host, from where an earlier run left off. Blocks.
final class FetchStep {
    /// What is kept with the staged file, so that a later run can ask the server for the rest.
    private struct Notes: Codable {
        /// Tells one URL from another without keeping its secrets.
        var urlDigest: Digest
        /// Names the file's version at the server.
        var validator: String?
        /// The file's length, when the server told.
        var totalBytes: UInt64?
        /// Whether all of it is there.
        var isWhole: Bool
    }

    private let run: IngestRun
    private let store: any ImageStore
    private let settings: AgentSettings
    private let source: URLSource
    private let urlDigest: Digest
    private var staged: (any StagedFile)?
    private var notes: Notes
    private var unsynced: UInt64 = 0
    private var receivedBytes: UInt64 = 0

    init(run: IngestRun, store: any ImageStore, settings: AgentSettings, source: URLSource) {
        self.run = run
        self.store = store
        self.settings = settings
        self.source = source
        urlDigest = Digest.sha256(Array(source.url.utf8))
        notes = Notes(urlDigest: urlDigest, validator: nil, totalBytes: nil, isWhole: false)
    }

    deinit { staged?.close() }

    /// - Returns: the file's bytes and their SHA-256.
    func perform() throws(AgentFailure) -> (any ByteSource, Digest) {
        do throws(StorageError) { try openStaged(expectedBytes: nil) } catch { throw AgentFailure(error) }
        if !notes.isWhole { try fetch() }
        do throws(StorageError) {
            let file = try current()
            let bytes = try file.source()
            let digest = try file.digest()
            file.close()
            staged = nil
            return (bytes, digest)
        } catch { throw AgentFailure(error) }
    }

    private func fetch() throws(AgentFailure) {
        var failures = 0
        while true {
            let before = receivedBytes
            do throws(FetchError) {
                let result = try fetchOnce()
                do throws(StorageError) {
                    try current().sync()
                    notes.isWhole = true
                    notes.totalBytes = result.fileBytes
                    try keepNotes()
                } catch { throw .receiver(error) }
                return
            } catch {
                // What came is kept, whatever the reason.
                if case .receiver = error {
                } else {
                    do throws(StorageError) { try current().sync() } catch { throw AgentFailure(error) }
                }
                failures = receivedBytes > before ? 1 : failures + 1
                guard
                    let pause = settings.fetchRetries.pause(
                        after: error, failures: failures, spread: settings.random())
                else { throw AgentFailure(error) }
                try wait(pause)
            }
        }
    }

    private func fetchOnce() throws(FetchError) -> FetchResult {
        let offset = staged?.durableByteCount ?? 0
        let request = FetchRequest(
            url: source.url, knownHostKeys: source.hostKey.map { [$0] } ?? [],
            addresses: AddressPolicy(
                deniedNetworks: settings.deniedNetworks + source.deniedNetworks,
                allowsPrivateNetworks: source.allowsPrivateNetworks, deniedPorts: settings.deniedPorts),
            fileBytesMax: ServiceLimits.fileByteCountMax)
        return try Fetch.get(
            request, from: offset, validator: notes.validator,
            onResponse: { response in try self.begin(response) },
            onBytes: { bytes in try self.append(bytes) },
            isCancelled: { self.run.isCancelled })
    }

    private func begin(_ response: FetchResponse) throws(StorageError) {
        if response.offset == 0 {
            if try current().byteCount > 0 { try current().reset() }
        } else if try current().byteCount != response.offset {
            throw .volume(detail: "the server goes on at \(response.offset)", during: "go on with a fetch")
        }
        notes.validator = response.validator
        notes.totalBytes = response.totalBytes
        if let total = response.totalBytes {
            // Opened again, so that the store sets the room aside or says now that there is none.
            try current().sync()
            staged?.close()
            staged = nil
            staged = try store.stage(run.verb.session, expectedBytes: total)
        }
        try keepNotes()
        report()
    }

    private func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        let file = try current()
        try file.append(bytes)
        receivedBytes += UInt64(bytes.count)
        unsynced += UInt64(bytes.count)
        if unsynced >= ServiceLimits.syncByteCount {
            try file.sync()
            unsynced = 0
        }
        report()
    }

    private func report() {
        run.report(
            VerbProgress(
                phase: .fetch, doneBytes: staged?.byteCount ?? 0, totalBytes: notes.totalBytes,
                transferredBytes: receivedBytes))
    }

    private func openStaged(expectedBytes: UInt64?) throws(StorageError) {
        let file = try store.stage(run.verb.session, expectedBytes: expectedBytes)
        staged = file
        let bytes = try file.notes()
        var kept: Notes?
        if !bytes.isEmpty {
            // Unreadable notes are those of another program: it begins again.
            do throws(WireError) { kept = try Messages.decode(Notes.self, from: bytes) } catch { kept = nil }
        }
        guard var kept, kept.urlDigest == urlDigest else {
            if file.byteCount > 0 { try file.reset() }
            return
        }
        if let total = kept.totalBytes, kept.validator != nil, file.durableByteCount == total { kept.isWhole = true }
        if kept.isWhole, kept.totalBytes != file.durableByteCount { kept.isWhole = false }
        notes = kept
    }

    private func current() throws(StorageError) -> any StagedFile {
        guard let staged else { throw .sessionNotFound(run.verb.session) }
        return staged
    }

    private func keepNotes() throws(StorageError) {
        let bytes: [UInt8]
        do throws(WireError) { bytes = try Messages.encode(notes) } catch {
            throw .volume(detail: "\(error)", during: "keep the notes of a fetch")
        }
        try current().setNotes(bytes)
    }

    private func wait(_ pause: Duration) throws(AgentFailure) {
        var left = pause.components.seconds * 1_000_000 + pause.components.attoseconds / 1_000_000_000_000
        while left > 0 {
            if run.isCancelled { throw AgentFailure(StorageError.cancelled) }
            let part = min(left, Int64(ServiceLimits.waitMicroseconds))
            usleep(UInt32(part))
            left -= part
        }
    }
}
