import Volumes

/// The guest's disk in a raw or ISO file: the file itself, whatever its length; in a VHD of fixed size, all but the
/// footer. Its holes are holes of the disk.
struct RawDisk: GuestDisk {
    private let file: FileReader
    let virtualSizeBytes: UInt64

    /// Takes the whole file, or its first `byteCount` bytes.
    init(_ file: FileReader, byteCount: UInt64? = nil) {
        self.file = file
        virtualSizeBytes = byteCount ?? file.byteCount
    }

    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        precondition(offset < virtualSizeBytes, "the offset lies on the disk")
        let run: Range<UInt64>?
        do { run = try file.source.dataRun(from: offset) } catch { throw .source(error.description) }
        guard let run, run.lowerBound < virtualSizeBytes, run.upperBound > offset else {
            return GuestExtent(range: offset..<virtualSizeBytes, isData: false)
        }
        if run.lowerBound > offset { return GuestExtent(range: offset..<run.lowerBound, isData: false) }
        return GuestExtent(range: offset..<min(run.upperBound, virtualSizeBytes), isData: true)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        try file.fill(buffer, at: offset, what: "the disk")
    }
}
