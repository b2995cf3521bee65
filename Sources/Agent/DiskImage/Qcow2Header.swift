/// How the compressed clusters of a qcow2 file are compressed.
enum Qcow2Compression: Sendable {
    case zlib
    case zstd
}

/// A part of a qcow2 file that is known from the header.
struct Qcow2Region: Sendable {
    let name: String
    let range: Range<UInt64>
}

/// The header of a qcow2 file whose every rule was checked; tables are inside the file and apart from each other.
/// Source: qemu, docs/interop/qcow2.txt.
struct Qcow2Header: Sendable {
    let version: UInt32
    let clusterBits: UInt32
    let virtualSizeBytes: UInt64
    let l1Offset: UInt64
    let refcountTableOffset: UInt64
    let refcountTableBytes: UInt64
    let compression: Qcow2Compression
    /// Entries of 16 bytes with a bitmap of 32 subclusters each.
    let hasExtendedL2: Bool
    /// Header, L1 table, reference count table and snapshot table.
    let regions: [Qcow2Region]
    /// For the admin.
    let notes: [String]

    var clusterBytes: UInt64 { 1 << UInt64(clusterBits) }
    var l2EntryBytes: UInt64 { hasExtendedL2 ? 16 : 8 }
    var l2EntryCount: UInt64 { clusterBytes / l2EntryBytes }
    /// Guest bytes that one L2 table maps.
    var l2SpanBytes: UInt64 { l2EntryCount * clusterBytes }
    /// L1 entries that the guest's disk needs; the table may have more.
    var l1EntryCount: UInt64 { (virtualSizeBytes + l2SpanBytes - 1) / l2SpanBytes }
}

extension Qcow2Header {
    private static let bytesOfVersion2 = 72
    private static let bytesOfVersion3: UInt32 = 104

    private struct Features {
        var headerBytes: UInt32 = 72
        var compression = Qcow2Compression.zlib
        var hasExtendedL2 = false
    }

    /// Reads and checks the header, its extensions and the places of the tables it names.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        let fixed = try file.bytes(at: 0, count: Self.bytesOfVersion2, what: "the qcow2 header")
        guard fixed.has([0x51, 0x46, 0x49, 0xfb], at: 0) else {
            throw .corrupt(rule: "the qcow2 signature is missing", offset: 0)
        }
        version = fixed.big32(4)
        guard version == 2 || version == 3 else {
            throw .unsupported(feature: "qcow2 version \(version)", offset: 4)
        }
        clusterBits = fixed.big32(20)
        guard Limits.qcow2ClusterBits.contains(clusterBits) else {
            throw .corrupt(rule: "cluster_bits is \(clusterBits), not 9 to 21", offset: 20)
        }
        virtualSizeBytes = fixed.big64(24)
        try Self.checkOutside(fixed)
        try Self.checkSize(virtualSizeBytes, limits)
        let features = version == 3 ? try Self.features(file, clusterBits) : Features()
        compression = features.compression
        hasExtendedL2 = features.hasExtendedL2
        l1Offset = fixed.big64(40)
        refcountTableOffset = fixed.big64(48)
        var notes: [String] = []
        try Self.checkExtensions(file, features.headerBytes, clusterBits, &notes)
        let clusterBytes = UInt64(1) << UInt64(clusterBits)
        let (refcountBytes, overflows) = UInt64(fixed.big32(56)).multipliedReportingOverflow(by: clusterBytes)
        refcountTableBytes = overflows ? .max : refcountBytes
        let entries = clusterBytes / (features.hasExtendedL2 ? 16 : 8)
        let span = entries * clusterBytes
        let needed = virtualSizeBytes / span + (virtualSizeBytes % span == 0 ? 0 : 1)
        guard UInt64(fixed.big32(36)) >= needed else {
            throw .corrupt(rule: "the L1 table is too short for the virtual size", offset: 36)
        }
        regions = try Self.regions(fixed, file, clusterBytes, refcountTableBytes)
        let snapshots = fixed.big32(60)
        if snapshots > 0 {
            let what = snapshots == 1 ? "1 internal snapshot is" : "\(snapshots) internal snapshots are"
            notes.append("\(what) not carried over; only the current state of the disk is taken.")
        }
        self.notes = notes
    }

    /// What would make a reader open something besides the file, or need a key.
    private static func checkOutside(_ fixed: [UInt8]) throws(DiskImageError) {
        guard fixed.big64(8) == 0 else {
            throw .unsafe(rule: "the image needs a backing file; flatten it first (qemu-img convert)", offset: 8)
        }
        guard fixed.big32(32) == 0 else { throw .unsupported(feature: "encrypted qcow2 images", offset: 32) }
    }

    private static func checkSize(_ size: UInt64, _ limits: InspectionLimits) throws(DiskImageError) {
        guard size > 0 else { throw .corrupt(rule: "the virtual size is zero", offset: 24) }
        guard size <= limits.virtualSizeBytesMax else {
            throw .tooLarge(virtualSizeBytes: size, limitBytes: limits.virtualSizeBytesMax)
        }
        guard size % 512 == 0 else {
            throw .corrupt(rule: "the virtual size is not a multiple of 512", offset: 24)
        }
    }

    /// The fields that version 3 added.
    private static func features(_ file: FileReader, _ clusterBits: UInt32) throws(DiskImageError) -> Features {
        let fixed = try file.bytes(at: 0, count: Int(bytesOfVersion3), what: "the qcow2 header")
        let incompatible = fixed.big64(72)
        guard incompatible & 4 == 0 else {
            throw .unsafe(rule: "the image keeps its data in another file", offset: 72)
        }
        guard incompatible & 2 == 0 else {
            throw .corrupt(rule: "the image is marked corrupt; repair it first (qemu-img check -r all)", offset: 72)
        }
        guard incompatible & 1 == 0 else {
            throw .corrupt(
                rule: "the image was not closed (dirty); repair it first (qemu-img check -r all)", offset: 72)
        }
        guard incompatible & ~0x1f == 0 else {
            let bits = String(incompatible & ~0x1f, radix: 16)
            throw .unsupported(feature: "incompatible features 0x\(bits)", offset: 72)
        }
        guard fixed.big32(96) <= 6 else { throw .corrupt(rule: "refcount_order is more than 6", offset: 96) }
        var features = Features()
        features.headerBytes = fixed.big32(100)
        guard features.headerBytes >= bytesOfVersion3, features.headerBytes % 8 == 0,
            features.headerBytes <= 1 << clusterBits
        else { throw .corrupt(rule: "header_length is not 104 to a cluster, or not a multiple of 8", offset: 100) }
        features.hasExtendedL2 = incompatible & 16 != 0
        guard !features.hasExtendedL2 || clusterBits >= 14 else {
            throw .corrupt(rule: "extended L2 entries need clusters of 16 KiB or more", offset: 72)
        }
        let type = features.headerBytes >= 112 ? try file.bytes(at: 104, count: 1, what: "the qcow2 header")[0] : 0
        guard (incompatible & 8 != 0) == (type != 0) else {
            throw .corrupt(rule: "the compression type and its feature bit disagree", offset: 104)
        }
        guard type <= 1 else { throw .unsupported(feature: "compression type \(type)", offset: 104) }
        features.compression = type == 1 ? .zstd : .zlib
        return features
    }

    /// Walks the header extensions inside the first cluster.
    private static func checkExtensions(
        _ file: FileReader, _ start: UInt32, _ clusterBits: UInt32, _ notes: inout [String]
    ) throws(DiskImageError) {
        let end = Int(min(file.byteCount, 1 << UInt64(clusterBits)))
        let cluster = try file.bytes(at: 0, count: end, what: "the qcow2 header")
        var place = Int(start)
        while place + 8 <= end {
            let type = cluster.big32(place)
            let length = Int(cluster.big32(place + 4))
            guard type != 0 else { return }
            guard length <= end - place - 8 else {
                throw .corrupt(rule: "a header extension is longer than the first cluster", offset: UInt64(place + 4))
            }
            switch type {
            case 0x4441_5441:
                throw .unsafe(rule: "the image names an external data file", offset: UInt64(place))
            case 0x0537_be77: throw .unsupported(feature: "encrypted qcow2 images", offset: UInt64(place))
            case 0x2385_2875: notes.append("Persistent dirty bitmaps are not carried over.")
            default: break
            }
            place += 8 + (length + 7) & ~7
        }
    }

    /// The tables whose places the header gives: aligned, bounded, in the file, and apart.
    private static func regions(
        _ fixed: [UInt8], _ file: FileReader, _ clusterBytes: UInt64, _ refcountTableBytes: UInt64
    ) throws(DiskImageError) -> [Qcow2Region] {
        let l1Bytes = UInt64(fixed.big32(36)) * 8
        guard l1Bytes <= Limits.qcow2L1BytesMax else {
            throw .unsafe(rule: "the L1 table is larger than 32 MiB", offset: 36)
        }
        guard refcountTableBytes > 0, refcountTableBytes <= Limits.qcow2RefcountTableBytesMax else {
            throw .unsafe(rule: "the reference count table is empty or larger than 8 MiB", offset: 56)
        }
        guard fixed.big32(60) <= Limits.qcow2SnapshotCountMax else {
            throw .unsafe(rule: "there are more than 65536 snapshots", offset: 60)
        }
        // An entry of the snapshot table has at least 40 bytes.
        let snapshotBytes = UInt64(fixed.big32(60)) * 40
        let named: [(name: String, field: UInt64, start: UInt64, count: UInt64)] = [
            ("the L1 table", 40, fixed.big64(40), l1Bytes),
            ("the reference count table", 48, fixed.big64(48), refcountTableBytes),
            ("the snapshot table", 64, fixed.big64(64), snapshotBytes),
        ]
        var regions = [Qcow2Region(name: "the header", range: 0..<clusterBytes)]
        for table in named where table.count > 0 {
            guard table.start % clusterBytes == 0 else {
                throw .corrupt(rule: "\(table.name) does not begin at a cluster", offset: table.field)
            }
            guard file.contains(table.start, table.count) else {
                throw .corrupt(rule: "\(table.name) lies outside the file", offset: table.field)
            }
            // Nothing shares a cluster with a table.
            let clusters = (table.count + clusterBytes - 1) / clusterBytes
            let range = table.start..<table.start + clusters * clusterBytes
            if let other = regions.first(where: { $0.range.overlaps(range) }) {
                throw .corrupt(rule: "\(table.name) overlaps \(other.name)", offset: table.field)
            }
            regions.append(Qcow2Region(name: table.name, range: range))
        }
        return regions
    }
}
