// Without the testing library: the fuzz targets have this too.
import DiskImage
import Model
import Volumes

/// What becomes of a file: "taken", or the first error of inspecting and reading it.
enum ReadAll {
    /// The kind of an error and its words, such as `corrupt@20 cluster_bits is 8, not 9 to 21`.
    static func words(_ error: DiskImageError) -> String {
        switch error {
        case .mismatch(_, let found): "mismatch \(found)"
        case .unsafe(let rule, let offset): "unsafe@\(offset) \(rule)"
        case .corrupt(let rule, let offset): "corrupt@\(offset) \(rule)"
        case .unsupported(let feature, let offset): "unsupported@\(offset) \(feature)"
        case .tooLarge: "tooLarge"
        case .source(let words): "source \(words)"
        }
    }

    /// Inspects the file and then reads the first 8 MiB of its disk; the verdict is the first error. "extent ..." is an
    /// extent that breaks its promise.
    static func verdict(_ source: any ByteSource, _ format: ImageFormat) -> String {
        do throws(DiskImageError) {
            let found = try DiskImage.inspect(source, declared: format, type: .disk, limits: .standard)
            let disk = try DiskImage.open(source, format: format, limits: .standard)
            let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
            defer { piece.deallocate() }
            var place: UInt64 = 0
            while place < min(found.virtualSizeBytes, 8 << 20) {
                let extent = try disk.extent(at: place)
                if extent.range.lowerBound != place || extent.range.isEmpty
                    || extent.range.upperBound > found.virtualSizeBytes
                {
                    return "extent \(extent) at \(place)"
                }
                let count = Int(min(extent.range.upperBound - place, UInt64(piece.count)))
                if extent.isData {
                    try disk.read(into: UnsafeMutableRawBufferPointer(rebasing: piece[0..<count]), at: place)
                }
                place += UInt64(count)
            }
            return "taken"
        } catch {
            return words(error)
        }
    }
}
