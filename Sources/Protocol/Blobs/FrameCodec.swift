import Compression
import Model

/// Turns plain bytes into frames. One thread at a time.
package struct FrameEncoder: ~Copyable {
    private var compressor: ZstdCompressor

    /// Creates an encoder.
    /// - Parameter level: the store's zstd level.
    package init(level: Int) throws(CompressionError) {
        compressor = level == 3 ? try ZstdCompressor.frames() : try ZstdCompressor(level: level)
    }

    /// Encodes a frame of 1 to 256 KiB.
    /// - Parameter output: at least as long as `plain`.
    /// - Returns: the bytes written to `output`; nil: keep `plain` as it is, since nothing would be saved.
    package mutating func encode(
        _ plain: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Int? {
        precondition(output.count >= plain.count && plain.count > 0, "a frame's output is as long as its input")
        let room = UnsafeMutableRawBufferPointer(rebasing: output[..<(plain.count - 1)])
        return compressor.compress(plain, into: room)
    }
}

/// Turns frames into plain bytes, and checks slices. One thread at a time.
package struct FrameDecoder: ~Copyable {
    private var decompressor: ZstdDecompressor

    /// Creates a decoder.
    package init() throws(CompressionError) { decompressor = try ZstdDecompressor() }

    /// Decodes the stored bytes of `frame` into `output`, which has room for its plain bytes. Slices are not compared.
    package mutating func decode(
        _ stored: UnsafeRawBufferPointer, of frame: FrameEntry, into output: UnsafeMutableRawBufferPointer
    ) throws(BlobError) {
        let count = Int(frame.plainByteCount)
        precondition(output.count >= count && stored.count == Int(frame.storedByteCount), "buffers fit the frame")
        switch frame.encoding {
        case .plain: output.copyMemory(from: stored)
        case .zstd:
            let room = UnsafeMutableRawBufferPointer(rebasing: output[..<count])
            do throws(CompressionError) {
                let written = try decompressor.decompress(stored, into: room)
                guard written == count else { throw CompressionError.truncated }
            } catch { throw .frameCorrupt(position: frame.position, error) }
        }
    }

    /// Compares a slice's bytes with its name.
    package static func check(_ bytes: UnsafeRawBufferPointer, is expected: Digest) throws(BlobError) {
        let found = Digest.sha256(bytes)
        guard found == expected else { throw .sliceCorrupt(expected: expected, found: found) }
    }
}
