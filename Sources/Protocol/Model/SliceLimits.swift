/// The bounds of slices and manifests. What they mean together: a slice never crosses a segment, a frame holds at least
/// one slice of the largest size, and a manifest is read one segment at a time.
package enum SliceLimits {
    /// The unit of holes: aligned guest blocks of this many zero bytes are never stored.
    package static let blockByteCount = 4096
    /// The longest slice.
    package static let sliceByteCountMax = 262_144
    /// Independent stretches of the guest's disk; cuts begin anew in each.
    package static let segmentByteCount: UInt64 = 64 << 20
    /// The most slices a segment can have: a slice that is cut short begins or ends at a hole, a block end or a cut
    /// that lies at least a block after the one before, so there are at most two a block.
    package static let slicesPerSegmentMax = 2 * (64 << 20) / blockByteCount
    /// The largest guest disk that a manifest can describe: 64 TiB. What a storage admits is less.
    package static let virtualByteCountMax: UInt64 = 64 << 40
    /// The most segments of a manifest.
    package static let segmentCountMax = Int(virtualByteCountMax / segmentByteCount)
    /// The most blobs a manifest can name.
    package static let blobCountMax = 16 << 20
    /// The longest block of one segment in a manifest.
    package static let segmentBlockByteCountMax = 8 + slicesPerSegmentMax * (32 + 3 + 24)
    /// The longest tail of a manifest.
    package static let tailByteCountMax = 1 << 30
    /// The most guest facts (key and value) of a manifest.
    package static let guestFactCountMax = 64
    /// The version of the rules that cut slices, in every store and manifest. History: 1, gear 64 KiB.
    package static let slicingVersion: UInt16 = 1
}
