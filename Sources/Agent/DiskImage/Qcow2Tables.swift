/// A piece of an L2 table, as it stands in the file.
final class Qcow2L2Piece: Sendable {
    /// The entries' words in the machine's order: one or two to an entry.
    let words: [UInt64]
    /// Where the first is in the file.
    let place: UInt64

    init(words: [UInt64], place: UInt64) {
        self.words = words
        self.place = place
    }
}

/// The mapping from guest clusters to places in a qcow2 file. The L1 table is held; of the L2 tables, the pieces
/// that were used last.
final class Qcow2Tables: Sendable {
    let header: Qcow2Header
    let decoder: Qcow2EntryDecoder
    private let file: FileReader
    /// The offset of each L2 table, 0 for none.
    private let l2Offsets: [UInt64]
    private let pieces: RecentlyUsed<Qcow2L2Piece>
    let entriesPerPiece: UInt64

    /// Loads the L1 table and checks every table, and the first 64 MiB of L2 entries.
    init(_ file: FileReader, _ header: Qcow2Header) throws(DiskImageError) {
        self.header = header
        self.file = file
        decoder = Qcow2EntryDecoder(header: header, fileBytes: file.byteCount)
        let pieceBytes = min(Int(header.clusterBytes), Limits.qcow2L2PieceBytes)
        entriesPerPiece = UInt64(pieceBytes) / header.l2EntryBytes
        pieces = RecentlyUsed(capacity: max(2, Limits.qcow2L2CacheBytes / pieceBytes))
        let used = try Self.emptyMap(file, header)
        l2Offsets = try Self.loadL1(file, header, used)
        try Self.claimRefcountBlocks(file, header, used)
        try checkEntries(used)
    }

    /// The map of what host clusters are used for, with the tables of the header marked.
    private static func emptyMap(_ file: FileReader, _ header: Qcow2Header) throws(DiskImageError) -> ClusterSet {
        let clusters = (file.byteCount + header.clusterBytes - 1) / header.clusterBytes
        guard clusters <= Limits.qcow2HostClusterCountMax else {
            throw .unsupported(
                feature: "qcow2 files of more than 268435456 clusters; convert with larger ones", offset: 20)
        }
        let used = try ClusterSet(below: clusters)
        for region in header.regions {
            let end = min((region.range.upperBound + header.clusterBytes - 1) / header.clusterBytes, clusters)
            used.insert(region.range.lowerBound / header.clusterBytes..<end)
        }
        return used
    }

    private static func loadL1(
        _ file: FileReader, _ header: Qcow2Header, _ used: ClusterSet
    ) throws(DiskImageError) -> [UInt64] {
        var entries: [UInt64] = []
        try file.appendWords(
            to: &entries, at: header.l1Offset, count: Int(header.l1EntryCount), what: "the L1 table")
        for index in entries.indices where entries[index] != 0 {
            let place = header.l1Offset + UInt64(index) * 8
            let offset = entries[index] & Qcow2EntryDecoder.offsetMask
            guard entries[index] & ~(Qcow2EntryDecoder.offsetMask | 1 << 63) == 0 else {
                throw .corrupt(rule: "an L1 entry has reserved bits", offset: place)
            }
            entries[index] = offset
            if offset != 0 { try claim(offset, "an L2 table", place, file, header, used) }
        }
        return entries
    }

    /// Reads the reference count table for its places only: counts say nothing about what a guest sees.
    private static func claimRefcountBlocks(
        _ file: FileReader, _ header: Qcow2Header, _ used: ClusterSet
    ) throws(DiskImageError) {
        var blocks: [UInt64] = []
        try file.appendWords(
            to: &blocks, at: header.refcountTableOffset, count: Int(header.refcountTableBytes / 8),
            what: "the reference count table")
        for index in blocks.indices where blocks[index] != 0 {
            let place = header.refcountTableOffset + UInt64(index) * 8
            guard blocks[index] & 0x1ff == 0 else {
                throw .corrupt(rule: "a reference count table entry has reserved bits", offset: place)
            }
            try claim(blocks[index], "a reference count block", place, file, header, used)
        }
    }

    private static func claim(
        _ offset: UInt64, _ what: String, _ place: UInt64, _ file: FileReader, _ header: Qcow2Header,
        _ used: ClusterSet
    ) throws(DiskImageError) {
        guard offset % header.clusterBytes == 0 else {
            throw .corrupt(rule: "\(what) does not begin at a cluster", offset: place)
        }
        guard file.contains(offset, header.clusterBytes) else {
            throw .corrupt(rule: "\(what) lies outside the file", offset: place)
        }
        guard used.insert(offset / header.clusterBytes) else {
            throw .corrupt(rule: "\(what) overlaps another table", offset: place)
        }
    }

    /// Checks entries up to a bound, so that a broken file is refused before any of it is stored. A plain cluster
    /// that is used twice is refused: no tool writes such images, and a small file could feign a large disk.
    private func checkEntries(_ used: ClusterSet) throws(DiskImageError) {
        var checkedBytes: UInt64 = 0
        for index in l2Offsets.indices where l2Offsets[index] != 0 {
            var cluster = UInt64(index) * header.l2EntryCount
            let end = min(cluster + header.l2EntryCount, clusterCount)
            while cluster < end {
                guard let piece = try readPiece(cluster) else { break }
                for step in 0..<min(entriesPerPiece, end - cluster) {
                    try claimData(mapping(cluster + step, in: piece), cluster + step, used)
                }
                cluster += entriesPerPiece
            }
            checkedBytes += header.clusterBytes
            guard checkedBytes < Limits.qcow2CheckedL2BytesMax else { return }
        }
    }

    private func claimData(_ mapping: Qcow2Mapping, _ cluster: UInt64, _ used: ClusterSet) throws(DiskImageError) {
        let host: UInt64
        switch mapping {
        case .plain(let offset), .partial(let offset, _): host = offset
        case .zero, .compressed: return
        }
        guard used.insert(host / header.clusterBytes) else {
            throw .corrupt(
                rule: "guest cluster \(cluster) lies in a cluster that something else uses", offset: host)
        }
    }

    /// The number of clusters of the guest's disk; the last may be cut off by its end.
    var clusterCount: UInt64 { (header.virtualSizeBytes + header.clusterBytes - 1) / header.clusterBytes }

    /// The piece of an L2 table that maps a guest cluster; nil where there is no table.
    func piece(for cluster: UInt64) throws(DiskImageError) -> Qcow2L2Piece? {
        let key = cluster / entriesPerPiece
        if let known = pieces.value(for: key) { return known }
        guard let piece = try readPiece(cluster) else { return nil }
        pieces.insert(piece, for: key)
        return piece
    }

    private func readPiece(_ cluster: UInt64) throws(DiskImageError) -> Qcow2L2Piece? {
        let table = l2Offsets[Int(cluster / header.l2EntryCount)]
        guard table != 0 else { return nil }
        let first = cluster % header.l2EntryCount / entriesPerPiece * entriesPerPiece
        let place = table + first * header.l2EntryBytes
        var words: [UInt64] = []
        let count = Int(entriesPerPiece * header.l2EntryBytes / 8)
        try file.appendWords(to: &words, at: place, count: count, what: "an L2 table")
        return Qcow2L2Piece(words: words, place: place)
    }

    /// The first guest cluster after `cluster` that another L1 entry maps.
    func endOfTable(_ cluster: UInt64) -> UInt64 {
        min((cluster / header.l2EntryCount + 1) * header.l2EntryCount, clusterCount)
    }

    /// Where a guest cluster is, from the piece that maps it.
    func mapping(_ cluster: UInt64, in piece: Qcow2L2Piece) throws(DiskImageError) -> Qcow2Mapping {
        let visible = min(header.clusterBytes, header.virtualSizeBytes - cluster * header.clusterBytes)
        let index = Int(cluster % entriesPerPiece)
        if header.hasExtendedL2 {
            return try decoder.mapping(
                piece.words[index * 2], bitmap: piece.words[index * 2 + 1], visible: visible,
                place: piece.place + UInt64(index) * 16)
        }
        return try decoder.mapping(
            piece.words[index], bitmap: 0, visible: visible, place: piece.place + UInt64(index) * 8)
    }
}
