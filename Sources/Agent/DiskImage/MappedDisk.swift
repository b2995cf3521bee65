/// Where a run of the guest's disk is kept.
enum GuestPlace: Equatable, Sendable {
    /// Nowhere: it is zero.
    case zero
    /// As it is, from this offset of the file.
    case plain(host: UInt64)
    /// In a unit that is compressed as a whole.
    case packed(PackedUnit)
}

/// A cluster or grain that is compressed.
struct PackedUnit: Equatable, Sendable {
    /// Where it begins in the file.
    let host: UInt64
    /// Its bytes in the file, as far as the tables tell.
    let count: Int
    /// Where it begins on the guest's disk.
    let start: UInt64
}

/// From a place on the guest's disk to `end`, all is kept in one way.
struct GuestRun: Equatable, Sendable {
    let end: UInt64
    let place: GuestPlace

    var isData: Bool { place != .zero }
}

/// What differs between the formats that keep a disk in pieces: where each piece is.
protocol GuestMap: Sendable {
    /// The size of the guest's disk in bytes.
    var virtualSizeBytes: UInt64 { get }
    /// The size of what is compressed as a whole, or of any piece where nothing is; a power of two.
    var unitBytes: UInt64 { get }
    /// What a piece is called when the file ends in it.
    var unitName: String { get }
    /// The run that begins at `offset`; it ends where its unit does, or later.
    func run(at offset: UInt64) throws(DiskImageError) -> GuestRun
    /// Fills `output`, which is a whole unit, with what is in `unit`.
    func unpack(_ unit: PackedUnit, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError)
}

/// A unit that was decompressed.
final class UnpackedUnit: @unchecked Sendable {
    // Unchecked: the bytes are written by the thread that made it, before any other can see it.
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int) { bytes = .allocate(byteCount: byteCount, alignment: 4096) }

    deinit { bytes.deallocate() }
}

/// The guest's disk in a file that keeps it in pieces.
struct MappedDisk<Map: GuestMap>: GuestDisk {
    private let file: FileReader
    private let map: Map
    private let unpacked: RecentlyUsed<UnpackedUnit>

    init(_ file: FileReader, _ map: Map) {
        self.file = file
        self.map = map
        unpacked = RecentlyUsed(capacity: max(2, Limits.unpackedCacheBytes / Int(map.unitBytes)))
    }

    var virtualSizeBytes: UInt64 { map.virtualSizeBytes }

    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        precondition(offset < map.virtualSizeBytes, "the offset lies on the disk")
        var run = try map.run(at: offset)
        let isData = run.isData
        var end = run.end
        var steps = 1
        while end < map.virtualSizeBytes, steps < Limits.extentStepCountMax {
            run = try map.run(at: end)
            guard run.isData == isData else { break }
            end = run.end
            steps += 1
        }
        return GuestExtent(range: offset..<end, isData: isData)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        precondition(
            offset <= map.virtualSizeBytes && UInt64(buffer.count) <= map.virtualSizeBytes - offset,
            "the range lies on the disk")
        var pending = PendingRead()
        var done = 0
        while done < buffer.count {
            let place = offset + UInt64(done)
            let run = try map.run(at: place)
            let count = Int(min(run.end - place, UInt64(buffer.count - done)))
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            switch run.place {
            case .zero: target.initializeMemory(as: UInt8.self, repeating: 0)
            case .plain(let host): try extend(&pending, host, done..<done + count, buffer)
            case .packed(let unit): try copy(unit, from: Int(place - unit.start), to: target)
            }
            done += count
        }
        try flush(&pending, buffer)
    }

    /// Bytes that lie together in the file and in the buffer are read at once.
    private struct PendingRead {
        var host: UInt64 = 0
        var target: Range<Int> = 0..<0
    }

    private func extend(
        _ pending: inout PendingRead, _ host: UInt64, _ target: Range<Int>, _ buffer: UnsafeMutableRawBufferPointer
    ) throws(DiskImageError) {
        if pending.target.upperBound == target.lowerBound, pending.host + UInt64(pending.target.count) == host,
            !pending.target.isEmpty
        {
            pending.target = pending.target.lowerBound..<target.upperBound
            return
        }
        try flush(&pending, buffer)
        pending = PendingRead(host: host, target: target)
    }

    private func flush(_ pending: inout PendingRead, _ buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        guard !pending.target.isEmpty else { return }
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer[pending.target])
        try file.fill(target, at: pending.host, what: map.unitName)
        pending = PendingRead()
    }

    /// Decompresses straight into a target of a whole unit, else by way of the units that are kept.
    private func copy(
        _ unit: PackedUnit, from inside: Int, to target: UnsafeMutableRawBufferPointer
    ) throws(DiskImageError) {
        if target.count == Int(map.unitBytes) { return try map.unpack(unit, into: target) }
        let whole: UnpackedUnit
        if let known = unpacked.value(for: unit.start) {
            whole = known
        } else {
            whole = UnpackedUnit(byteCount: Int(map.unitBytes))
            try map.unpack(unit, into: whole.bytes)
            unpacked.insert(whole, for: unit.start)
        }
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: whole.bytes[inside..<inside + target.count]))
    }
}
