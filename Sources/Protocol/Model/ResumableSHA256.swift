import CCrypto

/// A SHA-256 whose state can be written down and taken up again by another process: a transfer of many gigabytes
/// that was interrupted need not be read again to be hashed. Not shared between threads.
package struct ResumableSHA256: Sendable {
    private var context: SHA256_CTX

    /// The number of bytes of a written state.
    package static let stateByteCount = 32 + 8 + 64

    /// Starts an empty hash.
    package init() {
        context = SHA256_CTX()
        precondition(SHA256_Init(&context) == 1, "libcrypto could not start a SHA-256")
    }

    /// The number of bytes that were added.
    package var byteCount: UInt64 { (UInt64(context.Nh) << 32 | UInt64(context.Nl)) >> 3 }

    /// Adds `bytes`.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        precondition(SHA256_Update(&context, bytes.baseAddress, bytes.count) == 1, "libcrypto could not hash")
    }

    /// The digest of all that was added so far; more may be added afterwards.
    package func current() -> Digest {
        var copy = context
        return withUnsafeTemporaryAllocation(byteCount: Digest.byteCount, alignment: 8) { out in
            let done = SHA256_Final(out.baseAddress!.assumingMemoryBound(to: UInt8.self), &copy)
            precondition(done == 1, "libcrypto could not finish a SHA-256")
            return Digest(raw: UnsafeRawBufferPointer(out))
        }
    }

    /// The state: eight chaining words (little-endian u32), bytes so far (u64), the unfinished block padded to 64 bytes.
    package var state: [UInt8] {
        var writer = ByteWriter()
        withUnsafeBytes(of: context.h) { words in
            for index in 0..<8 { writer.u32(words.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)) }
        }
        writer.u64(byteCount)
        withUnsafeBytes(of: context.data) { block in
            let used = Int(context.num)
            for index in 0..<64 { writer.u8(index < used ? block[index] : 0) }
        }
        return writer.bytes
    }

    /// Takes up a written state.
    /// - Throws: `MalformedBytes` when there are not exactly `stateByteCount` bytes.
    package init(state: [UInt8]) throws(MalformedBytes) {
        self.init()
        guard state.count == Self.stateByteCount else {
            throw MalformedBytes("a SHA-256 state has \(Self.stateByteCount) bytes", at: 0)
        }
        state.withUnsafeBytes { bytes in
            withUnsafeMutableBytes(of: &context.h) { words in
                for index in 0..<8 {
                    let word = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
                    words.storeBytes(of: word, toByteOffset: index * 4, as: UInt32.self)
                }
            }
            let count = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
            context.Nl = UInt32(truncatingIfNeeded: count << 3)
            context.Nh = UInt32(truncatingIfNeeded: count >> 29)
            context.num = UInt32(count % 64)
            withUnsafeMutableBytes(of: &context.data) { block in
                block.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[40..<104]))
            }
        }
    }
}
