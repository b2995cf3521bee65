import Compression

/// Where the parts of the guest's disk are in a VMDK file of one sparse extent.
struct VmdkMap: GuestMap {
    let header: VmdkHeader
    private let tables: VmdkTables
    private let grains: VmdkGrain

    /// Reads and checks the header, the descriptor and the tables.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        header = try VmdkHeader(file, limits: limits)
        tables = try VmdkTables(file, header)
        grains = VmdkGrain(file)
    }

    var virtualSizeBytes: UInt64 { header.virtualSizeBytes }
    var unitBytes: UInt64 { header.grainBytes }
    var unitName: String { "a grain" }

    func run(at offset: UInt64) throws(DiskImageError) -> GuestRun {
        let grain = offset / header.grainBytes
        guard let table = try tables.table(for: grain) else {
            let end = min(tables.endOfTable(grain) * header.grainBytes, header.virtualSizeBytes)
            return GuestRun(end: end, place: .zero)
        }
        let start = grain * header.grainBytes
        let end = min(start + header.grainBytes, header.virtualSizeBytes)
        switch try tables.mapping(grain, in: table) {
        case .zero: return GuestRun(end: end, place: .zero)
        case .plain(let host): return GuestRun(end: end, place: .plain(host: host + offset - start))
        case .compressed(let host):
            return GuestRun(end: end, place: .packed(PackedUnit(host: host, count: 0, start: start)))
        }
    }

    func unpack(_ unit: PackedUnit, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        let visible = min(header.grainBytes, header.virtualSizeBytes - unit.start)
        try grains.unpack(unit, visible: Int(visible), into: output)
    }
}

/// Reads compressed grains: the sector on the guest's disk, the number of bytes, and a zlib stream.
struct VmdkGrain: Sendable {
    static let headerBytes = 12

    private let file: FileReader

    init(_ file: FileReader) { self.file = file }

    /// Fills `output`, which is a whole grain; what the stream leaves, behind the end of the disk, is zero.
    func unpack(
        _ unit: PackedUnit, visible: Int, into output: UnsafeMutableRawBufferPointer
    ) throws(DiskImageError) {
        let marker = try file.bytes(at: unit.host, count: Self.headerBytes, what: "a compressed grain")
        guard marker.little64(0) == unit.start / VmdkHeader.sectorBytes else {
            throw .corrupt(rule: "a compressed grain is for another place of the disk", offset: unit.host)
        }
        let count = Int(marker.little32(8))
        guard count > 0, count <= 2 * output.count else {
            throw .corrupt(rule: "a compressed grain has \(count) bytes", offset: unit.host + 8)
        }
        let packed = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { packed.deallocate() }
        try file.fill(packed, at: unit.host + UInt64(Self.headerBytes), what: "a compressed grain")
        let written: Int
        do throws(CompressionError) {
            written = try Inflate.wholeZlib(into: output, from: UnsafeRawBufferPointer(packed))
        } catch {
            throw .corrupt(rule: "a compressed grain: \(error)", offset: unit.host)
        }
        guard written >= visible else {
            throw .corrupt(rule: "a compressed grain holds \(written) bytes, not a whole grain", offset: unit.host)
        }
        UnsafeMutableRawBufferPointer(rebasing: output[written...]).initializeMemory(as: UInt8.self, repeating: 0)
    }
}
