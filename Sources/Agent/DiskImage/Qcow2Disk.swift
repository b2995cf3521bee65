/// The guest's disk in a qcow2 file.
struct Qcow2Disk: GuestDisk {
    let header: Qcow2Header
    private let file: FileReader
    private let tables: Qcow2Tables
    private let decoder: Qcow2Decoder
    private let decoded: RecentlyUsed<Qcow2Cluster>

    /// Checks the file and opens the disk.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        self.file = file
        header = try Qcow2Header(file, limits: limits)
        tables = try Qcow2Tables(file, header)
        decoder = Qcow2Decoder(file, header.compression)
        decoded = RecentlyUsed(capacity: max(2, Limits.qcow2ClusterCacheBytes / Int(header.clusterBytes)))
    }

    var virtualSizeBytes: UInt64 { header.virtualSizeBytes }

    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        precondition(offset < header.virtualSizeBytes, "the offset lies on the disk")
        var isData: Bool?
        var end = offset
        var steps = 0
        while end < header.virtualSizeBytes, steps < Limits.extentStepCountMax {
            let cluster = end / header.clusterBytes
            guard let piece = try tables.piece(for: cluster) else {
                if isData == true { break }
                isData = false
                end = min(tables.endOfTable(cluster) * header.clusterBytes, header.virtualSizeBytes)
                continue
            }
            let part = run(try tables.mapping(cluster, in: piece), at: end)
            if let known = isData, known != part.isData { break }
            isData = part.isData
            end = part.end
            steps += 1
        }
        return GuestExtent(range: offset..<end, isData: isData ?? true)
    }

    /// How far the bytes at `offset` are of one kind, within its cluster.
    private func run(_ mapping: Qcow2Mapping, at offset: UInt64) -> (end: UInt64, isData: Bool) {
        let start = offset / header.clusterBytes * header.clusterBytes
        let clusterEnd = min(start + header.clusterBytes, header.virtualSizeBytes)
        switch mapping {
        case .zero: return (clusterEnd, false)
        case .plain, .compressed: return (clusterEnd, true)
        case .partial(_, let present):
            let subclusterBytes = header.clusterBytes / 32
            let first = (offset - start) / subclusterBytes
            let isData = present >> UInt32(first) & 1 == 1
            let rest = (isData ? ~present : present) >> UInt32(first)
            let count = min(UInt64(rest.trailingZeroBitCount), 32 - first)
            return (min(start + (first + count) * subclusterBytes, clusterEnd), isData)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        precondition(
            offset <= header.virtualSizeBytes && UInt64(buffer.count) <= header.virtualSizeBytes - offset,
            "the range lies on the disk")
        var pending = PendingRead()
        var done = 0
        while done < buffer.count {
            let place = offset + UInt64(done)
            let mapping = try tables.mapping(place / header.clusterBytes)
            let part = run(mapping, at: place)
            let count = Int(min(part.end - place, UInt64(buffer.count - done)))
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            let inside = place % header.clusterBytes
            switch mapping {
            case .plain(let host), .partial(let host, _):
                if part.isData {
                    try extend(&pending, host + inside, done..<done + count, buffer)
                } else {
                    target.initializeMemory(as: UInt8.self, repeating: 0)
                }
            case .zero: target.initializeMemory(as: UInt8.self, repeating: 0)
            case .compressed(let host, let packed):
                try copy(host, packed, from: Int(inside), to: target)
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
        try file.fill(target, at: pending.host, what: "a data cluster")
        pending = PendingRead()
    }

    /// Decompresses straight into a target of a whole cluster, else by way of the clusters that are kept.
    private func copy(
        _ host: UInt64, _ packed: Int, from inside: Int, to target: UnsafeMutableRawBufferPointer
    ) throws(DiskImageError) {
        if target.count == Int(header.clusterBytes) {
            return try decoder.decode(into: target, host: host, count: packed)
        }
        let cluster: Qcow2Cluster
        if let known = decoded.value(for: host) {
            cluster = known
        } else {
            cluster = Qcow2Cluster(byteCount: Int(header.clusterBytes))
            try decoder.decode(into: cluster.bytes, host: host, count: packed)
            decoded.insert(cluster, for: host)
        }
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: cluster.bytes[inside..<inside + target.count]))
    }
}
