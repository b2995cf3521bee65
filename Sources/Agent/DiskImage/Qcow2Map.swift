/// Where the parts of the guest's disk are in a qcow2 file of versions 2 and 3.
struct Qcow2Map: GuestMap {
    let header: Qcow2Header
    private let tables: Qcow2Tables
    private let decoder: Qcow2Decoder

    /// Reads and checks the header and the tables.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        header = try Qcow2Header(file, limits: limits)
        tables = try Qcow2Tables(file, header)
        decoder = Qcow2Decoder(file, header.compression)
    }

    var virtualSizeBytes: UInt64 { header.virtualSizeBytes }
    var unitBytes: UInt64 { header.clusterBytes }
    var unitName: String { "a data cluster" }

    func run(at offset: UInt64) throws(DiskImageError) -> GuestRun {
        let cluster = offset / header.clusterBytes
        guard let piece = try tables.piece(for: cluster) else {
            let end = min(tables.endOfTable(cluster) * header.clusterBytes, header.virtualSizeBytes)
            return GuestRun(end: end, place: .zero)
        }
        let start = cluster * header.clusterBytes
        let clusterEnd = min(start + header.clusterBytes, header.virtualSizeBytes)
        switch try tables.mapping(cluster, in: piece) {
        case .zero: return GuestRun(end: clusterEnd, place: .zero)
        case .plain(let host): return GuestRun(end: clusterEnd, place: .plain(host: host + offset - start))
        case .compressed(let host, let count):
            return GuestRun(end: clusterEnd, place: .packed(PackedUnit(host: host, count: count, start: start)))
        case .partial(let host, let present):
            let subclusterBytes = header.clusterBytes / 32
            let first = (offset - start) / subclusterBytes
            let isData = present >> UInt32(first) & 1 == 1
            let rest = (isData ? ~present : present) >> UInt32(first)
            let count = min(UInt64(rest.trailingZeroBitCount), 32 - first)
            let end = min(start + (first + count) * subclusterBytes, clusterEnd)
            return GuestRun(end: end, place: isData ? .plain(host: host + offset - start) : .zero)
        }
    }

    func unpack(_ unit: PackedUnit, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        try decoder.decode(into: output, host: unit.host, count: unit.count)
    }
}
