import CZlib

/// What surrounds a deflate stream.
package enum DeflateWrapping: Sendable {
    /// Nothing: RFC 1951, as in compressed qcow2 clusters.
    case raw
    /// The zlib header and Adler-32: RFC 1950, as in streamOptimized VMDK grains.
    case zlib

    fileprivate var windowBits: Int32 { self == .raw ? -15 : 15 }
}

/// Inflates deflate streams into buffers of the caller.
package enum Inflate {
    /// Inflates the raw deflate stream (RFC 1951) that `input` begins with; bytes after its end are ignored, and so
    /// is what comes once `output` is full.
    /// - Returns: the bytes written to `output`.
    package static func raw(
        into output: UnsafeMutableRawBufferPointer, from input: UnsafeRawBufferPointer
    ) throws(CompressionError) -> Int {
        try run(into: output, from: input, wrapping: .raw)
    }

    /// Inflates the zlib stream (RFC 1950) that `input` begins with; its Adler-32 is checked. Bytes after its end
    /// are ignored, and so is what comes once `output` is full (then the checksum is not reached).
    /// - Returns: the bytes written to `output`.
    package static func zlib(
        into output: UnsafeMutableRawBufferPointer, from input: UnsafeRawBufferPointer
    ) throws(CompressionError) -> Int {
        try run(into: output, from: input, wrapping: .zlib)
    }

    /// Inflates the zlib stream (RFC 1950) that `input` begins with, to its end; its Adler-32 is checked. Bytes after
    /// its end are ignored.
    /// - Returns: the bytes written to `output`.
    /// - Throws: `.outputTooLong` when the stream holds more than `output` does.
    package static func wholeZlib(
        into output: UnsafeMutableRawBufferPointer, from input: UnsafeRawBufferPointer
    ) throws(CompressionError) -> Int {
        try run(into: output, from: input, wrapping: .zlib, isWhole: true)
    }

    private static func run(
        into output: UnsafeMutableRawBufferPointer, from input: UnsafeRawBufferPointer, wrapping: DeflateWrapping,
        isWhole: Bool = false
    ) throws(CompressionError) -> Int {
        guard input.count <= Int(UInt32.max), output.count <= Int(UInt32.max) else {
            throw .outputTooLong(limitBytes: Int(UInt32.max))
        }
        var stream = z_stream()
        let started = inflateInit2_(
            &stream, wrapping.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard started == Z_OK else { throw .outOfMemory }
        defer { inflateEnd(&stream) }
        stream.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.avail_out = UInt32(output.count)
        let result = inflate(&stream, Z_FINISH)
        let written = output.count - Int(stream.avail_out)
        switch result {
        case Z_STREAM_END: return written
        case Z_OK, Z_BUF_ERROR:
            guard stream.avail_out == 0 else { throw .truncated }
            // The buffer is full and the stream is not at its end: it holds more, or it was cut.
            guard !isWhole else { throw .outputTooLong(limitBytes: output.count) }
            return written
        case Z_MEM_ERROR: throw .outOfMemory
        default: throw .corrupt(stream.msg.map { String(cString: $0) } ?? "zlib error \(result)")
        }
    }
}

/// The checksum at the end of zlib streams.
package enum Adler32 {
    /// The checksum of `bytes`. Source: RFC 1950, section 9.
    package static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: adler32_z(1, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
    }
}

/// A deflate compressor with a context that is reused from call to call. One thread at a time.
package struct Deflater: ~Copyable {
    // On the heap: zlib keeps a pointer back to the stream and refuses one that has moved.
    private let stream: UnsafeMutablePointer<z_stream>

    /// Creates a compressor.
    /// - Parameter level: 1 quick to 9 small; out of range is brought into it.
    /// - Throws: `.outOfMemory`.
    package init(level: Int, wrapping: DeflateWrapping) throws(CompressionError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let started = deflateInit2_(
            stream, Int32(min(max(level, 1), 9)), Z_DEFLATED, wrapping.windowBits, 8, Z_DEFAULT_STRATEGY,
            ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard started == Z_OK else {
            stream.deallocate()
            throw .outOfMemory
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Compresses `input` as one stream.
    /// - Returns: the bytes written to `output`, or nil when they do not fit into it.
    package mutating func compress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard input.count <= Int(UInt32.max), output.count <= Int(UInt32.max), deflateReset(stream) == Z_OK else {
            return nil
        }
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(input.count)
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(output.count)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
        return output.count - Int(stream.pointee.avail_out)
    }
}
