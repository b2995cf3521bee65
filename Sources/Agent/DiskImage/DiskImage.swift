// DiskImage: image files in, image files out.
//
// Hides: the bytes of raw, ISO 9660 and qcow2 (later VMDK).
// Invariants: a file is hostile until inspected; work and memory are bounded whatever it says; every refusal
// names the rule and the byte offset. Nothing outside the file is ever opened.
// Is not: aware of slices or of where a file came from.

/// Why a file is not taken, or cannot be read.
package enum DiskImageError: Error, Sendable, Equatable {
    /// The content is not what was declared. `found` is a format or words for people ("an HTML page").
    case mismatch(declared: String, found: String)
    /// The file points outside itself or breaks a rule that protects the host. Offset in bytes.
    case unsafe(rule: String, offset: UInt64)
    /// The file contradicts itself or ends too early. Offset in bytes.
    case corrupt(rule: String, offset: UInt64)
    /// A feature that is not read (yet). Offset in bytes.
    case unsupported(feature: String, offset: UInt64)
    /// The guest's disk is larger than allowed.
    case tooLarge(virtualSizeBytes: UInt64, limitBytes: UInt64)
    /// The file itself could not be read.
    case source(String)
}

/// A run of the guest's disk.
package struct GuestExtent: Sendable, Equatable {
    /// Where it starts and how long it is, in bytes; never empty.
    package var range: Range<UInt64>
    /// False: all its bytes are zero and none need be read.
    package var isData: Bool

    /// Creates an extent.
    package init(range: Range<UInt64>, isData: Bool) {
        self.range = range
        self.isData = isData
    }
}

/// What a guest sees: a disk that can be read at any offset, from several threads at once.
/// Readers of files offer it to the store; the store offers it to the writers.
package protocol GuestDisk: Sendable {
    /// The size of the guest's disk in bytes.
    var virtualSizeBytes: UInt64 { get }
    /// The extent that begins at `offset` (less than the size) and runs as far as is cheap to say.
    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent
    /// Fills `buffer` with the guest's bytes from `offset`; the whole range must lie on the disk.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError)
}

/// An image file that is computed as it is read: its length is known before its first byte, and it can be
/// read from any offset (HTTP `Range`). The same disk gives the same file, always.
package protocol RenderedImage: Sendable {
    /// The file's length in bytes.
    var byteCount: UInt64 { get }
    /// Fills `buffer` with the file's bytes from `offset`; the whole range must lie in the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError)
}
