// Goal: the bytes of frames never change, and no bytes whatever make the decoder keep more than it may.
// Method: golden vectors for every kind; each field broken alone; seeded random streams cut anywhere.
import Model
import Testing
import Wire

struct FrameTests {
    @Test func goldenFrames() throws {
        #expect(Set(GoldenFrames.all.map(\.0.kind)) == Set(FrameKind.allCases), "a vector for every kind")
        for (frame, hex) in GoldenFrames.all {
            #expect(Hex.encode(frame.encoded()) == hex, "\(frame.kind)")
            var decoder = FrameDecoder()
            var frames: [Frame] = []
            try decoder.feed(try #require(Hex.decode(hex)), into: &frames)
            #expect(frames == [frame])
        }
    }

    @Test func checksumOfKnownBytes() {
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xe306_9283)
        #expect(CRC32C.checksum([]) == 0)
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        for count in 0..<100 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
            #expect(CRC32C.checksum(bytes) == CRC32C.portable(bytes))
        }
    }

    private func refusal(of bytes: [UInt8]) -> (error: WireError?, kept: Int) {
        var decoder = FrameDecoder()
        var frames: [Frame] = []
        do throws(WireError) { try decoder.feed(bytes, into: &frames) } catch {
            return (error, decoder.bufferedByteCount)
        }
        return (nil, decoder.bufferedByteCount)
    }

    /// A header with bytes replaced and its checksum made right again.
    private func header(_ frame: Frame, _ at: Int, _ bytes: [UInt8]) -> [UInt8] {
        var out = Array(frame.header()[0..<28])
        out.replaceSubrange(at..<at + bytes.count, with: bytes)
        let checksum = CRC32C.checksum(out)
        return out + (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * $0)) }
    }

    @Test func everyFieldIsChecked() {
        let frame = Frame(.ping)
        #expect(refusal(of: header(frame, 0, [0x47])).error == .badMagic(offset: 0))
        #expect(refusal(of: header(frame, 4, [2])).error == .badLayout(found: 2, offset: 4))
        #expect(refusal(of: header(frame, 5, [11])).error == .unknownKind(found: 11, offset: 5))
        #expect(refusal(of: header(frame, 5, [0])).error == .unknownKind(found: 0, offset: 5))
        #expect(refusal(of: header(frame, 6, [1])).error == .badFlags(found: 1, offset: 6))
        #expect(refusal(of: header(frame, 24, [1])).error == .badReserved(offset: 24))
        var broken = frame.header()
        broken[9] ^= 1
        #expect(refusal(of: broken).error == .badHeaderChecksum(offset: 28))
        var data = Frame(.data, exchange: 1, payload: [1, 2, 3]).encoded()
        data[34] ^= 1
        #expect(refusal(of: data).error == .badPayloadChecksum(offset: 32))
        // Offsets count from the beginning of the connection.
        #expect(refusal(of: Frame(.data, payload: [9]).encoded() + broken).error == .badHeaderChecksum(offset: 61))
    }

    @Test(arguments: FrameKind.allCases)
    func aLengthOverTheLimitIsRefusedBeforeAnythingIsKept(_ kind: FrameKind) {
        #expect(kind.payloadByteCountMax <= WireLimits.payloadByteCountMax)
        for count in [UInt32(kind.payloadByteCountMax + 1), 8 << 20 + 1, .max] {
            let bytes = header(Frame(kind), 16, (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) })
            let (error, kept) = refusal(of: bytes)
            #expect(error == .tooLong(byteCount: UInt64(count), limit: kind.payloadByteCountMax, offset: 16))
            #expect(kept <= WireLimits.headerByteCount)
        }
    }

    @Test func anEndInsideAFrameIsSeen() throws {
        let bytes = Frame(.data, exchange: 1, payload: [1, 2, 3]).encoded()
        for count in 0...bytes.count {
            var decoder = FrameDecoder()
            var frames: [Frame] = []
            try decoder.feed(Array(bytes[..<count]), into: &frames)
            var error: WireError?
            do throws(WireError) { try decoder.end() } catch let caught { error = caught }
            #expect(error == (count == 0 || count == bytes.count ? nil : .truncated(offset: UInt64(count))))
        }
    }

    @Test(arguments: 0..<32)
    func anyCutGivesTheSameFrames(_ seed: UInt64) throws {
        var random = Numbers(seed: seed)
        var frames: [Frame] = []
        for _ in 0..<20 {
            let kind = FrameKind.allCases.randomElement(using: &random) ?? .ping
            let count = Int.random(in: 0...min(5000, kind.payloadByteCountMax), using: &random)
            frames.append(
                Frame(
                    kind, exchange: random.next(),
                    flags: kind == .request ? UInt16.random(in: 0...1, using: &random) : 0,
                    payload: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }))
        }
        let bytes = frames.flatMap { $0.encoded() }
        var decoder = FrameDecoder()
        var found: [Frame] = []
        var place = 0
        while place < bytes.count {
            let count = min(bytes.count - place, Int.random(in: 0...300, using: &random))
            try decoder.feed(Array(bytes[place..<place + count]), into: &found)
            place += count
        }
        #expect(found == frames)
        #expect(decoder.isBetweenFrames)
    }

    @Test(arguments: 0..<200)
    func brokenStreamsNeverTrapNorGrow(_ seed: UInt64) {
        var random = Numbers(seed: seed &+ 1000)
        var bytes = (0..<6).flatMap { number in
            Frame(.data, exchange: UInt64(number), payload: [UInt8](repeating: 7, count: number * 50)).encoded()
        }
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
        }
        if seed % 5 == 0 { bytes = (0..<300).map { _ in UInt8.random(in: 0...255, using: &random) } }
        var decoder = FrameDecoder()
        var frames: [Frame] = []
        do throws(WireError) {
            for byte in bytes { try decoder.feed([byte], into: &frames) }
            Issue.record("a broken stream was taken")
        } catch {
            #expect(decoder.bufferedByteCount <= WireLimits.headerByteCount + 1 << 20)
        }
    }
}

/// Numbers that a test can repeat.
struct Numbers: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}
