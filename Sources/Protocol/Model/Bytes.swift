/// Bytes that are not what their format demands: the rule, and the offset where it was broken.
package struct MalformedBytes: Error, Sendable, Equatable, CustomStringConvertible {
    /// The rule, in words.
    package let rule: String
    /// The offset in the bytes that were read.
    package let offset: Int

    /// Creates the error.
    package init(_ rule: String, at offset: Int) {
        self.rule = rule
        self.offset = offset
    }

    /// The rule and the offset.
    package var description: String { "\(rule) (at byte \(offset))" }
}

/// Writes the fields of our formats: little-endian numbers, LEB128 varints, digests, counted text.
package struct ByteWriter: Sendable {
    /// What was written.
    package private(set) var bytes: [UInt8] = []

    /// Starts empty, with room for `capacity` bytes.
    package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// One byte.
    package mutating func u8(_ value: UInt8) { bytes.append(value) }
    /// Two bytes.
    package mutating func u16(_ value: UInt16) { fixed(value) }
    /// Four bytes.
    package mutating func u32(_ value: UInt32) { fixed(value) }
    /// Eight bytes.
    package mutating func u64(_ value: UInt64) { fixed(value) }
    /// The 32 bytes of a digest.
    package mutating func digest(_ value: Digest) { value.append(to: &bytes) }
    /// Bytes as they are.
    package mutating func raw(_ value: some Collection<UInt8>) { bytes.append(contentsOf: value) }

    /// A varint: seven bits a byte, lowest first, the top bit says that more follow.
    package mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// UTF-8 text after its length in two bytes; at most 65,535 bytes.
    package mutating func text(_ value: String) {
        precondition(value.utf8.count <= Int(UInt16.max), "text fields have at most 65,535 bytes")
        u16(UInt16(value.utf8.count))
        raw(value.utf8)
    }

    private mutating func fixed(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Reads the fields that `ByteWriter` writes. Every read is checked against the end; errors name the offset.
package struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    /// The offset of the next field.
    package private(set) var offset: Int
    private let base: Int

    /// Reads `bytes`, which must stay valid while the reader lives.
    /// - Parameter base: what errors add to their offset: the place of `bytes` in its file.
    package init(_ bytes: UnsafeRawBufferPointer, base: Int = 0) {
        self.bytes = bytes
        self.base = base
        offset = 0
    }

    /// The bytes that are left.
    package var remaining: Int { bytes.count - offset }

    /// An error at the next field.
    package func malformed(_ rule: String) -> MalformedBytes { MalformedBytes(rule, at: base + offset) }

    /// One byte.
    package mutating func u8() throws(MalformedBytes) -> UInt8 { try fixed(UInt8.self) }
    /// Two bytes.
    package mutating func u16() throws(MalformedBytes) -> UInt16 { try fixed(UInt16.self) }
    /// Four bytes.
    package mutating func u32() throws(MalformedBytes) -> UInt32 { try fixed(UInt32.self) }
    /// Eight bytes.
    package mutating func u64() throws(MalformedBytes) -> UInt64 { try fixed(UInt64.self) }

    /// The 32 bytes of a digest.
    package mutating func digest() throws(MalformedBytes) -> Digest {
        try need(Digest.byteCount)
        defer { offset += Digest.byteCount }
        return Digest(raw: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + Digest.byteCount]))
    }

    /// `count` bytes.
    package mutating func raw(_ count: Int) throws(MalformedBytes) -> [UInt8] {
        try need(count)
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    /// A varint in its shortest form.
    package mutating func varint() throws(MalformedBytes) -> UInt64 {
        let start = offset
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            let byte = try u8()
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte & 0x80 == 0 {
                guard byte != 0 || shift == 0 else { break }
                return value
            }
        }
        throw MalformedBytes("a varint has its shortest form and at most 64 bits", at: base + start)
    }

    /// UTF-8 text after its length in two bytes.
    package mutating func text(byteCountMax: Int) throws(MalformedBytes) -> String {
        let start = base + offset
        let count = Int(try u16())
        guard count <= byteCountMax else {
            throw MalformedBytes("the text has at most \(byteCountMax) bytes", at: start)
        }
        let raw = try raw(count)
        guard let text = String(validating: raw, as: UTF8.self) else {
            throw MalformedBytes("the text is UTF-8", at: start)
        }
        return text
    }

    /// Checks that nothing is left.
    package func end() throws(MalformedBytes) {
        guard remaining == 0 else { throw malformed("nothing follows the last field") }
    }

    private func need(_ count: Int) throws(MalformedBytes) {
        guard count >= 0, count <= remaining else {
            throw malformed("\(count) more bytes are needed, \(remaining) are there")
        }
    }

    private mutating func fixed<Value: FixedWidthInteger>(_ type: Value.Type) throws(MalformedBytes) -> Value {
        let count = MemoryLayout<Value>.size
        try need(count)
        defer { offset += count }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}
