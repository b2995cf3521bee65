/// How a disk is divided.
package enum PartitionTable: String, Codable, Sendable, CaseIterable {
    /// The table in the first sector, with logical partitions in chains.
    case mbr
    /// The GUID partition table of UEFI.
    case gpt
}

/// What a partition, or a disk that is not divided, begins with.
package enum FileSystemKind: String, Codable, Sendable, CaseIterable {
    /// The file systems of Linux that have one superblock format.
    case ext2, ext3, ext4
    /// File systems of Linux.
    case xfs, btrfs, squashfs
    /// File systems of Windows, and what firmware reads.
    case vfat, exfat, ntfs
    /// The file system of optical discs.
    case iso9660
    /// A physical volume of LVM, whose logical volumes are not looked at.
    case lvm
    /// Memory that was swapped out.
    case swap
    /// Encrypted: by LUKS or by BitLocker.
    case luks, bitlocker
}

/// A part of a guest's disk.
package struct GuestPartition: Hashable, Sendable, Codable {
    /// Its number, as Linux counts.
    package var number: Int
    /// Where it begins, in bytes.
    package var startBytes: UInt64
    /// Its length in bytes, as far as the disk goes.
    package var sizeBytes: UInt64
    /// What it begins with; nil when nothing is known.
    package var fileSystem: FileSystemKind?
    /// Whether the table says that firmware finds its programs there (EFI system partition).
    package var isEFISystem: Bool

    /// Creates a partition.
    package init(number: Int, startBytes: UInt64, sizeBytes: UInt64, fileSystem: FileSystemKind?, isEFISystem: Bool) {
        self.number = number
        self.startBytes = startBytes
        self.sizeBytes = sizeBytes
        self.fileSystem = fileSystem
        self.isEFISystem = isEFISystem
    }
}

/// The system that is installed on a disk, by its own words (os-release). Source: systemd, os-release(5).
package struct GuestSystem: Hashable, Sendable, Codable {
    /// `ID`, such as "debian".
    package var id: String
    /// `VERSION_ID`, such as "12".
    package var version: String?
    /// `PRETTY_NAME`, such as "Debian GNU/Linux 12 (bookworm)".
    package var name: String?

    /// Creates a system.
    package init(id: String, version: String?, name: String?) {
        self.id = id
        self.version = version
        self.name = name
    }
}

/// What can be told of a guest from its disk without running it. Hints for people: a guest can write what it likes.
package struct GuestFacts: Hashable, Sendable, Codable {
    /// How the disk is divided; nil when it is not.
    package var partitionTable: PartitionTable?
    /// The parts, by number.
    package var partitions: [GuestPartition]
    /// What the disk as a whole begins with: a file system without partitions, or a disc that also has them.
    package var fileSystem: FileSystemKind?
    /// Whether there is boot code for BIOS. Such code may still do nothing.
    package var startsByBIOS: Bool
    /// Whether there is a file system, or a boot image of a disc, where UEFI looks for programs.
    package var startsByUEFI: Bool
    /// The system, where it could be read.
    package var system: GuestSystem?

    /// Creates facts; none, unless told.
    package init(
        partitionTable: PartitionTable? = nil, partitions: [GuestPartition] = [], fileSystem: FileSystemKind? = nil,
        startsByBIOS: Bool = false, startsByUEFI: Bool = false, system: GuestSystem? = nil
    ) {
        self.partitionTable = partitionTable
        self.partitions = partitions
        self.fileSystem = fileSystem
        self.startsByBIOS = startsByBIOS
        self.startsByUEFI = startsByUEFI
        self.system = system
    }
}
