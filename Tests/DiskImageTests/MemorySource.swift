import Volumes

/// A file in memory.
struct MemorySource: ByteSource {
    var bytes: [UInt8]
    /// Where data is; nil: everywhere.
    var runs: [Range<UInt64>]?

    init(_ bytes: [UInt8], runs: [Range<UInt64>]? = nil) {
        self.bytes = bytes
        self.runs = runs
    }

    var byteCount: UInt64 { UInt64(bytes.count) }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
        guard offset < byteCount else { return 0 }
        let count = min(buffer.count, bytes.count - Int(offset))
        bytes.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + count]))
        }
        return count
    }

    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? {
        guard let runs else { return offset < byteCount ? offset..<byteCount : nil }
        guard let run = runs.first(where: { $0.upperBound > offset }) else { return nil }
        return max(run.lowerBound, offset)..<run.upperBound
    }
}
