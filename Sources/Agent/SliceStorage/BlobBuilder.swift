import Blobs
import Model
import Storage
import Volumes

/// Which blobs a manifest in the making names, by number. A blob has its number from its first frame on, and its name
/// once it is sealed.
final class BlobTable: Sendable {
    private struct State {
        var names: [Digest?] = []
        var numbers: [Int64: UInt32] = [:]
    }
    private let state = Guarded(State())

    /// A number for a blob that is begun.
    func begin() -> UInt32 {
        state.with { state in
            state.names.append(nil)
            return UInt32(state.names.count - 1)
        }
    }

    /// The blob with this number is sealed.
    func seal(_ number: UInt32, name: Digest, row: Int64) {
        state.with { state in
            state.names[Int(number)] = name
            if state.numbers[row] == nil { state.numbers[row] = number }
        }
    }

    /// The number of a blob that the store had already.
    func number(of row: Int64, name: () -> Digest?) -> UInt32? {
        state.with { state in
            if let number = state.numbers[row] { return number }
            guard let name = name() else { return nil }
            state.names.append(name)
            let number = UInt32(state.names.count - 1)
            state.numbers[row] = number
            return number
        }
    }

    /// All names; nil while one is not sealed.
    func names() -> [Digest]? {
        state.with { state in
            let names = state.names.compactMap { $0 }
            return names.count == state.names.count ? names : nil
        }
    }
}

/// A blob whose bytes are written, but not yet durable.
struct WrittenBlob: Sendable {
    let file: any VolumeFile
    let temporary: String
    let directory: BlobDirectory
    let name: Digest
    let byteCount: UInt64
    let number: UInt32
    /// The last frame of the ingest that lies in it.
    let lastFrame: Int
}

/// Writes the frames of one ingest into blobs of about 16 MiB. One thread at a time: whoever has the turn to write.
final class BlobBuilder {
    private let store: SliceStore
    private let session: SessionID
    private let table: BlobTable
    private var current: Current?
    private var made = 0
    private static let bufferByteCount = 1 << 20

    private struct Current {
        var file: any VolumeFile
        var temporary: String
        var number: UInt32
        var directory = BlobDirectory()
        var buffer: [UInt8]
        var written: UInt64 = 0
        var lastFrame = 0
    }

    init(_ store: SliceStore, session: SessionID, table: BlobTable) {
        self.store = store
        self.session = session
        self.table = table
    }

    /// Adds the stored bytes of a frame.
    /// - Returns: where the frame's slices are, and the blob when it is full now.
    func append(
        _ stored: UnsafeRawBufferPointer, _ encoding: FrameEncoding, _ frame: PlainFrame
    ) throws(StorageError) -> (number: UInt32, firstPlace: UInt32, full: WrittenBlob?) {
        var blob: Current
        if let current { blob = current } else { blob = try begin() }
        current = nil
        do throws(StorageError) {
            let firstPlace = UInt32(blob.directory.slices.count)
            blob.directory.append(storedByteCount: stored.count, encoding: encoding, slices: frame.slices)
            blob.lastFrame = frame.number
            blob.buffer.append(contentsOf: stored)
            if blob.buffer.count >= Self.bufferByteCount { try flush(&blob) }
            let number = blob.number
            let isFull =
                blob.directory.endOfFrames >= BlobLimits.blobByteCountTarget
                || blob.directory.slices.count >= BlobLimits.slicesPerBlobTarget
            if isFull { return (number, firstPlace, try finish(&blob)) }
            current = blob
            return (number, firstPlace, nil)
        } catch {
            drop(blob)
            throw error
        }
    }

    /// Ends the last blob; nil when there is none.
    func finish() throws(StorageError) -> WrittenBlob? {
        guard var blob = current else { return nil }
        current = nil
        do throws(StorageError) { return try finish(&blob) } catch {
            drop(blob)
            throw error
        }
    }

    /// Throws away the blob in the making.
    func cancel() {
        if let blob = current { drop(blob) }
        current = nil
    }

    private func begin() throws(StorageError) -> Current {
        try store.admit(BlobLimits.blobByteCountTarget, for: session)
        let temporary = StorePaths.session(session) + "/" + StorePaths.blobTemporaryName(made)
        made += 1
        let volume = store.volume
        let file = try during("begin a blob") { () throws(VolumeError) in
            let file = try volume.open(temporary, .create)
            do throws(VolumeError) {
                // Rule 12: a full disk shows here, before work is put into the blob.
                try file.allocate(from: 0, count: BlobLimits.blobByteCountTarget)
            } catch {
                try? volume.unlink(temporary)
                throw error
            }
            return file
        }
        var buffer: [UInt8] = []
        buffer.reserveCapacity(Self.bufferByteCount + BlobLimits.frameByteCountMax)
        buffer += BlobFormat.header()
        return Current(file: file, temporary: temporary, number: table.begin(), buffer: buffer)
    }

    private func flush(_ blob: inout Current) throws(StorageError) {
        do throws(VolumeError) {
            try blob.file.writeBytes(blob.buffer, at: blob.written)
        } catch { throw .failed(error, during: "write a blob") }
        blob.written += UInt64(blob.buffer.count)
        blob.buffer.removeAll(keepingCapacity: true)
    }

    private func finish(_ blob: inout Current) throws(StorageError) -> WrittenBlob {
        let bytes = blob.directory.encoded()
        let name = Digest.sha256(bytes)
        let trailer = BlobTrailer(
            directoryPosition: blob.directory.endOfFrames, directoryByteCount: UInt32(bytes.count),
            epoch: store.marker.epoch, name: name)
        blob.buffer += bytes
        blob.buffer += trailer.encoded()
        try flush(&blob)
        return WrittenBlob(
            file: blob.file, temporary: blob.temporary, directory: blob.directory, name: name,
            byteCount: blob.written, number: blob.number, lastFrame: blob.lastFrame)
    }

    private func drop(_ blob: Current) {
        // What stays is a temporary of this session, and goes with it.
        try? blob.file.close()
        try? store.volume.unlink(blob.temporary)
    }
}

/// Makes written blobs durable and known (rule 1), on one thread.
final class BlobSealer {
    private let store: SliceStore
    private let session: SessionID
    private let table: BlobTable
    private var journal: Journal?

    init(_ store: SliceStore, session: SessionID, table: BlobTable) {
        self.store = store
        self.session = session
        self.table = table
    }

    /// Bytes, sync, journal, rename, sync of the directory, index; then the blob is an answer to "have it".
    /// Any error is final for this file (rule 5).
    func seal(_ blob: WrittenBlob) throws(StorageError) {
        do throws(StorageError) {
            try during("sync a blob") { () throws(VolumeError) in
                try blob.file.truncate(to: blob.byteCount)
                try blob.file.syncData()
                try blob.file.close()
            }
            let row = try store.mutation.with { (_) throws(StorageError) in try publish(blob) }
            table.seal(blob.number, name: blob.name, row: row)
        } catch {
            try? store.volume.unlink(blob.temporary)
            throw store.withFigures(store.degrade(error), needing: BlobLimits.blobByteCountTarget)
        }
    }

    private func publish(_ blob: WrittenBlob) throws(StorageError) -> Int64 {
        try store.checkEpoch()
        // The same blob may be here already: an earlier run of this ingest, or another session with the same content.
        let known = store.core.with { core -> Int64? in
            guard let row = core.rows[blob.name], !core.hasSuspects(row) else { return nil }
            core.pin(row, for: session)
            return row
        }
        if let known {
            try during("drop a blob") { () throws(VolumeError) in try store.volume.unlink(blob.temporary) }
            return known
        }
        if journal == nil { journal = try Journal(store.volume, session: session) }
        try journal?.append(blob.name)
        try during("name a blob") { () throws(VolumeError) in
            try store.volume.rename(blob.temporary, to: StorePaths.blob(blob.name))
            try store.volume.syncDirectory(StorePaths.blobDirectory(blob.name))
        }
        let indexed = try store.index.add(
            blob.name, byteCount: blob.byteCount, epoch: store.marker.epoch, directory: blob.directory)
        store.shelf.forget(blob.name)
        let index = store.index
        try store.core.with { (core) throws(StorageError) in
            core.publish(indexed)
            core.pin(indexed.row, for: session)
            core.remember(blob.directory, indexed.row)
            try core.note(blob.directory, in: index)
        }
        return indexed.row
    }
}
