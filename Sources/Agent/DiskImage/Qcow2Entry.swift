/// Where the bytes of one guest cluster are.
enum Qcow2Mapping: Equatable, Sendable {
    /// Nowhere: they are zero.
    case zero
    /// Plain, in the cluster at this offset of the file.
    case plain(host: UInt64)
    /// Compressed, in these bytes of the file.
    case compressed(host: UInt64, count: Int)
    /// In those of the 32 subclusters whose bit is set; the others are zero.
    case partial(host: UInt64, present: UInt32)
}

/// Takes the entries of L2 tables apart.
///
///     63 62 61 .. 56 55 ........ 9 8 .. 1 0
///     |  |  reserved  cluster      res.   all zero (version 3, not with subclusters)
///     |  0: plain; 1: compressed, and below is  sectors - 1 | offset
///     used once
///
/// With extended entries a second word follows: zero bits of the 32 subclusters above, presence bits below.
struct Qcow2EntryDecoder: Sendable {
    let header: Qcow2Header
    let fileBytes: UInt64

    static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
    private static let compressedFlag: UInt64 = 1 << 62
    private static let zeroFlag: UInt64 = 1
    private static let plainReserved: UInt64 = 0x3f00_0000_0000_01fe

    /// Takes one entry apart and checks it.
    /// - Parameters:
    ///   - bitmap: the second word of an extended entry, else 0.
    ///   - visible: how many bytes of the cluster are on the guest's disk.
    ///   - place: where the entry is in the file, for the error.
    func mapping(
        _ entry: UInt64, bitmap: UInt64, visible: UInt64, place: UInt64
    ) throws(DiskImageError) -> Qcow2Mapping {
        if entry | bitmap == 0 { return .zero }
        if entry & Self.compressedFlag != 0 { return try compressed(entry, bitmap, place) }
        guard entry & Self.plainReserved == 0 else {
            throw .corrupt(rule: "an L2 entry has reserved bits", offset: place)
        }
        let host = entry & Self.offsetMask
        guard host % header.clusterBytes == 0 else {
            throw .corrupt(rule: "a data cluster does not begin at a cluster", offset: place)
        }
        if header.hasExtendedL2 { return try extended(entry, bitmap, host, visible, place) }
        if entry & Self.zeroFlag != 0 {
            guard header.version >= 3 else { throw .corrupt(rule: "version 2 has no zero clusters", offset: place) }
            return .zero
        }
        guard host != 0 else { return .zero }
        try checkPlain(host, visible, place)
        return .plain(host: host)
    }

    private func compressed(
        _ entry: UInt64, _ bitmap: UInt64, _ place: UInt64
    ) throws(DiskImageError) -> Qcow2Mapping {
        guard bitmap == 0 else {
            throw .corrupt(rule: "a compressed cluster has a subcluster bitmap", offset: place)
        }
        let offsetBits = 62 - UInt64(header.clusterBits - 8)
        let host = entry & ((1 << offsetBits) - 1)
        let sectors = (entry & ~(3 << 62)) >> offsetBits + 1
        guard host >= header.clusterBytes else {
            throw .corrupt(rule: "a compressed cluster overlaps the header", offset: place)
        }
        guard host < fileBytes else {
            throw .corrupt(rule: "a compressed cluster lies outside the file", offset: place)
        }
        // The length is in whole sectors, so the last cluster of a file may seem to go beyond its end.
        let count = min(sectors * 512 - host % 512, fileBytes - host)
        try checkApart(host..<host + count, "a compressed cluster", place)
        return .compressed(host: host, count: Int(count))
    }

    private func extended(
        _ entry: UInt64, _ bitmap: UInt64, _ host: UInt64, _ visible: UInt64, _ place: UInt64
    ) throws(DiskImageError) -> Qcow2Mapping {
        let zero = UInt32(bitmap >> 32)
        let present = UInt32(truncatingIfNeeded: bitmap)
        guard entry & Self.zeroFlag == 0 else {
            throw .corrupt(rule: "an extended L2 entry has the zero bit of a plain one", offset: place)
        }
        guard zero & present == 0, host != 0 || present == 0 else {
            throw .corrupt(rule: "a subcluster is zero and present, or present nowhere", offset: place)
        }
        let subclusterBytes = header.clusterBytes / 32
        let shown = (visible + subclusterBytes - 1) / subclusterBytes
        let seen = present & (shown >= 32 ? .max : (1 << UInt32(shown)) - 1)
        guard seen != 0 else { return .zero }
        let last = UInt64(32 - seen.leadingZeroBitCount)
        try checkPlain(host, min(visible, last * subclusterBytes), place)
        return seen == .max ? .plain(host: host) : .partial(host: host, present: seen)
    }

    private func checkPlain(_ host: UInt64, _ count: UInt64, _ place: UInt64) throws(DiskImageError) {
        guard host < fileBytes, count <= fileBytes - host else {
            throw .corrupt(rule: "a data cluster lies outside the file", offset: place)
        }
        try checkApart(host..<host + count, "a data cluster", place)
    }

    private func checkApart(_ range: Range<UInt64>, _ what: String, _ place: UInt64) throws(DiskImageError) {
        // Not `first(where:)` and names made early: this runs for every cluster of a disk.
        for region in header.regions where region.range.overlaps(range) {
            throw .corrupt(rule: "\(what) overlaps \(region.name)", offset: place)
        }
    }
}
