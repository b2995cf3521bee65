// Goal: a blob's bytes never change by accident; no bytes make the decoder crash or hand out a wrong slice.
// Method: a golden vector, round trips, every byte flipped, hostile directories with right checksums.
import Blobs
import Model
import TestSupport
import Testing

private struct MadeBlob {
    var bytes = BlobFormat.header()
    var directory = BlobDirectory()
    var slices: [[UInt8]] = []

    mutating func add(_ frame: [[UInt8]]) throws {
        var encoder = try FrameEncoder(level: 3)
        let plain = Array(frame.joined())
        var out = [UInt8](repeating: 0, count: plain.count)
        let packed = plain.withUnsafeBytes { input in out.withUnsafeMutableBytes { encoder.encode(input, into: $0) } }
        let stored = packed.map { Array(out[..<$0]) } ?? plain
        bytes += stored
        directory.append(
            storedByteCount: stored.count, encoding: packed == nil ? .plain : .zstd,
            slices: frame.map { SliceEntry(slice: Digest.sha256($0), byteCount: UInt32($0.count)) })
        slices += frame
    }

    func finished(epoch: UInt64 = 3) -> [UInt8] {
        let encoded = directory.encoded()
        return bytes + encoded
            + BlobTrailer(
                directoryPosition: directory.endOfFrames, directoryByteCount: UInt32(encoded.count), epoch: epoch,
                name: Digest.sha256(encoded)
            ).encoded()
    }
}

private func sample() throws -> MadeBlob {
    var random = SeededGenerator(seed: 11)
    var blob = MadeBlob()
    try blob.add([random.text(5000), random.text(70_000), random.text(1)])
    try blob.add([random.bytes(4096)])
    try blob.add([random.text(262_144)])
    return blob
}

/// Reads a blob out of memory, as a store does out of a file.
private func decode(_ bytes: [UInt8]) throws -> [[UInt8]] {
    guard bytes.count >= BlobFormat.headerByteCount + BlobFormat.trailerByteCount else {
        throw BlobError.malformed(MalformedBytes("short", at: 0))
    }
    try BlobFormat.check(header: Array(bytes.prefix(BlobFormat.headerByteCount)))
    let trailer = try BlobTrailer(
        decoding: Array(bytes.suffix(BlobFormat.trailerByteCount)), blobByteCount: UInt64(bytes.count))
    let start = Int(trailer.directoryPosition)
    let directory = try trailer.directory(decoding: Array(bytes[start..<start + Int(trailer.directoryByteCount)]))
    var decoder = try FrameDecoder()
    var out: [[UInt8]] = []
    for frame in directory.frames {
        var plain = [UInt8](repeating: 0, count: Int(frame.plainByteCount))
        let stored = bytes[Int(frame.position)..<Int(frame.position) + Int(frame.storedByteCount)]
        try stored.withUnsafeBytes { input in
            try plain.withUnsafeMutableBytes { try decoder.decode(input, of: frame, into: $0) }
        }
        for place in frame.slices {
            let offset = Int(directory.sliceOffsets[place])
            let slice = Array(plain[offset..<offset + Int(directory.slices[place].byteCount)])
            try slice.withUnsafeBytes { try FrameDecoder.check($0, is: directory.slices[place].slice) }
            out.append(slice)
        }
    }
    return out
}

@Suite struct BlobTests {
    @Test func roundTrip() throws {
        let blob = try sample()
        #expect(try decode(blob.finished()) == blob.slices)
        #expect(blob.directory.frames.map(\.encoding) == [.zstd, .plain, .zstd])
        #expect([0, 1, 2, 3, 4, 5].map { blob.directory.frame(ofPlace: $0) } == [0, 0, 0, 1, 2, nil])
    }

    // Plain frames only: the bytes of zstd frames belong to the library's version, the layout to us.
    @Test func goldenVector() throws {
        var random = SeededGenerator(seed: 12)
        var blob = MadeBlob()
        try blob.add([random.bytes(64), random.bytes(32)])
        try blob.add([random.bytes(16)])
        let bytes = blob.finished(epoch: 0x0102)
        #expect(blob.directory.frames.map(\.encoding) == [.plain, .plain])
        #expect(bytes.count == 16 + 112 + 8 + 2 * 12 + 3 * 36 + 72)
        #expect(Digest.sha256(bytes).hex == "556f40e1e3c2948fa6942752a8f5e57c7e919b5afffa6a76b1c85b184f109236")
        // The epoch does not enter the name.
        #expect(blob.finished(epoch: 9).dropLast(72) == bytes.dropLast(72))
    }

    // A frame that an older library wrote must be readable for ever.
    @Test func goldenZstdFrame() throws {
        let stored = try #require(
            Hex.decode(
                "28b52ffd60000fa50800141000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff81009810f0070010fec40fd5aa55eb14a4"
            ))
        let frame = FrameEntry(
            position: 16, storedByteCount: UInt32(stored.count), plainByteCount: 4096, encoding: .zstd, slices: 0..<1)
        var decoder = try FrameDecoder()
        var plain = [UInt8](repeating: 0, count: 4096)
        try stored.withUnsafeBytes { input in
            try plain.withUnsafeMutableBytes { try decoder.decode(input, of: frame, into: $0) }
        }
        #expect(plain == (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 16) })
    }

    @Test func everyFlippedByteIsRefused() throws {
        var random = SeededGenerator(seed: 13)
        var blob = MadeBlob()
        try blob.add([random.text(600), random.text(50)])
        try blob.add([random.bytes(300)])
        let bytes = blob.finished()
        for place in bytes.indices {
            var wrong = bytes
            wrong[place] ^= 0x10
            // A changed frame may still decode to the same bytes; nothing else may come out.
            if let slices = try? decode(wrong) { #expect(slices == blob.slices, "byte \(place)") }
        }
        for count in 0..<bytes.count { #expect(throws: BlobError.self) { try decode(Array(bytes.prefix(count))) } }
    }

    @Test(arguments: 1...500) func hostileDirectories(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let blob = try sample()
        var encoded = blob.directory.encoded()
        for _ in 0..<Int.random(in: 1...5, using: &random) {
            encoded[Int.random(in: 0..<min(encoded.count, 60), using: &random)] = UInt8(
                truncatingIfNeeded: random.next())
        }
        if random.next() % 4 == 0 { encoded.removeLast(Int.random(in: 0...encoded.count, using: &random)) }
        let bytes =
            blob.bytes + encoded
            + BlobTrailer(
                directoryPosition: blob.directory.endOfFrames, directoryByteCount: UInt32(encoded.count), epoch: 1,
                name: Digest.sha256(encoded)
            ).encoded()
        if let slices = try? decode(bytes) { #expect(slices == blob.slices) }
    }
}
