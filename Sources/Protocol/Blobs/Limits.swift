/// The bounds of blobs. A frame holds at least one slice of the largest size; a directory fits into memory many times.
package enum BlobLimits {
    /// The most plain bytes of a frame: what one random read costs.
    package static let frameByteCountMax = 262_144
    /// A blob is closed once its frames have this many bytes.
    package static let blobByteCountTarget: UInt64 = 16 << 20
    /// The largest blob file that is read.
    package static let blobByteCountMax: UInt64 = 64 << 20
    /// The most slices of a blob; it is closed before it has more.
    package static let slicesPerBlobMax = 65_536
    /// The most slices a writer puts into a blob, so that directories stay small.
    package static let slicesPerBlobTarget = 16_384
    /// The longest directory.
    package static let directoryByteCountMax = 8 + slicesPerBlobMax * (12 + 36)
}
