import Blobs
import Model
import Storage
import Volumes

/// A slice of a window, cut and hashed.
struct CutSlice {
    let guestOffset: UInt64
    let entry: SliceEntry
    let bytes: UnsafeRawBufferPointer
}

/// Where the frames of an ingest went.
final class FramePlaces: Sendable {
    struct State {
        var places: [Int: (number: UInt32, firstPlace: UInt32)] = [:]
        /// Frames below this are written.
        var writtenCount = 0
        /// Frames below this lie in sealed blobs: the store answers for their slices.
        var sealedCount = 0
    }
    private let state = Guarded(State())

    func write(_ frame: Int, number: UInt32, firstPlace: UInt32) {
        state.with { state in
            state.places[frame] = (number, firstPlace)
            state.writtenCount = frame + 1
        }
    }

    func seal(through frame: Int) { state.with { $0.sealedCount = max($0.sealedCount, frame + 1) } }
    var sealedCount: Int { state.with { $0.sealedCount } }
    var writtenCount: Int { state.with { $0.writtenCount } }
    func place(_ frame: Int) -> (number: UInt32, firstPlace: UInt32)? { state.with { $0.places[frame] } }

    /// Forgets frames that nothing refers to any more.
    func forget(below frame: Int) {
        state.with { state in
            if state.places.count > 1024 { state.places = state.places.filter { $0.key >= frame } }
        }
    }
}

/// The part of an ingest that goes in guest order: asks which slices the store has, fills frames with the others, and
/// writes the manifest's segments. One thread at a time: whoever has the turn.
final class IngestSequence {
    /// The figures so far.
    struct Figures {
        var referencedBytes: UInt64 = 0
        var reusedBytes: UInt64 = 0
    }

    private enum Reference {
        case known(number: UInt32, place: UInt32)
        case fresh(frame: Int, slice: UInt32)
    }

    private struct PendingExtent {
        let guestOffset: UInt64
        let entry: SliceEntry
        let reference: Reference
    }

    private struct PendingSegment {
        let number: UInt64
        var extents: [PendingExtent] = []
        var firstFrame = Int.max
        var lastFrame = -1
    }

    private let store: SliceStore
    private let session: SessionID
    private let table: BlobTable
    private let places: FramePlaces
    private let pool: FrameBufferPool
    private let manifest: ManifestWriter
    private var content: ContentHasher
    private var frame: PlainFrame?
    private var frameCount = 0
    /// New slices whose blobs are not sealed yet; frame by frame, so that they can be let go.
    private var inFlight: [Digest: (frame: Int, slice: UInt32)] = [:]
    private var inFlightFrames: [(frame: Int, slices: [SliceEntry])] = []
    private var pending: [PendingSegment] = []
    private(set) var figures = Figures()

    init(
        _ store: SliceStore, session: SessionID, table: BlobTable, places: FramePlaces, pool: FrameBufferPool,
        manifest: ManifestWriter, virtualSizeBytes: UInt64
    ) {
        self.store = store
        self.session = session
        self.table = table
        self.places = places
        self.pool = pool
        self.manifest = manifest
        content = ContentHasher(slicingVersion: SliceLimits.slicingVersion, virtualSizeBytes: virtualSizeBytes)
    }

    /// Takes the slices of the next window.
    /// - Returns: the frames that are full now.
    func take(_ slices: [CutSlice]) throws(StorageError) -> [PlainFrame] {
        letGo()
        let found = try store.ask(slices.lazy.map(\.entry.slice), for: session)
        var closed: [PlainFrame] = []
        for (slice, place) in zip(slices, found) {
            figures.referencedBytes += UInt64(slice.entry.byteCount)
            add(slice, try reference(slice, place, &closed))
        }
        // A frame that fills slowly must not hold back the manifest of all that follows.
        if let open = frame, let last = pending.last?.number,
            last >= open.segment + UInt64(StoreLimits.pendingSegmentsMax)
        {
            close(open, &closed)
        }
        try writeSegments(isEnd: false)
        return closed
    }

    private func reference(
        _ slice: CutSlice, _ place: SlicePlace?, _ closed: inout [PlainFrame]
    ) throws(StorageError) -> Reference {
        if let place {
            let number = table.number(of: place.blob) { store.core.with { $0.blobs[place.blob]?.name } }
            // It is pinned, so it is there.
            guard let number else { throw .corrupt(nil, detail: "a blob went away while it was held") }
            figures.reusedBytes += UInt64(slice.entry.byteCount)
            return .known(number: number, place: place.place)
        }
        if let same = inFlight[slice.entry.slice] {
            figures.reusedBytes += UInt64(slice.entry.byteCount)
            return .fresh(frame: same.frame, slice: same.slice)
        }
        let count = Int(slice.entry.byteCount)
        if let full = frame, full.byteCount + count > BlobLimits.frameByteCountMax { close(full, &closed) }
        var open = frame ?? begin(at: slice.guestOffset)
        UnsafeMutableRawBufferPointer(rebasing: open.buffer.bytes[open.byteCount...]).copyMemory(from: slice.bytes)
        open.byteCount += count
        open.slices.append(slice.entry)
        frame = open
        let reference = (frame: open.number, slice: UInt32(open.slices.count - 1))
        inFlight[slice.entry.slice] = reference
        return .fresh(frame: reference.frame, slice: reference.slice)
    }

    private func begin(at guestOffset: UInt64) -> PlainFrame {
        defer { frameCount += 1 }
        return PlainFrame(
            number: frameCount, buffer: pool.take(), segment: guestOffset / SliceLimits.segmentByteCount)
    }

    private func close(_ full: PlainFrame, _ closed: inout [PlainFrame]) {
        inFlightFrames.append((full.number, full.slices))
        closed.append(full)
        frame = nil
    }

    // Slices of sealed blobs are answered by the store from now on.
    private func letGo() {
        let sealed = places.sealedCount
        var count = 0
        while count < inFlightFrames.count, inFlightFrames[count].frame < sealed {
            for entry in inFlightFrames[count].slices { inFlight[entry.slice] = nil }
            count += 1
        }
        inFlightFrames.removeFirst(count)
    }

    private func add(_ slice: CutSlice, _ reference: Reference) {
        content.add(
            SliceExtent(
                guestOffset: slice.guestOffset, byteCount: slice.entry.byteCount, slice: slice.entry.slice, blob: 0,
                place: 0))
        let number = slice.guestOffset / SliceLimits.segmentByteCount
        if pending.last?.number != number { pending.append(PendingSegment(number: number)) }
        let last = pending.count - 1
        if case .fresh(let frame, _) = reference {
            pending[last].firstFrame = min(pending[last].firstFrame, frame)
            pending[last].lastFrame = max(pending[last].lastFrame, frame)
        }
        pending[last].extents.append(
            PendingExtent(guestOffset: slice.guestOffset, entry: slice.entry, reference: reference))
    }

    /// The frame that is not full at the end of the disk.
    func takeLastFrame() -> PlainFrame? {
        defer { frame = nil }
        return frame
    }

    /// The number of frames that were begun.
    var framesBegun: Int { frameCount }

    /// Writes the rest of the manifest; every frame must be written.
    /// - Returns: the digest of the guest's content.
    func finish() throws(StorageError) -> Digest {
        try writeSegments(isEnd: true)
        return content.digest()
    }

    private func writeSegments(isEnd: Bool) throws(StorageError) {
        let written = places.writtenCount
        var done = 0
        while done < pending.count, isEnd || done < pending.count - 1, pending[done].lastFrame < written {
            let segment = pending[done]
            var extents: [SliceExtent] = []
            extents.reserveCapacity(segment.extents.count)
            for extent in segment.extents { extents.append(try resolve(extent)) }
            let block = ManifestSegment.encode(extents, number: UInt32(segment.number))
            try during("write the manifest") { () throws(VolumeError) in
                try manifest.append(block: block, number: UInt32(segment.number))
            }
            done += 1
        }
        guard done > 0 else { return }
        pending.removeFirst(done)
        let needed = min(
            pending.map(\.firstFrame).min() ?? Int.max, inFlightFrames.first?.frame ?? frame?.number ?? frameCount)
        places.forget(below: needed)
    }

    private func resolve(_ extent: PendingExtent) throws(StorageError) -> SliceExtent {
        let (number, place): (UInt32, UInt32)
        switch extent.reference {
        case .known(let known, let at): (number, place) = (known, at)
        case .fresh(let frame, let slice):
            guard let written = places.place(frame) else {
                throw .corrupt(nil, detail: "frame \(frame) of the ingest was forgotten too early")
            }
            (number, place) = (written.number, written.firstPlace + slice)
        }
        return SliceExtent(
            guestOffset: extent.guestOffset, byteCount: extent.entry.byteCount, slice: extent.entry.slice,
            blob: number, place: place)
    }
}

extension SliceStore {
    /// Ask and pin, in one critical section: which of these slices are here, durably. What is answered stays until the
    /// session ends.
    func ask(_ slices: some Sequence<Digest>, for session: SessionID) throws(StorageError) -> [SlicePlace?] {
        try core.with { (core) throws(StorageError) in
            var found: [SlicePlace?] = []
            for slice in slices {
                let place = try core.find(slice, in: index, shelf)
                if let place { core.pin(place.blob, for: session) }
                found.append(place)
            }
            return found
        }
    }
}
