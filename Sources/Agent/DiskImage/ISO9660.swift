/// The little that is read of an ISO 9660 volume: whether the file is as long as the volume says.
enum ISO9660 {
    private static let sectorByteCount: UInt64 = 2048

    /// Refuses an image that was cut short.
    /// Source: ECMA-119, 8.4 (primary volume descriptor: volume space size at 80, logical block size at 128).
    static func check(_ file: FileReader) throws(DiskImageError) {
        for sector in UInt64(16)...18 {
            let place = sector * sectorByteCount
            guard file.contains(place, sectorByteCount) else {
                throw .corrupt(rule: "the file ends among the volume descriptors", offset: file.byteCount)
            }
            let descriptor = try file.bytes(at: place, count: Int(sectorByteCount), what: "a volume descriptor")
            guard descriptor.has("CD001", at: 1), descriptor[0] == 1 else { continue }
            let blocks = UInt64(descriptor.little32(80))
            let blockBytes = UInt64(descriptor.little16(128))
            guard blockBytes >= 512, blockBytes <= sectorByteCount, blockBytes & (blockBytes - 1) == 0 else {
                throw .corrupt(
                    rule: "the logical block size of the volume is not 512, 1024 or 2048", offset: place + 128)
            }
            let volume = blocks * blockBytes
            guard file.byteCount + Limits.isoPaddingBytesMax >= volume else {
                throw .corrupt(rule: "the volume is \(volume) bytes long, the file ends before", offset: file.byteCount)
            }
            return
        }
        throw .corrupt(rule: "the volume has no primary descriptor", offset: 16 * sectorByteCount)
    }
}
