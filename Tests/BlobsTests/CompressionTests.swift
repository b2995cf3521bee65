// Goal: what is compressed comes back, and no input makes a decompressor write beyond its buffer.
// Method: round trips over sizes, truncations, padding, flipped bits.
import Compression
import Testing

private func sample(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed
    return (0..<count).map { index in
        if index % 7 == 0 { state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 }
        return UInt8(truncatingIfNeeded: state >> 40) & 0x3f
    }
}

@Suite struct CompressionTests {
    @Test(arguments: [0, 1, 100, 4096, 65_536, 262_144]) func zstdRoundTrip(count: Int) throws {
        var compressor = try ZstdCompressor(level: 3)
        var decompressor = try ZstdDecompressor()
        let plain = sample(count)
        for _ in 0..<2 {
            var packed = [UInt8](repeating: 0, count: ZstdCompressor.outputCountMax(for: count))
            let size = try #require(
                plain.withUnsafeBytes { input in packed.withUnsafeMutableBytes { compressor.compress(input, into: $0) }
                })
            var back = [UInt8](repeating: 0, count: count)
            let got = try packed[..<size].withUnsafeBytes { input in
                try back.withUnsafeMutableBytes { try decompressor.decompress(input, into: $0) }
            }
            #expect(got == count)
            #expect(back == plain)
        }
    }

    @Test func zstdIsBounded() throws {
        var compressor = try ZstdCompressor(level: 3)
        var decompressor = try ZstdDecompressor()
        let plain = sample(10_000)
        var packed = [UInt8](repeating: 0, count: ZstdCompressor.outputCountMax(for: plain.count))
        let size = try #require(
            plain.withUnsafeBytes { input in packed.withUnsafeMutableBytes { compressor.compress(input, into: $0) } })
        var small = [UInt8](repeating: 0, count: 9_999)
        #expect(throws: CompressionError.outputTooLong(limitBytes: 9_999)) {
            _ = try packed[..<size].withUnsafeBytes { input in
                try small.withUnsafeMutableBytes { try decompressor.decompress(input, into: $0) }
            }
        }
        // Too little room to compress into is an answer, not an error.
        var tiny = [UInt8](repeating: 0, count: 16)
        let none = plain.withUnsafeBytes { input in tiny.withUnsafeMutableBytes { compressor.compress(input, into: $0) }
        }
        #expect(none == nil)
        // A padded cluster: what follows the frame is ignored.
        var back = [UInt8](repeating: 0, count: 10_000)
        let padded = Array(packed[..<size]) + [UInt8](repeating: 0xee, count: 300)
        let got = try padded.withUnsafeBytes { input in
            try back.withUnsafeMutableBytes { try decompressor.decompressPrefix(input, into: $0) }
        }
        #expect(got == 10_000)
        #expect(back == plain)
        #expect(throws: CompressionError.truncated) {
            _ = try packed[..<(size / 2)].withUnsafeBytes { input in
                try back.withUnsafeMutableBytes { try decompressor.decompressPrefix(input, into: $0) }
            }
        }
    }

    @Test func deflateRoundTrip() throws {
        for wrapping in [DeflateWrapping.raw, .zlib] {
            var deflater = try Deflater(level: 6, wrapping: wrapping)
            for count in [1, 512, 65_536] {
                let plain = sample(count, seed: UInt64(count))
                var packed = [UInt8](repeating: 0, count: count + 1000)
                let size = try #require(
                    plain.withUnsafeBytes { input in
                        packed.withUnsafeMutableBytes { deflater.compress(input, into: $0) }
                    })
                var back = [UInt8](repeating: 0, count: count)
                // The rest of `packed` is padding.
                let got = try packed.withUnsafeBytes { input in
                    try back.withUnsafeMutableBytes {
                        wrapping == .raw
                            ? try Inflate.raw(into: $0, from: input) : try Inflate.zlib(into: $0, from: input)
                    }
                }
                #expect(got == count)
                #expect(back == plain)
                #expect(throws: CompressionError.self) {
                    var more = [UInt8](repeating: 0, count: count + 1)
                    _ = try packed[..<(size / 2)].withUnsafeBytes { input in
                        try more.withUnsafeMutableBytes { try Inflate.raw(into: $0, from: input) }
                    }
                }
            }
        }
    }

    @Test func randomBytesNeverCrash() throws {
        var decompressor = try ZstdDecompressor()
        var out = [UInt8](repeating: 0, count: 4096)
        for seed in 0..<500 {
            var junk = sample(64, seed: UInt64(seed) &* 77)
            if seed % 2 == 0 { junk.replaceSubrange(0..<4, with: [0x28, 0xb5, 0x2f, 0xfd]) }
            junk.withUnsafeBytes { input in
                out.withUnsafeMutableBytes { output in
                    #expect((try? decompressor.decompress(input, into: output)) ?? 0 <= 4096)
                    #expect((try? decompressor.decompressPrefix(input, into: output)) ?? 0 <= 4096)
                    #expect((try? Inflate.raw(into: output, from: input)) ?? 0 <= 4096)
                }
            }
        }
    }
}
