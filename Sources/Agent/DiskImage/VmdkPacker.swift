import Compression
import Glibc
import Synchronization

/// How the grains of a VMDK are packed; both are deflate streams that every reader takes.
package enum GrainPacking: Sendable, CaseIterable {
    /// As stored blocks: a little longer than the data. The file's length follows from where data is.
    case stored
    /// Compressed. The file's length is only known when all data was compressed once.
    case deflated
}

/// Makes the packed form of grains of 64 KiB, as they stand in a VMDK file:
///
///     u64 sector on the disk | u32 count | zlib stream of `count` bytes | zeros up to a sector
///
/// Source: VMware, Virtual Disk Format 1.1, "Compressed Grain"; RFC 1950; RFC 1951, 3.2.4.
final class VmdkPacker: Sendable {
    static let grainBytes = 65536
    /// Room for the worst case of zlib: the grain, 33 bytes for blocks and wrapping, the header, up to a sector.
    static let packedBytesMax = 130 * 512
    /// The sectors of a grain in stored blocks.
    static let storedSectors = (VmdkGrain.headerBytes + storedBytes + 511) / 512
    private static let storedBytes = 2 + 5 + storedBlockBytesMax + 5 + (grainBytes - storedBlockBytesMax) + 4
    private static let storedBlockBytesMax = 65535
    private static let level = 1

    /// A compressor of one thread.
    private final class Worker: @unchecked Sendable {
        // Unchecked: whoever took it out of `idle`, under its lock, is its only user.
        let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: grainBytes, alignment: 4096)
        var deflater: Deflater

        init() throws(CompressionError) { deflater = try Deflater(level: level, wrapping: .zlib) }

        deinit { plain.deallocate() }
    }

    private let disk: any GuestDisk
    private let packing: GrainPacking
    private let idle = Mutex<[Worker]>([])

    init(_ disk: any GuestDisk, _ packing: GrainPacking) {
        self.disk = disk
        self.packing = packing
    }

    /// Packs a grain of the disk into `output`, which has room for `packedBytesMax`.
    /// - Returns: the sectors it takes; 0 when it is left out, since all of it is zero (only `.deflated` looks).
    func pack(_ grain: UInt64, into output: UnsafeMutableRawBufferPointer) throws(DiskImageError) -> Int {
        let count = packing == .stored ? try store(grain, output) : try deflate(grain, output)
        guard count > 0 else { return 0 }
        output.storeBytes(of: (grain * UInt64(Self.grainBytes / 512)).littleEndian, toByteOffset: 0, as: UInt64.self)
        output.storeBytes(of: UInt32(count).littleEndian, toByteOffset: 8, as: UInt32.self)
        let end = VmdkGrain.headerBytes + count
        let sectors = (end + 511) / 512
        UnsafeMutableRawBufferPointer(rebasing: output[end..<sectors * 512])
            .initializeMemory(as: UInt8.self, repeating: 0)
        return sectors
    }

    /// Reads a grain; what lies behind the end of the disk is zero.
    private func read(_ grain: UInt64, into plain: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
        let start = grain * UInt64(Self.grainBytes)
        let count = Int(min(UInt64(Self.grainBytes), disk.virtualSizeBytes - start))
        try disk.readSparsely(into: UnsafeMutableRawBufferPointer(rebasing: plain[0..<count]), at: start)
        UnsafeMutableRawBufferPointer(rebasing: plain[count...]).initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Two stored blocks. The grain is read to where the first one's bytes stand; the second has what is left of it.
    private func store(_ grain: UInt64, _ output: UnsafeMutableRawBufferPointer) throws(DiskImageError) -> Int {
        let first = VmdkGrain.headerBytes + 2 + 5
        let plain = UnsafeMutableRawBufferPointer(rebasing: output[first..<first + Self.grainBytes])
        try read(grain, into: plain)
        let checksum = Adler32.of(UnsafeRawBufferPointer(plain))
        let rest = Self.grainBytes - Self.storedBlockBytesMax
        let second = first + Self.storedBlockBytesMax + 5
        for index in (0..<rest).reversed() { output[second + index] = output[first + Self.storedBlockBytesMax + index] }
        func put(_ bytes: [UInt8], at offset: Int) {
            for (index, byte) in bytes.enumerated() { output[offset + index] = byte }
        }
        func block(_ count: Int, isLast: Bool) -> [UInt8] {
            let low = [UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8)]
            return [isLast ? 1 : 0] + low + low.map { ~$0 }
        }
        // 32 KiB window, no dictionary, quickest; a multiple of 31.
        put([0x78, 0x01] + block(Self.storedBlockBytesMax, isLast: false), at: VmdkGrain.headerBytes)
        put(block(rest, isLast: true), at: second - 5)
        put((0..<4).map { UInt8(truncatingIfNeeded: checksum >> UInt32(24 - $0 * 8)) }, at: second + rest)
        return Self.storedBytes
    }

    private func deflate(_ grain: UInt64, _ output: UnsafeMutableRawBufferPointer) throws(DiskImageError) -> Int {
        let worker: Worker
        if let kept = idle.withLock({ $0.popLast() }) {
            worker = kept
        } else {
            do throws(CompressionError) { worker = try Worker() } catch { throw .source(error.description) }
        }
        defer { idle.withLock { if $0.count < Limits.idleDecoderCountMax { $0.append(worker) } } }
        try read(grain, into: worker.plain)
        guard !Self.isZero(worker.plain) else { return 0 }
        let target = UnsafeMutableRawBufferPointer(rebasing: output[VmdkGrain.headerBytes..<Self.packedBytesMax])
        guard let count = worker.deflater.compress(UnsafeRawBufferPointer(worker.plain), into: target) else {
            preconditionFailure("the worst case of zlib has room")
        }
        return count
    }

    /// Equal to itself one byte on, and zero at first.
    private static func isZero(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        bytes[0] == 0 && memcmp(bytes.baseAddress!, bytes.baseAddress! + 1, bytes.count - 1) == 0
    }
}
