import Model

/// Tells what a partition begins with.
enum FileSystemSignature {
    /// The kind at `start`; nil when nothing is known.
    static func find(at start: UInt64, _ reader: inout GuestReader) throws(DiskImageError) -> FileSystemKind? {
        // The head has all signatures but those of ISO 9660 and btrfs; a small partition has less.
        var read = try reader.bytes(at: start, count: 8192)
        if read == nil { read = try reader.bytes(at: start, count: 2048) }
        guard let head = read else { return nil }
        if let kind = first(head) ?? ext(head) { return kind }
        if let place = place(start, 32768), let volume = try reader.bytes(at: place, count: 512),
            volume.has("CD001", at: 1)
        {
            return .iso9660
        }
        if let place = place(start, 65536), let superblock = try reader.bytes(at: place, count: 512),
            superblock.has("_BHRfS_M", at: 64)
        {
            return .btrfs
        }
        return nil
    }

    private static func place(_ start: UInt64, _ offset: UInt64) -> UInt64? {
        start > UInt64.max - offset ? nil : start + offset
    }

    private static func first(_ head: [UInt8]) -> FileSystemKind? {
        if head.has("LUKS", at: 0), head.has([0xba, 0xbe], at: 4) { return .luks }
        if head.has("-FVE-FS-", at: 3) { return .bitlocker }
        if head.has("XFSB", at: 0) { return .xfs }
        if head.has("hsqs", at: 0) { return .squashfs }
        if head.has("NTFS    ", at: 3) { return .ntfs }
        if head.has("EXFAT   ", at: 3) { return .exfat }
        let isFAT = head.has("FAT12   ", at: 54) || head.has("FAT16   ", at: 54) || head.has("FAT32   ", at: 82)
        if isFAT, head.has([0x55, 0xaa], at: 510) { return .vfat }
        let isLVM = [0, 512, 1024, 1536].contains { head.has("LABELONE", at: $0) && head.has("LVM2 001", at: $0 + 24) }
        if isLVM { return .lvm }
        if head.has("SWAPSPACE2", at: 4086) || head.has("SWAP-SPACE", at: 4086) { return .swap }
        return nil
    }

    /// The three that share a superblock differ by their features.
    /// Source: Linux, Documentation/filesystems/ext4/super.rst.
    private static func ext(_ head: [UInt8]) -> FileSystemKind? {
        guard head.has([0x53, 0xef], at: 1024 + 56) else { return nil }
        let (compatible, incompatible) = (head.little32(1024 + 92), head.little32(1024 + 96))
        // Extents, 64 bit, flexible groups.
        if incompatible & 0x2c0 != 0 { return .ext4 }
        return compatible & 4 != 0 ? .ext3 : .ext2
    }
}

/// The boot catalog of a disc. Source: El Torito Bootable CD-ROM Format 1.0; UEFI, "ISO-9660 and El Torito".
enum BootCatalog {
    private static let sectorBytes: UInt64 = 2048
    private static let platformUEFI: UInt8 = 0xef

    /// What the catalog has boot images for; nil when there is none.
    static func starts(_ reader: inout GuestReader) throws(DiskImageError) -> (byBIOS: Bool, byUEFI: Bool)? {
        guard let record = try reader.bytes(at: 17 * sectorBytes, count: Int(sectorBytes)),
            record.has("CD001", at: 1), record[0] == 0, record.has("EL TORITO SPECIFICATION", at: 7),
            let catalog = try reader.bytes(at: UInt64(record.little32(71)) * sectorBytes, count: Int(sectorBytes)),
            catalog[0] == 1, catalog.has([0x55, 0xaa], at: 30)
        else { return nil }
        var starts = (byBIOS: false, byUEFI: false)
        var platform = catalog[1]
        for place in stride(from: 32, to: catalog.count, by: 32) {
            switch catalog[place] {
            case 0x88: if platform == platformUEFI { starts.byUEFI = true } else { starts.byBIOS = true }
            case 0x90, 0x91: platform = catalog[place + 1]
            default: break
            }
        }
        return starts
    }
}
