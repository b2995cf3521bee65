import Blobs
import Compression
import DiskImage
import Model
import Storage

/// The threads of one ingest. Each worker takes the next window of the disk and carries it through all steps; three of the
/// steps go in guest order, and wait for their turn:
///
///     read | CUT | hash | ASK AND FRAME | compress | WRITE        (upper case: in order)
///
/// The worker with the lowest window never waits for a later one, so the turns always move on. Written blobs go through a
/// bounded queue to one more thread, which makes them durable. Memory: docs/concurrency.md.
///
/// `@unchecked Sendable`: `sequence` is used by the holder of the frame turn, `builder` by the holder of the write turn,
/// `sealer` by the sealing thread; `turns` and `plan` lock themselves.
final class IngestRun: @unchecked Sendable {
    private struct Turns {
        var cut = 0
        var frame = 0
        var write = 0
        /// The beginning of a slice that the window before left over, and where it lies.
        var carry: [UInt8] = []
        var carryOffset: UInt64 = 0
        var failure: StorageError?
        var sealQueue: [WrittenBlob] = []
        var isWritten = false
        var doneBytes: UInt64 = 0
        var storedBytes: UInt64 = 0
        var reusedBytes: UInt64 = 0
        var reportedAt: UInt64 = 0
    }

    private let store: SliceStore
    private let disk: any GuestDisk
    private let control: IngestControl
    private let plan: Guarded<IngestPlan>
    private let turns = Monitor(Turns())
    private let places = FramePlaces()
    private let pool = FrameBufferPool()
    private let builder: BlobBuilder
    private let sealer: BlobSealer
    private let sequence: IngestSequence
    let table = BlobTable()

    /// What came of it.
    struct Outcome {
        var contentDigest: Digest
        var figures: IngestSequence.Figures
    }

    init(
        _ store: SliceStore, session: SessionID, disk: any GuestDisk, manifest: ManifestWriter, control: IngestControl
    ) {
        self.store = store
        self.disk = disk
        self.control = control
        plan = Guarded(IngestPlan(disk))
        builder = BlobBuilder(store, session: session, table: table)
        sealer = BlobSealer(store, session: session, table: table)
        sequence = IngestSequence(
            store, session: session, table: table, places: places, pool: pool, manifest: manifest,
            virtualSizeBytes: disk.virtualSizeBytes)
    }

    /// Takes in the whole disk. All blobs are durable on return.
    func run() throws(StorageError) -> Outcome {
        guard let sealing = WorkerThread({ [self] in sealAll() }) else { throw Self.noThread }
        var workers: [WorkerThread] = []
        // The calling thread is a worker, too.
        for _ in 1..<max(store.options.workerCount, 1) {
            if let worker = WorkerThread({ [self] in work() }) { workers.append(worker) }
        }
        work()
        for worker in workers { worker.join() }
        writeLastFrame()
        turns.change { $0.isWritten = true }
        sealing.join()
        builder.cancel()
        if let failure = turns.look({ $0.failure }) { throw failure }
        let digest = try sequence.finish()
        report(isLast: true)
        return Outcome(contentDigest: digest, figures: sequence.figures)
    }

    private static let noThread = StorageError.volume(detail: "no thread could be started", during: "ingest")

    private func fail(_ error: StorageError) {
        turns.change { if $0.failure == nil { $0.failure = error } }
    }

    // Thrown by those who wait when another thread failed; the first failure is the one that is reported.
    private struct Stopped: Error {}

    private func waitTurn(_ key: KeyPath<Turns, Int>, _ number: Int) throws(Stopped) {
        let isFine = turns.wait { turns -> Bool? in
            if turns.failure != nil { return false }
            return turns[keyPath: key] == number ? true : nil
        }
        if !isFine { throw Stopped() }
    }

    // MARK: Workers

    private func work() {
        let worker: Worker
        do throws(CompressionError) {
            worker = try Worker(level: store.marker.compressionLevel)
        } catch { return fail(.volume(detail: error.description, during: "ingest")) }
        while true {
            do throws(StorageError) {
                if control.isCancelled() || store.core.with({ $0.isClosed }) { throw .cancelled }
                if turns.look({ $0.failure != nil }) { return }
                guard let window = try nextWindow() else { return }
                try read(window, worker)
                do throws(Stopped) { try process(window, worker) } catch { return }
            } catch { return fail(error) }
        }
    }

    private func nextWindow() throws(StorageError) -> IngestWindow? {
        do throws(DiskImageError) {
            return try plan.with { (plan) throws(DiskImageError) in try plan.next() }
        } catch { throw .source(error) }
    }

    private func read(_ window: IngestWindow, _ worker: Worker) throws(StorageError) {
        do throws(DiskImageError) {
            try disk.read(into: worker.window(window.range.count), at: window.range.lowerBound)
        } catch { throw .source(error) }
    }

    private func process(_ window: IngestWindow, _ worker: Worker) throws(Stopped) {
        try waitTurn(\.cut, window.number)
        let cuts = cut(window, worker)
        let slices = worker.hash(cuts)
        try waitTurn(\.frame, window.number)
        let closed: [PlainFrame]
        do throws(StorageError) {
            closed = try sequence.take(slices)
        } catch {
            fail(error)
            throw Stopped()
        }
        let reused = sequence.figures.reusedBytes
        turns.change { turns in
            turns.frame += 1
            turns.doneBytes = window.range.upperBound
            turns.reusedBytes = reused
        }
        for frame in closed { try write(frame, worker) }
        report(isLast: false)
    }

    private func cut(_ window: IngestWindow, _ worker: Worker) -> Worker.Cuts {
        // Nobody else touches the carry while it is this window's turn.
        let (carry, carryOffset) = turns.look { turns in
            defer { turns.carry = [] }
            return (turns.carry, turns.carryOffset)
        }
        let cuts = worker.cut(window, carry: carry, carryOffset: carryOffset)
        turns.change { turns in
            turns.carry = cuts.rest
            turns.carryOffset = window.range.upperBound - UInt64(cuts.rest.count)
            turns.cut += 1
        }
        return cuts
    }

    // MARK: Frames and blobs

    private func write(_ frame: PlainFrame, _ worker: Worker) throws(Stopped) {
        let stored = pool.take()
        defer {
            pool.give(stored)
            pool.give(frame.buffer)
        }
        let plain = UnsafeRawBufferPointer(rebasing: frame.buffer.bytes[..<frame.byteCount])
        let packed = worker.encoder.encode(plain, into: stored.bytes)
        try waitTurn(\.write, frame.number)
        do throws(StorageError) {
            let bytes = packed.map { UnsafeRawBufferPointer(rebasing: stored.bytes[..<$0]) } ?? plain
            let written = try builder.append(bytes, packed == nil ? .plain : .zstd, frame)
            places.write(frame.number, number: written.number, firstPlace: written.firstPlace)
            if let full = written.full { try queue(full) }
            turns.change { turns in
                turns.write += 1
                turns.storedBytes += UInt64(bytes.count)
            }
        } catch {
            fail(store.withFigures(store.degrade(error), needing: BlobLimits.blobByteCountTarget))
            throw Stopped()
        }
    }

    private func writeLastFrame() {
        guard turns.look({ $0.failure == nil }) else { return }
        do throws(StorageError) {
            if let frame = sequence.takeLastFrame() {
                let worker: Worker
                do throws(CompressionError) {
                    worker = try Worker(level: store.marker.compressionLevel)
                } catch { throw .volume(detail: error.description, during: "ingest") }
                do throws(Stopped) { try write(frame, worker) } catch { return }
            }
            if let last = try builder.finish() { try queue(last) }
        } catch { fail(store.withFigures(store.degrade(error), needing: BlobLimits.blobByteCountTarget)) }
    }

    private func queue(_ blob: WrittenBlob) throws(StorageError) {
        let isQueued = turns.wait { turns -> Bool? in
            if turns.failure != nil { return false }
            guard turns.sealQueue.count < StoreLimits.sealQueueMax else { return nil }
            turns.sealQueue.append(blob)
            return true
        }
        // The file is a temporary of this session: the next run of the ingest, or its end, removes it.
        if !isQueued { throw .cancelled }
    }

    private func sealAll() {
        while true {
            let next = turns.wait { turns -> WrittenBlob?? in
                if turns.failure != nil { return .some(nil) }
                if !turns.sealQueue.isEmpty { return .some(turns.sealQueue.removeFirst()) }
                return turns.isWritten ? .some(nil) : nil
            }
            guard let blob = next else { return }
            do throws(StorageError) {
                try sealer.seal(blob)
                places.seal(through: blob.lastFrame)
            } catch { return fail(error) }
        }
    }

    // MARK: Progress

    private func report(isLast: Bool) {
        let now = monotonicNanoseconds()
        let progress = turns.look { turns -> IngestProgress? in
            guard isLast || now >= turns.reportedAt + StoreLimits.progressIntervalNanoseconds else { return nil }
            turns.reportedAt = now
            return IngestProgress(
                doneBytes: isLast ? disk.virtualSizeBytes : turns.doneBytes, totalBytes: disk.virtualSizeBytes,
                reusedBytes: turns.reusedBytes, storedBytes: turns.storedBytes)
        }
        if let progress { control.onProgress(progress) }
    }
}

/// What one thread of an ingest has for itself: room for a window and what the window before left over, and a compressor.
/// Used by its thread only.
final class Worker {
    /// The slices of a window in the worker's memory.
    struct Cuts {
        let base: UnsafeRawPointer
        let guestOffset: UInt64
        let ranges: [Range<Int>]
        let rest: [UInt8]
    }

    private let memory: UnsafeMutableRawBufferPointer
    var encoder: FrameEncoder
    private static let room = SliceLimits.sliceByteCountMax

    init(level: Int) throws(CompressionError) {
        encoder = try FrameEncoder(level: level)
        memory = .allocate(byteCount: Self.room + StoreLimits.windowByteCount, alignment: 4096)
    }

    deinit { memory.deallocate() }

    /// Where a window of `count` bytes is read to.
    func window(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory[Self.room..<Self.room + count])
    }

    /// Cuts the window that was read, with what was left over before it.
    func cut(_ window: IngestWindow, carry: [UInt8], carryOffset: UInt64) -> Cuts {
        precondition(
            carry.isEmpty || carryOffset + UInt64(carry.count) == window.range.lowerBound,
            "what is left over lies right before the window")
        let start = Self.room - carry.count
        carry.withUnsafeBytes { memory[start..<Self.room].copyBytes(from: $0) }
        let bytes = UnsafeRawBufferPointer(rebasing: memory[start..<Self.room + window.range.count])
        let guestOffset = window.range.lowerBound - UInt64(carry.count)
        var ranges: [Range<Int>] = []
        let done = Cutter.cut(bytes, guestOffset: guestOffset, isLast: window.isLast, into: &ranges)
        return Cuts(
            base: bytes.baseAddress!, guestOffset: guestOffset, ranges: ranges, rest: Array(bytes[done...]))
    }

    /// Names the slices.
    func hash(_ cuts: Cuts) -> [CutSlice] {
        cuts.ranges.map { range in
            let bytes = UnsafeRawBufferPointer(start: cuts.base + range.lowerBound, count: range.count)
            return CutSlice(
                guestOffset: cuts.guestOffset + UInt64(range.lowerBound),
                entry: SliceEntry(slice: Digest.sha256(bytes), byteCount: UInt32(range.count)), bytes: bytes)
        }
    }
}
