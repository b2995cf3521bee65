import Compression
import Synchronization

/// Decompresses clusters. Each call has a worker of its own; idle ones are kept for the next.
final class Qcow2Decoder: Sendable {
    /// The context and the input buffer of one thread.
    private final class Worker: @unchecked Sendable {
        // Unchecked: whoever took it out of `idle`, under its lock, is its only user.
        var input = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 16)
        var zstd: ZstdDecompressor?

        deinit { input.deallocate() }

        func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer {
            if input.count < count {
                input.deallocate()
                input = .allocate(byteCount: max(count, 64 << 10), alignment: 16)
            }
            return UnsafeMutableRawBufferPointer(rebasing: input[0..<count])
        }
    }

    private let file: FileReader
    private let compression: Qcow2Compression
    private let idle = Mutex<[Worker]>([])

    init(_ file: FileReader, _ compression: Qcow2Compression) {
        self.file = file
        self.compression = compression
    }

    /// Fills `output`, which is one whole cluster, from `count` bytes at `host`. The stream may end before the bytes
    /// do: their number is in sectors.
    func decode(
        into output: UnsafeMutableRawBufferPointer, host: UInt64, count: Int
    ) throws(DiskImageError) {
        let worker = idle.withLock { $0.popLast() } ?? Worker()
        defer { idle.withLock { if $0.count < Limits.idleDecoderCountMax { $0.append(worker) } } }
        let input = worker.reserve(count)
        try file.fill(input, at: host, what: "a compressed cluster")
        let written: Int
        do throws(CompressionError) {
            switch compression {
            case .zlib: written = try Inflate.raw(into: output, from: UnsafeRawBufferPointer(input))
            case .zstd:
                if worker.zstd == nil { worker.zstd = try ZstdDecompressor() }
                written = try worker.zstd!.decompressPrefix(UnsafeRawBufferPointer(input), into: output)
            }
        } catch {
            throw .corrupt(rule: "a compressed cluster: \(error)", offset: host)
        }
        guard written == output.count else {
            throw .corrupt(rule: "a compressed cluster holds \(written) bytes, not a whole cluster", offset: host)
        }
    }
}
