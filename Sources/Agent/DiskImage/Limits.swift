/// The bounds of this room. Source: docs/image-formats.md, "Bounds".
enum Limits {
    /// Bytes at the start of a file in which signatures are looked for; ISO 9660 has the last of them.
    static let signatureByteCount = 40 << 10
    /// Characters that must be text before a file counts as a JSON document.
    static let textProbeByteCount = 512

    /// The smallest and largest qcow2 cluster, as powers of two. Source: qcow2 specification, `cluster_bits`.
    static let qcow2ClusterBits: ClosedRange<UInt32> = 9...21
    /// The largest L1 table that is loaded.
    static let qcow2L1BytesMax: UInt64 = 32 << 20
    /// The largest reference count table. Source: qemu, `QCOW_MAX_REFTABLE_SIZE`.
    static let qcow2RefcountTableBytesMax: UInt64 = 8 << 20
    /// The most internal snapshots. Source: qemu, `QCOW_MAX_SNAPSHOTS`.
    static let qcow2SnapshotCountMax: UInt32 = 65536
    /// The most host clusters of a file: the map of what they are used for takes one bit of each, 32 MiB in all.
    static let qcow2HostClusterCountMax: UInt64 = 1 << 28
    /// Bytes of L2 tables that are checked before a file is accepted; later ones are checked as they are read.
    static let qcow2CheckedL2BytesMax: UInt64 = 64 << 20
    /// The piece of an L2 table that is read and kept at once.
    static let qcow2L2PieceBytes = 64 << 10
    /// Bytes of L2 pieces that are kept.
    static let qcow2L2CacheBytes = 8 << 20
    /// Decompressors that are kept when nobody uses them.
    static let idleDecoderCountMax = 16
    /// Bytes of decompressed clusters or grains that are kept.
    static let unpackedCacheBytes = 8 << 20
    /// Clusters, grains or blocks that one question for an extent looks at.
    static let extentStepCountMax = 65536

    /// The versions of VMDK sparse extents.
    static let vmdkVersions: ClosedRange<UInt32> = 1...3
    /// The smallest and largest grain, in sectors: 4 KiB to 64 KiB.
    static let vmdkGrainSectors: ClosedRange<UInt64> = 8...128
    /// The largest descriptor that is read.
    static let vmdkDescriptorBytesMax: UInt64 = 1 << 20
    /// The most entries of a grain directory: 4 MiB, for 32 TiB in grains of 64 KiB.
    static let vmdkDirectoryEntryCountMax: UInt64 = 1 << 20
    /// The most grains of a file: the map of what they are used for takes one bit of each, 32 MiB in all.
    static let vmdkHostGrainCountMax: UInt64 = 1 << 28
    /// Bytes of grain tables that are checked before a file is accepted; later ones are checked as they are read.
    static let vmdkCheckedTableBytesMax: UInt64 = 16 << 20
    /// Grain tables that are kept, of 2 KiB each.
    static let vmdkTableCacheCount = 512

    /// The block sizes of a dynamic VHD.
    static let vhdBlockBytes: ClosedRange<UInt64> = 64 << 10...256 << 20
    /// The most blocks of a VHD: a table of 16 MiB, for 2 TiB in blocks of 512 KiB.
    static let vhdBlockCountMax: UInt64 = 1 << 22
    /// The most blocks that a VHD file has room for: the map of where they begin takes 32 MiB.
    static let vhdHostBlockCountMax: UInt64 = 1 << 23
    /// Bytes of sector bitmaps of a VHD that are kept.
    static let vhdBitmapCacheBytes = 1 << 20

    /// The most entries of a VHDX's region table and metadata table. Source: MS-VHDX, 2.2.3.1 and 2.6.1.1.
    static let vhdxEntryCountMax = 2047
    /// The block sizes of a VHDX. Source: MS-VHDX, 2.6.2.1.
    static let vhdxBlockBytes: ClosedRange<UInt64> = 1 << 20...256 << 20
    /// Bytes of the block table that are checked before a file is accepted: all of it up to 8 TiB in blocks of 1 MiB.
    static let vhdxCheckedTableBytesMax: UInt64 = 65 << 20
    /// The most MiB of a VHDX file: the map of what they are used for takes one bit of each, 8 MiB in all.
    static let vhdxHostBlockCountMax: UInt64 = 1 << 26
    /// The piece of the block table that is read at once, and how many are kept.
    static let vhdxTablePieceBytes = 64 << 10
    static let vhdxTablePieceCacheCount = 64

    /// Packed grains that a VMDK being written keeps, for reads that end inside one.
    static let vmdkPackedGrainCacheCount = 8
    /// The largest VMDK that is written: its tables tell sectors by 32 bits.
    static let vmdkFileSectorsMax: UInt64 = 1 << 32
    /// The largest disk that is written as qcow2 or VMDK. Their maps take one bit (32 MiB in all) or one byte of each
    /// 64 KiB; memory of the latter is taken where there is data, and a VMDK of 2 TiB has data for 32 MiB.
    static let renderedDiskBytesMax: UInt64 = 16 << 40
    /// An ISO file may lack this much of what its volume descriptor says: padding that tools strip.
    static let isoPaddingBytesMax: UInt64 = 150 * 2048

    /// Bytes that are read of a disk to learn of its guest; each read counts for 512 at least.
    static let guestReadBytesMax = 16 << 20
    /// Partitions in an extended one, and in a GPT.
    static let logicalPartitionCountMax = 60
    static let gptEntryCountMax = 256
    /// Blocks of a directory that are searched, links that are followed, and levels of extents.
    static let guestDirectoryBlockCountMax = 256
    static let guestLinkCountMax = 8
    static let guestExtentDepthMax = 6
    /// The longest os-release file, its lines, and what is kept of a value.
    static let osReleaseBytesMax = 64 << 10
    static let osReleaseLineCountMax = 256
    static let osReleaseCharacterCountMax = 200
}
