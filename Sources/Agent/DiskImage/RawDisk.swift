import Volumes

/// The guest's disk in a raw or ISO file: the file itself, whatever its length. Its holes are holes of the disk.
struct RawDisk: GuestDisk {
    private let file: FileReader

    init(_ file: FileReader) { self.file = file }

    var virtualSizeBytes: UInt64 { file.byteCount }

    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        precondition(offset < file.byteCount, "the offset lies on the disk")
        let run: Range<UInt64>?
        do { run = try file.source.dataRun(from: offset) } catch { throw .source(error.description) }
        guard let run, run.lowerBound < file.byteCount, run.upperBound > offset else {
            return GuestExtent(range: offset..<file.byteCount, isData: false)
        }
        if run.lowerBound > offset { return GuestExtent(range: offset..<run.lowerBound, isData: false) }
        return GuestExtent(range: offset..<min(run.upperBound, file.byteCount), isData: true)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        try file.fill(buffer, at: offset, what: "the disk")
    }
}
