// Compression: zstd and deflate over buffers of the caller.
//
// Hides: libzstd and zlib, their contexts and their error codes.
// Invariants: output never goes beyond the caller's buffer, whatever the input says; a context belongs to one
// thread at a time and is used again and again.
// Is not: aware of what is compressed; it has no opinion on levels.

/// Why bytes could not be compressed or decompressed.
package enum CompressionError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The input is no valid stream; the words are the library's.
    case corrupt(String)
    /// The output would be longer than the buffer that was given for it.
    case outputTooLong(limitBytes: Int)
    /// The input ends before the stream does.
    case truncated
    /// The library found no memory for its context.
    case outOfMemory

    /// What happened, for a log.
    package var description: String {
        switch self {
        case .corrupt(let words): "the compressed data is corrupt: \(words)"
        case .outputTooLong(let limit): "the data is longer than \(limit) bytes once decompressed"
        case .truncated: "the compressed data ends too early"
        case .outOfMemory: "no memory for a compression context"
        }
    }
}
