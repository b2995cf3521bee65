/// A raw file made of a guest's disk: the same bytes, zeros where the disk has holes.
struct RawImage: RenderedImage {
    private let disk: any GuestDisk

    init(_ disk: any GuestDisk) { self.disk = disk }

    var byteCount: UInt64 { disk.virtualSizeBytes }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        precondition(offset <= byteCount && UInt64(buffer.count) <= byteCount - offset, "the range lies in the file")
        try disk.readSparsely(into: buffer, at: offset)
    }
}

extension GuestDisk {
    /// Fills `buffer` like `read`, but asks the disk only for what is data.
    func readSparsely(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        var done = 0
        while done < buffer.count {
            let place = offset + UInt64(done)
            let extent = try extent(at: place)
            let count = Int(min(extent.range.upperBound - place, UInt64(buffer.count - done)))
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            if extent.isData {
                try read(into: target, at: place)
            } else {
                target.initializeMemory(as: UInt8.self, repeating: 0)
            }
            done += count
        }
    }
}
