import Model
import Storage
import Volumes

extension SliceStore {
    /// Opens or resumes the staged file of a session.
    package func stage(_ session: SessionID, expectedBytes: UInt64?) throws(StorageError) -> any StagedFile {
        try ensureSession(session)
        try core.with { (core) throws(StorageError) in
            if core.sessions[session]?.isStaging == true { throw .sessionBusy(session) }
            core.sessions[session]?.isStaging = true
        }
        do throws(StorageError) {
            let file = try SliceStagedFile(self, session: session)
            let missing = (expectedBytes ?? 0) > file.durableByteCount ? expectedBytes! - file.durableByteCount : 0
            try admit(missing, for: session)
            core.with { $0.sessions[session]?.reservedBytes = missing }
            return file
        } catch {
            unstage(session)
            throw withFigures(error, needing: expectedBytes ?? 0)
        }
    }

    fileprivate func unstage(_ session: SessionID) {
        let now = options.monotonicSeconds()
        core.with { core in
            core.sessions[session]?.isStaging = false
            core.touch(session, at: now)
        }
    }
}

/// The staged bytes of a session: the file `staged`, and the file `state` that says how many of them are durable and
/// where the SHA-256 stands. docs/formats.md, "Staged bytes".
final class SliceStagedFile: StagedFile {
    private struct State {
        var file: any VolumeFile
        /// Bytes appended that are not yet in the file.
        var buffer: [UInt8] = []
        var written: UInt64
        var durable: UInt64
        var hash: ResumableSHA256
        var isOpen = true
        /// A sync failed: nothing that was written since the last one is trusted (rule 5).
        var isBroken = false

        var total: UInt64 { written + UInt64(buffer.count) }
    }

    private let store: SliceStore
    private let session: SessionID
    private let state: Guarded<State>
    private let path: String
    private static let stateMagic = Array("LAMISTAG".utf8)
    static let stateByteCount = 8 + 2 + 6 + 8 + ResumableSHA256.stateByteCount + 8

    init(_ store: SliceStore, session: SessionID) throws(StorageError) {
        self.store = store
        self.session = session
        let directory = StorePaths.session(session)
        let path = directory + "/" + StorePaths.stagedName
        self.path = path
        let volume = store.volume
        let kept = try Self.readState(volume, directory: directory)
        state = Guarded(
            try during("open the staged file") { () throws(VolumeError) in
                var hash = kept ?? ResumableSHA256()
                let facts = try volume.facts(path)
                // Fewer bytes than were durable: the file was touched from outside; it begins again.
                if let facts, facts.byteCount >= hash.byteCount {
                    let file = try volume.open(path, .update)
                    try file.truncate(to: hash.byteCount)
                    return State(file: file, written: hash.byteCount, durable: hash.byteCount, hash: hash)
                }
                hash = ResumableSHA256()
                if facts != nil { try volume.unlink(path) }
                let file = try volume.open(path, .create)
                try volume.syncDirectory(directory)
                return State(file: file, written: 0, durable: 0, hash: hash)
            })
    }

    deinit { close() }

    var durableByteCount: UInt64 { state.with { $0.durable } }
    var byteCount: UInt64 { state.with { $0.total } }

    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try using { (state) throws(StorageError) in
            var rest = bytes[...]
            while !rest.isEmpty {
                let room = StoreLimits.stagedBufferByteCount - state.buffer.count
                let part = rest.prefix(room)
                if state.buffer.isEmpty { state.buffer.reserveCapacity(StoreLimits.stagedBufferByteCount) }
                state.buffer.append(contentsOf: part)
                state.hash.update(UnsafeRawBufferPointer(rebasing: part))
                rest = rest.dropFirst(part.count)
                if state.buffer.count == StoreLimits.stagedBufferByteCount { try flush(&state) }
            }
        }
    }

    // Writes what was gathered. Aligned 4 KiB blocks of zeros are left out: the file gets its length at the sync.
    private func flush(_ state: inout State) throws(StorageError) {
        guard !state.buffer.isEmpty else { return }
        let start = state.written
        if start % (16 << 20) + UInt64(state.buffer.count) >= 16 << 20 || start == 0 {
            try store.admit(UInt64(state.buffer.count), for: session)
        }
        let buffer = state.buffer
        do throws(VolumeError) {
            var failure: VolumeError?
            buffer.withUnsafeBytes { bytes in
                do throws(VolumeError) { try Self.write(bytes, at: start, to: state.file) } catch { failure = error }
            }
            if let failure { throw failure }
        } catch {
            throw failed(error, during: "write the staged file", &state)
        }
        state.written += UInt64(buffer.count)
        state.buffer.removeAll(keepingCapacity: true)
        let count = UInt64(buffer.count)
        let now = store.options.monotonicSeconds()
        store.core.with { [session] core in
            let left = core.sessions[session]?.reservedBytes ?? 0
            core.sessions[session]?.reservedBytes = left > count ? left - count : 0
            core.sessions[session]?.stagedBytes += count
            core.touch(session, at: now)
        }
    }

    private static func write(
        _ bytes: UnsafeRawBufferPointer, at start: UInt64, to file: any VolumeFile
    ) throws(VolumeError) {
        let block = SliceLimits.blockByteCount
        var place = 0
        var pending = 0
        while place < bytes.count {
            let boundary = place + block - Int((start + UInt64(place)) % UInt64(block))
            let end = min(boundary, bytes.count)
            if boundary - place == block, end == boundary, Cutter.isZero(bytes.baseAddress!, place, end) {
                if pending < place {
                    try file.write(
                        UnsafeRawBufferPointer(rebasing: bytes[pending..<place]), at: start + UInt64(pending))
                }
                pending = end
            }
            place = end
        }
        if pending < place {
            try file.write(UnsafeRawBufferPointer(rebasing: bytes[pending..<place]), at: start + UInt64(pending))
        }
    }

    func sync() throws(StorageError) {
        try using { (state) throws(StorageError) in try sync(&state) }
    }

    private func sync(_ state: inout State) throws(StorageError) {
        try flush(&state)
        guard state.durable != state.written else { return }
        do throws(VolumeError) {
            try state.file.truncate(to: state.written)
            try state.file.syncData()
        } catch { throw failed(error, during: "sync the staged file", &state) }
        try keep(state.hash)
        state.durable = state.written
    }

    private func keep(_ hash: ResumableSHA256) throws(StorageError) {
        let directory = StorePaths.session(session)
        let bytes = Self.encode(hash)
        do throws(VolumeError) {
            try store.volume.replace(
                directory + "/" + StorePaths.stateName, with: bytes,
                temporary: directory + "/" + StorePaths.temporaryName(StorePaths.stateName))
        } catch { throw store.withFigures(store.degrade(.failed(error, during: "keep the staged offset")), needing: 0) }
    }

    func reset() throws(StorageError) {
        try using { (state) throws(StorageError) in
            state.buffer.removeAll()
            state.hash = ResumableSHA256()
            // The offset first: a crash in between leaves a longer file, which is cut when it is opened.
            try keep(state.hash)
            (state.written, state.durable) = (0, 0)
            do throws(VolumeError) {
                try state.file.truncate(to: 0)
                try state.file.syncData()
            } catch { throw failed(error, during: "empty the staged file", &state) }
            store.core.with { [session] core in core.sessions[session]?.stagedBytes = 0 }
        }
    }

    func digest() throws(StorageError) -> Digest {
        try using { (state) throws(StorageError) in state.hash.current() }
    }

    func setNotes(_ notes: [UInt8]) throws(StorageError) {
        guard notes.count <= StoreLimits.notesByteCountMax else {
            throw .volume(detail: "notes have at most \(StoreLimits.notesByteCountMax) bytes", during: "keep notes")
        }
        try using { (_) throws(StorageError) in
            let directory = StorePaths.session(session)
            do throws(VolumeError) {
                try store.volume.replace(
                    directory + "/" + StorePaths.notesName, with: notes,
                    temporary: directory + "/" + StorePaths.temporaryName(StorePaths.notesName))
            } catch { throw store.degrade(.failed(error, during: "keep notes")) }
        }
    }

    func notes() throws(StorageError) -> [UInt8] {
        try using { (_) throws(StorageError) in
            let path = StorePaths.session(session) + "/" + StorePaths.notesName
            return try during("read notes") { () throws(VolumeError) in
                guard try store.volume.facts(path) != nil else { return [] }
                return try store.volume.readAll(path, byteCountMax: StoreLimits.notesByteCountMax)
            }
        }
    }

    func source() throws(StorageError) -> any ByteSource {
        try using { (state) throws(StorageError) in
            try flush(&state)
            let written = state.written
            do throws(VolumeError) {
                try state.file.truncate(to: written)
                return try FileSource(try store.volume.open(path, .read))
            } catch { throw failed(error, during: "open the staged file", &state) }
        }
    }

    func close() {
        let wasOpen = state.with { state in
            defer { state.isOpen = false }
            // What was not synced is not promised to anyone: an error says nothing new.
            if state.isOpen { try? state.file.close() }
            return state.isOpen
        }
        if wasOpen { store.unstage(session) }
    }

    private func using<Result>(
        _ body: (inout State) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try state.with { (state) throws(StorageError) in
            guard state.isOpen else { throw .sessionNotFound(session) }
            guard !state.isBroken else {
                throw .volume(detail: "an earlier error was final: open the file again", during: "use the staged file")
            }
            return try body(&state)
        }
    }

    private func failed(_ error: VolumeError, during step: String, _ state: inout State) -> StorageError {
        state.isBroken = true
        return store.withFigures(
            store.degrade(.failed(error, during: step)), needing: UInt64(StoreLimits.stagedBufferByteCount))
    }

    // MARK: The file `state`

    static func encode(_ hash: ResumableSHA256) -> [UInt8] {
        var out = ByteWriter(capacity: stateByteCount)
        out.raw(stateMagic)
        out.u16(1)
        out.raw([UInt8](repeating: 0, count: 6))
        out.u64(hash.byteCount)
        out.raw(hash.state)
        out.raw(Digest.sha256(out.bytes).bytes.prefix(8))
        return out.bytes
    }

    // Nil: nothing is durable yet, or the file is damaged, which comes to the same.
    private static func readState(_ volume: any Volume, directory: String) throws(StorageError) -> ResumableSHA256? {
        let path = directory + "/" + StorePaths.stateName
        let bytes = try during("read the staged offset") { () throws(VolumeError) -> [UInt8]? in
            guard let facts = try volume.facts(path), facts.byteCount == UInt64(stateByteCount) else { return nil }
            return try volume.readAll(path, byteCountMax: stateByteCount)
        }
        guard let bytes, let hash = try? ResumableSHA256(state: Array(bytes[24..<24 + ResumableSHA256.stateByteCount])),
            encode(hash) == bytes
        else { return nil }
        return hash
    }
}
