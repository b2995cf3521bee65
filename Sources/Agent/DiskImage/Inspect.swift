import Model
import Volumes

/// The front door: what a file is, the guest's disk in it, and files made from a guest's disk.
package enum DiskImage {}

/// What the storage admits of an image file.
package struct InspectionLimits: Sendable, Equatable {
    /// The largest disk of a guest, in bytes.
    package var virtualSizeBytesMax: UInt64

    /// Creates limits; 8 TiB unless told. Source: docs/security.md, "format tricks".
    package init(virtualSizeBytesMax: UInt64 = 8 << 40) { self.virtualSizeBytesMax = virtualSizeBytesMax }

    /// The limits when nothing else is configured.
    package static let standard = InspectionLimits()
}

/// What a file was found to be; from here on its format is a fact of the record.
package struct Inspection: Sendable, Equatable {
    /// The format, which is the declared one.
    package var format: ImageFormat
    /// The size of the guest's disk in bytes.
    package var virtualSizeBytes: UInt64
    /// What the admin should know, in whole sentences ("2 internal snapshots are not carried over.").
    package var notes: [String]

    /// Creates an inspection.
    package init(format: ImageFormat, virtualSizeBytes: UInt64, notes: [String]) {
        self.format = format
        self.virtualSizeBytes = virtualSizeBytes
        self.notes = notes
    }
}

extension DiskImage {
    /// Looks at a whole file and says whether it is what was declared and safe to read. Blocks; at most a few
    /// seconds and 128 MiB, whatever the file says.
    /// - Throws: `.mismatch` when the file carries any signature but the declared one (a raw file: any at all),
    ///   or is an ISO declared as a data disk; else what `open` throws.
    package static func inspect(
        _ source: any ByteSource, declared: ImageFormat, type: ImageType, limits: InspectionLimits
    ) throws(DiskImageError) -> Inspection {
        let file = FileReader(source)
        guard file.byteCount > 0 else { throw .corrupt(rule: "the file is empty", offset: 0) }
        let found = try SignatureSearch.all(in: file)
        try agree(found, declared)
        if declared == .iso {
            guard type == .system else {
                throw .mismatch(
                    declared: "a data disk", found: "an ISO 9660 image, which is taken as a system image only")
            }
            try ISO9660.check(file)
        }
        let opened = try openReader(file, declared, limits)
        return Inspection(format: declared, virtualSizeBytes: opened.disk.virtualSizeBytes, notes: opened.notes)
    }

    /// Opens the guest's disk in a file of a known format. Blocks. The disk keeps `source` and bounded caches, and
    /// may be read by several threads at once.
    /// - Throws: `.unsafe`, `.corrupt`, `.unsupported`, `.tooLarge`, `.source`.
    package static func open(
        _ source: any ByteSource, format: ImageFormat, limits: InspectionLimits
    ) throws(DiskImageError) -> any GuestDisk {
        let file = FileReader(source)
        guard file.byteCount > 0 else { throw .corrupt(rule: "the file is empty", offset: 0) }
        return try openReader(file, format, limits).disk
    }

    /// Makes an image file out of a guest's disk without writing it anywhere: the layout is computed, and bytes
    /// are made as they are read. Blocks while it asks the disk for its extents, once. ISO is the guest's own bytes.
    /// - Parameter packing: how the grains of a VMDK are packed; other formats have no choice. `.deflated` reads and
    ///   compresses the whole disk before it returns.
    /// - Throws: `.unsupported` for VHD and VHDX, `.tooLarge` beyond 16 TiB for qcow2, beyond what 2 TiB of file hold for VMDK, and what the disk throws.
    package static func render(
        _ disk: any GuestDisk, as format: ImageFormat, packing: GrainPacking = .stored
    ) throws(DiskImageError) -> any RenderedImage {
        switch format {
        case .raw, .iso: RawImage(disk)
        case .qcow2: try Qcow2Image(disk)
        case .vmdk: try VmdkImage(disk, packing)
        case .vhd, .vhdx: throw .unsupported(feature: "writing \(format.rawValue) images", offset: 0)
        }
    }

    private static func agree(_ found: [Signature], _ declared: ImageFormat) throws(DiskImageError) {
        let isExact = declared == .raw ? found.isEmpty : found.count == 1 && found[0].format == declared
        guard !isExact else { return }
        let words = found.isEmpty ? "no known signature" : found.map(\.words).joined(separator: " and ")
        throw .mismatch(declared: declared.rawValue, found: words)
    }

    private static func openReader(
        _ file: FileReader, _ format: ImageFormat, _ limits: InspectionLimits
    ) throws(DiskImageError) -> (disk: any GuestDisk, notes: [String]) {
        switch format {
        case .raw, .iso:
            guard file.byteCount <= limits.virtualSizeBytesMax else {
                throw .tooLarge(virtualSizeBytes: file.byteCount, limitBytes: limits.virtualSizeBytesMax)
            }
            let isOdd = file.byteCount % 512 != 0
            let note = "The size is not a multiple of 512 bytes; as qcow2 the disk ends with zeros up to the next one."
            return (RawDisk(file), isOdd ? [note] : [])
        case .qcow2:
            let map = try Qcow2Map(file, limits: limits)
            return (MappedDisk(file, map), map.header.notes)
        case .vmdk:
            let map = try VmdkMap(file, limits: limits)
            return (MappedDisk(file, map), map.header.notes)
        case .vhd: return try VhdMap.open(file, limits)
        case .vhdx:
            let map = try VhdxMap(file, limits: limits)
            return (MappedDisk(file, map), map.header.notes)
        }
    }
}
