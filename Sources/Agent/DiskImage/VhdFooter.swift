/// What the footer of a VHD says, of fixed size or dynamic.
///
///      0 "conectix"          48 current size     68 id
///     12 version 0x10000     56 geometry         84 saved state
///     16 dynamic header      60 type
///     24 time  28 creator    64 checksum
///
/// Big-endian. Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0.
struct VhdFooter: Equatable, Sendable {
    /// What a type is.
    enum Kind: UInt32, Sendable {
        case fixed = 2
        case dynamic = 3
        case differencing = 4
    }

    static let byteCount: UInt64 = 512
    let kind: Kind
    let headerOffset: UInt64
    let virtualSizeBytes: UInt64
    let isOfSavedMachine: Bool

    /// Reads and checks the footer at the end of a file, and that a dynamic disk has the same at its start.
    init(_ file: FileReader, limits: InspectionLimits) throws(DiskImageError) {
        guard file.byteCount >= Self.byteCount else {
            throw .corrupt(rule: "the file ends before its footer does", offset: file.byteCount)
        }
        let place = file.byteCount - Self.byteCount
        let bytes = try file.bytes(at: place, count: Int(Self.byteCount), what: "the footer")
        try self.init(bytes, at: place)
        guard kind != .dynamic else {
            let copy = try Self(file.bytes(at: 0, count: Int(Self.byteCount), what: "the copy of the footer"), at: 0)
            guard copy == self else { throw .corrupt(rule: "the footer and its copy disagree", offset: 0) }
            try check(place, limits)
            return
        }
        try check(place, limits)
    }

    private init(_ bytes: [UInt8], at place: UInt64) throws(DiskImageError) {
        guard bytes.has("conectix", at: 0) else {
            throw .corrupt(rule: "the footer's signature is missing", offset: place)
        }
        guard bytes.big32(12) == 0x10000 else {
            throw .unsupported(feature: "VHD version 0x\(String(bytes.big32(12), radix: 16))", offset: place + 12)
        }
        guard Self.checksum(bytes, at: 64) == bytes.big32(64) else {
            throw .corrupt(rule: "the checksum of the footer is wrong", offset: place + 64)
        }
        guard let kind = Kind(rawValue: bytes.big32(60)) else {
            throw .unsupported(feature: "VHD type \(bytes.big32(60))", offset: place + 60)
        }
        self.kind = kind
        headerOffset = bytes.big64(16)
        virtualSizeBytes = bytes.big64(48)
        isOfSavedMachine = bytes[84] != 0
    }

    private func check(_ place: UInt64, _ limits: InspectionLimits) throws(DiskImageError) {
        guard kind != .differencing else {
            throw .unsafe(rule: "the image needs a parent; flatten it first (qemu-img convert)", offset: place + 60)
        }
        guard virtualSizeBytes > 0, virtualSizeBytes % 512 == 0 else {
            throw .corrupt(rule: "the virtual size is zero or not a multiple of 512", offset: place + 48)
        }
        guard virtualSizeBytes <= limits.virtualSizeBytesMax else {
            throw .tooLarge(virtualSizeBytes: virtualSizeBytes, limitBytes: limits.virtualSizeBytesMax)
        }
    }

    /// The ones' complement of the sum of all bytes but the checksum's own four.
    static func checksum(_ bytes: [UInt8], at place: Int) -> UInt32 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() where !(place..<place + 4).contains(index) { sum &+= UInt32(byte) }
        return ~sum
    }
}

/// The header of a dynamic VHD.
///
///      0 "cxsparse"          16 block table          28 entries
///      8 all ones            24 version 0x10000      32 block size   36 checksum
struct VhdHeader: Sendable {
    static let byteCount: UInt64 = 1024
    let footer: VhdFooter
    let tableOffset: UInt64
    let blockBytes: UInt64
    /// Footer, its copy, the header and the block table.
    let regions: [(name: String, range: Range<UInt64>)]

    /// The bitmap before each block: a bit for each sector, in whole sectors.
    var bitmapBytes: UInt64 { (blockBytes / 512 / 8 + 511) / 512 * 512 }
    var blockCount: UInt64 { (footer.virtualSizeBytes + blockBytes - 1) / blockBytes }

    /// Reads and checks the header that a footer names.
    init(_ file: FileReader, _ footer: VhdFooter) throws(DiskImageError) {
        self.footer = footer
        let place = footer.headerOffset
        guard place % 512 == 0, file.contains(place, Self.byteCount) else {
            throw .corrupt(rule: "the dynamic header lies outside the file or between sectors", offset: 16)
        }
        let bytes = try file.bytes(at: place, count: Int(Self.byteCount), what: "the dynamic header")
        guard bytes.has("cxsparse", at: 0) else {
            throw .corrupt(rule: "the dynamic header's signature is missing", offset: place)
        }
        guard bytes.big32(24) == 0x10000 else {
            throw .unsupported(
                feature: "VHD header version 0x\(String(bytes.big32(24), radix: 16))", offset: place + 24)
        }
        guard VhdFooter.checksum(bytes, at: 36) == bytes.big32(36) else {
            throw .corrupt(rule: "the checksum of the dynamic header is wrong", offset: place + 36)
        }
        blockBytes = UInt64(bytes.big32(32))
        guard Limits.vhdBlockBytes.contains(blockBytes), blockBytes & (blockBytes - 1) == 0 else {
            throw .corrupt(rule: "a block is not 64 KiB to 256 MiB, by powers of two", offset: place + 32)
        }
        let blockCount = (footer.virtualSizeBytes + blockBytes - 1) / blockBytes
        guard blockCount <= Limits.vhdBlockCountMax else {
            throw .unsafe(rule: "there are more than 4194304 blocks", offset: place + 28)
        }
        guard UInt64(bytes.big32(28)) >= blockCount else {
            throw .corrupt(rule: "the block table is too short for the virtual size", offset: place + 28)
        }
        tableOffset = bytes.big64(16)
        let named: [(name: String, field: UInt64, start: UInt64, count: UInt64)] = [
            ("the copy of the footer", 0, 0, VhdFooter.byteCount),
            ("the footer", 0, file.byteCount - VhdFooter.byteCount, VhdFooter.byteCount),
            ("the dynamic header", 16, place, Self.byteCount),
            ("the block table", place + 16, tableOffset, blockCount * 4),
        ]
        var regions: [(name: String, range: Range<UInt64>)] = []
        for part in named {
            guard part.start % 512 == 0 || part.field == 0, file.contains(part.start, part.count) else {
                throw .corrupt(rule: "\(part.name) lies outside the file or between sectors", offset: part.field)
            }
            let range = part.start..<part.start + part.count
            if let other = regions.first(where: { $0.range.overlaps(range) }) {
                throw .corrupt(rule: "\(part.name) overlaps \(other.name)", offset: part.field)
            }
            regions.append((part.name, range))
        }
        self.regions = regions
    }
}
