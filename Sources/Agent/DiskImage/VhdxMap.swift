/// Where the parts of the guest's disk are in a VHDX without a parent: one entry of the table for each block. Of the
/// table, the pieces are kept that were used last.
///
///     63 ......... 20 19 ... 3 2 . 0
///     MiB of the file reserved state: 6 is there; 0, 1, 2, 3 are zero
///
/// Source: MS-VHDX, 2.5.
struct VhdxMap: GuestMap {
    private final class Piece: Sendable {
        let entries: [UInt64]
        init(_ entries: [UInt64]) { self.entries = entries }
    }

    let header: VhdxHeader
    private let file: FileReader
    private let pieces = RecentlyUsed<Piece>(capacity: Limits.vhdxTablePieceCacheCount)
    private static let entriesPerPiece = UInt64(Limits.vhdxTablePieceBytes / 8)

    /// Reads and checks what the file says, and all entries up to a bound.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        self.file = file
        header = try VhdxHeader(file, limits: limits)
        try checkEntries()
    }

    var virtualSizeBytes: UInt64 { header.virtualSizeBytes }
    var unitBytes: UInt64 { header.blockBytes }
    var unitName: String { "a block" }

    func run(at offset: UInt64) throws(DiskImageError) -> GuestRun {
        let block = offset / header.blockBytes
        let start = block * header.blockBytes
        let end = min(start + header.blockBytes, header.virtualSizeBytes)
        let entry = number(ofBlock: block)
        let key = entry / Self.entriesPerPiece
        let piece: Piece
        if let known = pieces.value(for: key) {
            piece = known
        } else {
            piece = try read(key)
            pieces.insert(piece, for: key)
        }
        let host = try host(piece.entries[Int(entry % Self.entriesPerPiece)], entry, visible: end - start)
        return GuestRun(end: end, place: host.map { .plain(host: $0 + offset - start) } ?? .zero)
    }

    /// After so many blocks comes an entry of a bitmap, which only disks with a parent use.
    private func number(ofBlock block: UInt64) -> UInt64 { block + block / header.chunkBlocks }

    private func read(_ key: UInt64) throws(DiskImageError) -> Piece {
        let first = key * Self.entriesPerPiece
        let count = min(Self.entriesPerPiece, header.entryCount - first)
        var entries: [UInt64] = []
        try file.appendWords(
            to: &entries, at: header.tableOffset + first * 8, count: Int(count), what: "the block table")
        return Piece(entries.map(\.byteSwapped))
    }

    /// Where a block is; nil when it is zero.
    private func host(_ word: UInt64, _ entry: UInt64, visible: UInt64) throws(DiskImageError) -> UInt64? {
        let place = header.tableOffset + entry * 8
        guard word & 0xffff8 == 0 else {
            throw .corrupt(rule: "an entry of the block table has reserved bits", offset: place)
        }
        switch word & 7 {
        case 0, 1, 2, 3: return nil
        case 6:
            let host = word & ~0xfffff
            guard file.contains(host, visible) else {
                throw .corrupt(rule: "a block lies outside the file", offset: place)
            }
            for region in header.regions where region.range.overlaps(host..<host + visible) {
                throw .corrupt(rule: "a block overlaps \(region.name)", offset: place)
            }
            return host
        default: throw .corrupt(rule: "a block is in the state \(word & 7)", offset: place)
        }
    }

    /// Checks entries up to a bound: where blocks are, and that no two overlap.
    private func checkEntries() throws(DiskImageError) {
        let units = file.byteCount / VhdxHeader.unitBytes + 1
        let used = try ClusterSet(below: units)
        var piece: (key: UInt64, value: Piece)?
        for block in 0..<header.blockCount {
            let entry = number(ofBlock: block)
            guard entry * 8 < Limits.vhdxCheckedTableBytesMax else { return }
            let key = entry / Self.entriesPerPiece
            let current: Piece
            if let piece, piece.key == key {
                current = piece.value
            } else {
                current = try read(key)
                piece = (key, current)
            }
            let visible = min(header.blockBytes, header.virtualSizeBytes - block * header.blockBytes)
            let word = current.entries[Int(entry % Self.entriesPerPiece)]
            guard let host = try host(word, entry, visible: visible) else { continue }
            let first = host / VhdxHeader.unitBytes
            for unit in first..<first + (visible + VhdxHeader.unitBytes - 1) / VhdxHeader.unitBytes {
                guard used.insert(unit) else {
                    throw .corrupt(rule: "a block overlaps another", offset: header.tableOffset + entry * 8)
                }
            }
        }
    }

    func unpack(_ unit: PackedUnit, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        preconditionFailure("nothing in a VHDX is compressed")
    }
}
