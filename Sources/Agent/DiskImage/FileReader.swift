import Volumes

/// Reads from a file whose every number is suspect: nothing beyond its end is ever asked for, and a short answer
/// is an error that names the place.
struct FileReader: Sendable {
    let source: any ByteSource
    let byteCount: UInt64

    init(_ source: any ByteSource) {
        self.source = source
        byteCount = source.byteCount
    }

    /// Whether `count` bytes from `offset` lie in the file.
    func contains(_ offset: UInt64, _ count: UInt64) -> Bool {
        offset <= byteCount && count <= byteCount - offset
    }

    /// Fills `buffer`; `what` is named when the file ends before.
    func fill(
        _ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, what: String
    ) throws(DiskImageError) {
        guard contains(offset, UInt64(buffer.count)) else {
            throw .corrupt(rule: "the file ends in \(what)", offset: offset)
        }
        let got: Int
        do { got = try source.read(into: buffer, at: offset) } catch { throw .source(error.description) }
        guard got == buffer.count else { throw .source("\(what): the file became shorter while it was read") }
    }

    /// `count` bytes from `offset`.
    func bytes(at offset: UInt64, count: Int, what: String) throws(DiskImageError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        try fill(buffer, at: offset, what: what)
        return [UInt8](buffer)
    }

    /// Appends `count` big-endian words from `offset` to `words`, by pieces of at most 1 MiB.
    func appendWords(
        to words: inout [UInt64], at offset: UInt64, count: Int, what: String
    ) throws(DiskImageError) {
        guard contains(offset, UInt64(count) * 8) else {
            throw .corrupt(rule: "the file ends in \(what)", offset: offset)
        }
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(count * 8, 1 << 20), alignment: 16)
        defer { piece.deallocate() }
        words.reserveCapacity(words.count + count)
        var done = 0
        while done < count {
            let now = min(count - done, piece.count / 8)
            let part = UnsafeMutableRawBufferPointer(rebasing: piece[0..<now * 8])
            try fill(part, at: offset + UInt64(done) * 8, what: what)
            for word in part.bindMemory(to: UInt64.self) { words.append(UInt64(bigEndian: word)) }
            done += now
        }
    }

    /// `count` little-endian words of four bytes from `offset`.
    func little32s(at offset: UInt64, count: Int, what: String) throws(DiskImageError) -> [UInt32] {
        guard contains(offset, UInt64(count) * 4) else {
            throw .corrupt(rule: "the file ends in \(what)", offset: offset)
        }
        let words = UnsafeMutableRawBufferPointer.allocate(byteCount: count * 4, alignment: 16)
        defer { words.deallocate() }
        try fill(words, at: offset, what: what)
        return words.bindMemory(to: UInt32.self).map { UInt32(littleEndian: $0) }
    }
}

extension [UInt8] {
    /// The big-endian number of two bytes at `offset`, which must lie in the array.
    func big16(_ offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }
    /// The big-endian number of four bytes.
    func big32(_ offset: Int) -> UInt32 { UInt32(big16(offset)) << 16 | UInt32(big16(offset + 2)) }
    /// The big-endian number of eight bytes.
    func big64(_ offset: Int) -> UInt64 { UInt64(big32(offset)) << 32 | UInt64(big32(offset + 4)) }
    /// The little-endian number of four bytes.
    func little32(_ offset: Int) -> UInt32 { big32(offset).byteSwapped }
    /// The little-endian number of two bytes.
    func little16(_ offset: Int) -> UInt16 { big16(offset).byteSwapped }
    /// The little-endian number of eight bytes.
    func little64(_ offset: Int) -> UInt64 { big64(offset).byteSwapped }
    /// Whether `text` stands at `offset`.
    func has(_ text: StaticString, at offset: Int) -> Bool {
        guard offset >= 0, count - offset >= text.utf8CodeUnitCount else { return false }
        return (0..<text.utf8CodeUnitCount).allSatisfy { self[offset + $0] == text.utf8Start[$0] }
    }
    /// Whether `bytes` stand at `offset`.
    func has(_ bytes: [UInt8], at offset: Int) -> Bool {
        offset >= 0 && count - offset >= bytes.count && self[offset..<offset + bytes.count].elementsEqual(bytes)
    }
}
