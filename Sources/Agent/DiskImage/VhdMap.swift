/// Where the parts of the guest's disk are in a dynamic VHD: a table with the sector of each block, and before each
/// block a bitmap of the sectors that were written; the others are zero.
struct VhdMap: GuestMap {
    /// The bits of a block's sectors, the first in the highest bit of a byte.
    private final class Bitmap: Sendable {
        let bytes: [UInt8]
        init(_ bytes: [UInt8]) { self.bytes = bytes }

        func has(_ sector: UInt64) -> Bool { bytes[Int(sector / 8)] & 0x80 >> UInt8(sector % 8) != 0 }
    }

    private let file: FileReader
    private let header: VhdHeader
    /// The sector of each block, all ones for none.
    private let blocks: [UInt32]
    private let bitmaps: RecentlyUsed<Bitmap>
    private static let noBlock = UInt32.max

    /// Opens the guest's disk in a VHD of any kind that is read, with notes for the admin.
    static func open(
        _ file: FileReader, _ limits: InspectionLimits
    ) throws(DiskImageError) -> (disk: any GuestDisk, notes: [String]) {
        let footer = try VhdFooter(file, limits: limits)
        let notes = footer.isOfSavedMachine ? ["The disk is of a machine that was saved; its memory is not here."] : []
        if footer.kind == .dynamic { return (MappedDisk(file, try VhdMap(file, footer)), notes) }
        guard footer.virtualSizeBytes <= file.byteCount - VhdFooter.byteCount else {
            throw .corrupt(
                rule: "the disk is \(footer.virtualSizeBytes) bytes long, the file ends before", offset: file.byteCount)
        }
        return (RawDisk(file, byteCount: footer.virtualSizeBytes), notes)
    }

    /// Reads and checks the header and the table.
    init(_ file: FileReader, _ footer: VhdFooter) throws(DiskImageError) {
        self.file = file
        let header = try VhdHeader(file, footer)
        self.header = header
        blocks = try file.little32s(
            at: header.tableOffset, count: Int(header.blockCount), what: "the block table"
        ).map(\.byteSwapped)
        bitmaps = RecentlyUsed(capacity: max(2, Limits.vhdBitmapCacheBytes / Int(header.bitmapBytes)))
        try checkBlocks()
    }

    /// Blocks lie in the file, apart from each other and from what the header names.
    private func checkBlocks() throws(DiskImageError) {
        let ranges = header.regions.map(\.range)
        let sectors = (header.bitmapBytes + header.blockBytes) / 512
        // No block fits twice into a stretch as long as one, so a place for each stretch holds all that begin there:
        // the sector of its first, plus one.
        let stretches = min(file.byteCount / 512, UInt64(Self.noBlock)) / sectors + 2
        guard stretches <= Limits.vhdHostBlockCountMax else {
            throw .unsupported(
                feature: "VHD files of more than 8388608 blocks", offset: header.footer.headerOffset + 32)
        }
        var starts = [UInt32](repeating: 0, count: Int(stretches))
        for index in blocks.indices where blocks[index] != Self.noBlock {
            let place = header.tableOffset + UInt64(index) * 4
            let sector = UInt64(blocks[index])
            let start = sector * 512
            let visible = min(header.blockBytes, virtualSizeBytes - UInt64(index) * header.blockBytes)
            guard file.contains(start, header.bitmapBytes + visible) else {
                throw .corrupt(rule: "a block lies outside the file", offset: place)
            }
            let range = start..<start + header.bitmapBytes + visible
            for part in ranges.indices where ranges[part].overlaps(range) {
                throw .corrupt(rule: "a block overlaps \(header.regions[part].name)", offset: place)
            }
            let own = Int(sector / sectors)
            let isAlone =
                starts[own] == 0
                && (own == 0 || starts[own - 1] == 0 || UInt64(starts[own - 1]) - 1 + sectors <= sector)
                && (starts[own + 1] == 0 || sector + sectors <= UInt64(starts[own + 1]) - 1)
            guard isAlone else { throw .corrupt(rule: "a block overlaps another", offset: place) }
            starts[own] = blocks[index] + 1
        }
    }

    var virtualSizeBytes: UInt64 { header.footer.virtualSizeBytes }
    var unitBytes: UInt64 { header.blockBytes }
    var unitName: String { "a block" }

    func run(at offset: UInt64) throws(DiskImageError) -> GuestRun {
        let index = offset / header.blockBytes
        let blockStart = index * header.blockBytes
        let blockEnd = min(blockStart + header.blockBytes, virtualSizeBytes)
        let block = blocks[Int(index)]
        guard block != Self.noBlock else { return GuestRun(end: blockEnd, place: .zero) }
        let host = UInt64(block) * 512
        let bitmap = try bitmap(of: index, at: host)
        let first = (offset - blockStart) / 512
        let isData = bitmap.has(first)
        var sector = first + 1
        let sectorEnd = (blockEnd - blockStart) / 512
        let whole: UInt8 = isData ? 0xff : 0
        while sector < sectorEnd {
            if sector % 8 == 0, sector + 8 <= sectorEnd, bitmap.bytes[Int(sector / 8)] == whole {
                sector += 8
                continue
            }
            guard bitmap.has(sector) == isData else { break }
            sector += 1
        }
        let place = host + header.bitmapBytes + offset - blockStart
        return GuestRun(end: blockStart + sector * 512, place: isData ? .plain(host: place) : .zero)
    }

    private func bitmap(of index: UInt64, at host: UInt64) throws(DiskImageError) -> Bitmap {
        if let known = bitmaps.value(for: index) { return known }
        let read = Bitmap(try file.bytes(at: host, count: Int(header.bitmapBytes), what: "the bitmap of a block"))
        bitmaps.insert(read, for: index)
        return read
    }

    func unpack(_ unit: PackedUnit, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        preconditionFailure("nothing in a VHD is compressed")
    }
}
