/// A part of a VHDX file that its header or region table names.
struct VhdxRegion: Sendable {
    let name: String
    let range: Range<UInt64>
}

/// What a VHDX file says before its block table, all checked. The file is in units of 1 MiB; the first has
///
///     0 "vhdxfile"    64 KiB header    128 KiB header    192 KiB region table    256 KiB region table
///
/// and a region each has the metadata and the block table; a log may have changes that were not made yet.
/// Little-endian. Source: Microsoft, MS-VHDX 2.
struct VhdxHeader: Sendable {
    static let unitBytes: UInt64 = 1 << 20
    private static let headerOffsets: [UInt64] = [64 << 10, 128 << 10]
    private static let regionTableOffsets: [UInt64] = [192 << 10, 256 << 10]

    let virtualSizeBytes: UInt64
    let blockBytes: UInt64
    let sectorBytes: UInt64
    let tableOffset: UInt64
    /// The first MiB, the log, the metadata and the block table.
    let regions: [VhdxRegion]
    /// For the admin.
    let notes: [String]

    /// Blocks between two entries of the table that are of bitmaps.
    var chunkBlocks: UInt64 { (1 << 23) * sectorBytes / blockBytes }
    var blockCount: UInt64 { (virtualSizeBytes + blockBytes - 1) / blockBytes }
    /// Entries of the table, those of bitmaps included.
    var entryCount: UInt64 { blockCount + (blockCount - 1) / chunkBlocks }

    /// Reads and checks headers, region tables and metadata.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        let signature = try file.bytes(at: 0, count: Int(min(8, file.byteCount)), what: "the VHDX signature")
        guard signature.has("vhdxfile", at: 0) else {
            throw .corrupt(rule: "the VHDX signature is missing", offset: 0)
        }
        guard file.byteCount >= Self.unitBytes else {
            throw .corrupt(rule: "the file ends in its first MiB", offset: file.byteCount)
        }
        guard file.byteCount / Self.unitBytes < Limits.vhdxHostBlockCountMax else {
            throw .unsupported(feature: "VHDX files of 64 TiB and more", offset: 0)
        }
        let log = try Self.log(file)
        let named = try Self.regionTable(file)
        guard let metadata = named.metadata, let table = named.table else {
            throw .corrupt(rule: "the region table names no metadata or no block table", offset: 192 << 10)
        }
        let facts = try VhdxMetadata(file, metadata)
        guard !facts.hasParent else {
            throw .unsafe(
                rule: "the image needs a parent; flatten it first (qemu-img convert)", offset: metadata.lowerBound)
        }
        virtualSizeBytes = facts.virtualSizeBytes
        blockBytes = facts.blockBytes
        sectorBytes = facts.sectorBytes
        guard virtualSizeBytes <= limits.virtualSizeBytesMax else {
            throw .tooLarge(virtualSizeBytes: virtualSizeBytes, limitBytes: limits.virtualSizeBytesMax)
        }
        tableOffset = table.lowerBound
        var regions = [VhdxRegion(name: "the first MiB", range: 0..<Self.unitBytes)]
        if !log.isEmpty { regions.append(VhdxRegion(name: "the log", range: log)) }
        for region in [
            VhdxRegion(name: "the metadata", range: metadata), VhdxRegion(name: "the block table", range: table),
        ] {
            if let other = regions.first(where: { $0.range.overlaps(region.range) }) {
                throw .corrupt(rule: "\(region.name) overlaps \(other.name)", offset: 192 << 10)
            }
            regions.append(region)
        }
        self.regions = regions
        notes =
            facts.sectorBytes == 512
            ? [] : ["The disk has sectors of 4096 bytes; what starts from it may not start with those of 512."]
        let chunk = (UInt64(1) << 23) * facts.sectorBytes / facts.blockBytes
        let blocks = (facts.virtualSizeBytes + facts.blockBytes - 1) / facts.blockBytes
        guard (blocks + (blocks - 1) / chunk) * 8 <= UInt64(table.count) else {
            throw .corrupt(rule: "the block table is too short for the virtual size", offset: table.lowerBound)
        }
    }

    /// The header that counts is the valid one with the higher number. Answers where the log is, which must be empty.
    private static func log(_ file: FileReader) throws(DiskImageError) -> Range<UInt64> {
        var valid: [(place: UInt64, bytes: [UInt8])] = []
        for place in headerOffsets {
            let bytes = try file.bytes(at: place, count: 4096, what: "a header")
            guard bytes.has("head", at: 0), bytes.little32(4) == CRC32C.of(bytes, without: 4) else { continue }
            valid.append((place, bytes))
        }
        guard var current = valid.first else {
            throw .corrupt(rule: "neither header is valid", offset: headerOffsets[0])
        }
        if valid.count == 2 {
            let (first, second) = (valid[0].bytes.little64(8), valid[1].bytes.little64(8))
            guard first != second || valid[0].bytes == valid[1].bytes else {
                throw .corrupt(rule: "the two headers disagree", offset: headerOffsets[0] + 8)
            }
            if second > first { current = valid[1] }
        }
        guard current.bytes.little16(66) == 1 else {
            throw .unsupported(feature: "VHDX version \(current.bytes.little16(66))", offset: current.place + 66)
        }
        guard current.bytes[48..<64].allSatisfy({ $0 == 0 }) else {
            throw .corrupt(
                rule: "the image was not closed: its log has changes; open it once where it was made",
                offset: current.place + 48)
        }
        let (start, count) = (current.bytes.little64(72), UInt64(current.bytes.little32(68)))
        guard count == 0 || start >= unitBytes && file.contains(start, count) else {
            throw .corrupt(rule: "the log lies outside the file", offset: current.place + 72)
        }
        return count == 0 ? 0..<0 : start..<start + count
    }

    /// Reads the region tables, which must say the same when both are valid.
    private static func regionTable(
        _ file: FileReader
    ) throws(DiskImageError) -> (metadata: Range<UInt64>?, table: Range<UInt64>?) {
        var valid: [(place: UInt64, bytes: [UInt8])] = []
        for place in regionTableOffsets {
            let bytes = try file.bytes(at: place, count: 64 << 10, what: "a region table")
            guard bytes.has("regi", at: 0), bytes.little32(4) == CRC32C.of(bytes, without: 4) else { continue }
            valid.append((place, bytes))
        }
        guard let current = valid.first else {
            throw .corrupt(rule: "neither region table is valid", offset: regionTableOffsets[0])
        }
        guard valid.count == 1 || valid[0].bytes == valid[1].bytes else {
            throw .corrupt(rule: "the two region tables disagree", offset: regionTableOffsets[1])
        }
        let count = current.bytes.little32(8)
        guard count <= Limits.vhdxEntryCountMax else {
            throw .corrupt(rule: "the region table has more than 2047 entries", offset: current.place + 8)
        }
        var found: (metadata: Range<UInt64>?, table: Range<UInt64>?)
        for index in 0..<Int(count) {
            let entry = 16 + index * 32
            let place = current.place + UInt64(entry)
            let id = Array(current.bytes[entry..<entry + 16])
            let (start, length) = (current.bytes.little64(entry + 16), UInt64(current.bytes.little32(entry + 24)))
            guard id == VhdxID.metadata || id == VhdxID.blockTable else {
                guard current.bytes.little32(entry + 28) & 1 == 0 else {
                    throw .unsupported(feature: "an unknown VHDX region that is required", offset: place)
                }
                continue
            }
            guard start >= unitBytes, start % unitBytes == 0, length > 0, length % unitBytes == 0,
                file.contains(start, length)
            else { throw .corrupt(rule: "a region lies outside the file or between its MiB", offset: place + 16) }
            let isMetadata = id == VhdxID.metadata
            guard (isMetadata ? found.metadata : found.table) == nil else {
                throw .corrupt(rule: "a region stands twice", offset: place)
            }
            if isMetadata { found.metadata = start..<start + length } else { found.table = start..<start + length }
        }
        return found
    }
}

/// The ids that VHDX files name their parts with, as they stand in the file.
enum VhdxID {
    static let blockTable = bytes("2DC27766-F623-4200-9D64-115E9BFD4A08")
    static let metadata = bytes("8B7CA206-4790-4B9A-B8FE-575F050F886E")
    static let fileParameters = bytes("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
    static let virtualSize = bytes("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
    static let diskID = bytes("BECA12AB-B2E6-4523-93EF-C309E000C746")
    static let logicalSector = bytes("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
    static let physicalSector = bytes("CDA348C7-445D-4471-9CC9-E9885251C556")
    static let parentLocator = bytes("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")

    /// The first three groups of an id are numbers, and these stand little-endian.
    private static func bytes(_ text: String) -> [UInt8] {
        let groups = text.split(separator: "-").map { group in
            stride(from: 0, to: group.count, by: 2).map { index in
                let start = group.index(group.startIndex, offsetBy: index)
                return UInt8(group[start..<group.index(start, offsetBy: 2)], radix: 16) ?? 0
            }
        }
        return groups[0].reversed() + groups[1].reversed() + groups[2].reversed() + groups[3] + groups[4]
    }
}

/// The items of a VHDX's metadata region.
struct VhdxMetadata: Sendable {
    private static let tableBytes: UInt32 = 64 << 10
    let virtualSizeBytes: UInt64
    let blockBytes: UInt64
    let sectorBytes: UInt64
    let hasParent: Bool

    /// Reads and checks the items that matter.
    init(_ file: FileReader, _ region: Range<UInt64>) throws(DiskImageError) {
        let start = region.lowerBound
        let table = try file.bytes(at: start, count: Int(Self.tableBytes), what: "the metadata table")
        guard table.has("metadata", at: 0) else {
            throw .corrupt(rule: "the metadata's signature is missing", offset: start)
        }
        let count = Int(table.little16(10))
        guard count <= Limits.vhdxEntryCountMax else {
            throw .corrupt(rule: "the metadata has more than 2047 items", offset: start + 10)
        }
        var items: [[UInt8]: UInt64] = [:]
        let known = [
            VhdxID.fileParameters: 8, VhdxID.virtualSize: 8, VhdxID.logicalSector: 4, VhdxID.physicalSector: 4,
            VhdxID.diskID: 16, VhdxID.parentLocator: 0,
        ]
        for index in 0..<count {
            let entry = 32 + index * 32
            let place = start + UInt64(entry)
            let id = Array(table[entry..<entry + 16])
            let (offset, length) = (table.little32(entry + 16), table.little32(entry + 20))
            guard let lengthMin = known[id] else {
                guard table.little32(entry + 24) & 4 == 0 else {
                    throw .unsupported(feature: "an unknown VHDX item that is required", offset: place)
                }
                continue
            }
            guard offset >= Self.tableBytes, length >= lengthMin,
                UInt64(offset) + UInt64(length) <= UInt64(region.count)
            else { throw .corrupt(rule: "an item lies outside the metadata", offset: place + 16) }
            guard items.updateValue(start + UInt64(offset), forKey: id) == nil else {
                throw .corrupt(rule: "an item stands twice", offset: place)
            }
        }
        guard let parameters = items[VhdxID.fileParameters], let size = items[VhdxID.virtualSize],
            let sector = items[VhdxID.logicalSector]
        else { throw .corrupt(rule: "the block size, the virtual size or the sector size is missing", offset: start) }
        let words = try file.bytes(at: parameters, count: 8, what: "the metadata")
        blockBytes = UInt64(words.little32(0))
        guard Limits.vhdxBlockBytes.contains(blockBytes), blockBytes & (blockBytes - 1) == 0 else {
            throw .corrupt(rule: "a block is not 1 MiB to 256 MiB, by powers of two", offset: parameters)
        }
        hasParent = words.little32(4) & 2 != 0 || items[VhdxID.parentLocator] != nil
        sectorBytes = UInt64(try file.bytes(at: sector, count: 4, what: "the metadata").little32(0))
        guard sectorBytes == 512 || sectorBytes == 4096 else {
            throw .corrupt(rule: "a sector is not 512 or 4096 bytes", offset: sector)
        }
        virtualSizeBytes = try file.bytes(at: size, count: 8, what: "the metadata").little64(0)
        guard virtualSizeBytes > 0, virtualSizeBytes % sectorBytes == 0 else {
            throw .corrupt(rule: "the virtual size is zero or not a multiple of the sector", offset: size)
        }
    }
}
