// Goal: the manifest's bytes never change by accident; no bytes make the decoder crash or accept what is not so.
// Method: a golden vector, round trips of random manifests, every byte of one flipped.
import Model
import TestSupport
import Testing

private func facts(_ content: Digest, referenced: UInt64, size: UInt64) -> ImageFacts {
    ImageFacts(
        declaration: ImageDeclaration(
            id: ImageID(random: (1, 2)), name: "debian 12", description: "two\nlines", type: .system, format: .qcow2,
            createdAt: Timestamp(milliseconds: 1_767_225_600_000)),
        virtualSizeBytes: size, referencedBytes: referenced, storedBytes: 77, contentDigest: content,
        sourceDigest: Digest.sha256([1]), sourceSizeBytes: 99, storedAt: Timestamp(milliseconds: 1_767_225_700_123))
}

private func manifest(_ extents: [SliceExtent], blobs: Int, size: UInt64) -> Manifest {
    var content = ContentHasher(slicingVersion: 1, virtualSizeBytes: size)
    for extent in extents { content.add(extent) }
    return Manifest(
        facts: facts(content.digest(), referenced: extents.reduce(0) { $0 + UInt64($1.byteCount) }, size: size),
        guestFacts: [GuestFact(key: "architecture", value: "x86_64")], slicingVersion: 1,
        blobs: (0..<blobs).map { Digest.sha256([UInt8(truncatingIfNeeded: $0)]) }, extents: extents)
}

private func sample() -> Manifest {
    let id = { (number: UInt8) in Digest.sha256([number]) }
    return manifest(
        [
            SliceExtent(guestOffset: 0, byteCount: 4096, slice: id(1), blob: 0, place: 0),
            SliceExtent(guestOffset: 4096, byteCount: 10_000, slice: id(2), blob: 0, place: 1),
            SliceExtent(guestOffset: 20_480, byteCount: 4096, slice: id(1), blob: 0, place: 0),
            SliceExtent(guestOffset: 64 << 20, byteCount: 262_144, slice: id(3), blob: 1, place: 70_000),
        ], blobs: 2, size: (64 << 20) + 300_000)
}

private func randomManifest(seed: UInt64) -> Manifest {
    var random = SeededGenerator(seed: seed)
    let size = UInt64.random(in: 1...(1 << 32), using: &random)
    var extents: [SliceExtent] = []
    var offset: UInt64 = 0
    var place: UInt32 = 0
    while offset < size, extents.count < 300 {
        if random.next() % 4 == 0 { offset += UInt64.random(in: 0...(1 << 26), using: &random) / 4096 * 4096 }
        let room = min(size, (offset / (64 << 20) + 1) * (64 << 20))
        guard offset < room else { break }
        let count = UInt32(min(UInt64.random(in: 1...262_144, using: &random), room - offset))
        place = random.next() % 5 == 0 ? UInt32(random.next() % 1000) : place + 1
        extents.append(
            SliceExtent(
                guestOffset: offset, byteCount: count, slice: Digest.sha256(random.bytes(4)),
                blob: UInt32(random.next() % 3),
                place: place))
        offset += UInt64(count)
    }
    return manifest(extents, blobs: 3, size: size)
}

@Suite struct ManifestTests {
    @Test func goldenVector() throws {
        let bytes = sample().encoded()
        #expect(bytes.count == 585)
        #expect(Hex.encode(bytes.prefix(16)) == "4c414d494d4147450100010000000000")
        #expect(Digest.sha256(bytes).hex == "8cfbf8d89befc0e230c44553e00df60263b8409f5753466499965ae4aa6f4a94")
        #expect(sample().facts.contentDigest.hex == "285b263e1f0f0d50e8317b1d70c5e56e1de2e9d5e59795ef1ea1ff084db6a134")
        #expect(try Manifest(decoding: bytes) == sample())
    }

    @Test func contentDoesNotDependOnPlacement() {
        var moved = sample()
        for index in moved.extents.indices {
            moved.extents[index].blob = 1
            moved.extents[index].place += 5
        }
        var content = ContentHasher(slicingVersion: 1, virtualSizeBytes: moved.facts.virtualSizeBytes)
        for extent in moved.extents { content.add(extent) }
        #expect(content.digest() == sample().facts.contentDigest)
    }

    @Test(arguments: 1...30) func randomRoundTrips(seed: UInt64) throws {
        let manifest = randomManifest(seed: seed)
        #expect(try Manifest(decoding: manifest.encoded()) == manifest)
    }

    @Test func everyFlippedByteIsRefused() {
        let bytes = sample().encoded()
        for place in bytes.indices {
            var wrong = bytes
            wrong[place] ^= 0x41
            #expect(throws: MalformedBytes.self, "byte \(place)") { try Manifest(decoding: wrong) }
        }
        for count in 0..<bytes.count {
            #expect(throws: MalformedBytes.self) { try Manifest(decoding: Array(bytes.prefix(count))) }
        }
    }

    // Damage with right checksums: what a hostile peer would send.
    @Test(arguments: 1...300) func hostileSegments(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let whole = try ManifestTail(decoding: sample().encoded())
        let entry = whole.segments[0]
        var block = Array(sample().encoded()[Int(entry.position)..<Int(entry.position) + Int(entry.byteCount)])
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            block[Int.random(in: 0..<min(block.count, 40), using: &random)] = UInt8(truncatingIfNeeded: random.next())
        }
        if random.next() % 3 == 0 { block.removeLast(Int.random(in: 0...block.count, using: &random)) }
        var segment = entry
        segment.byteCount = UInt32(block.count)
        segment.digest = Digest.sha256(block)
        if let extents = try? ManifestSegment.decode(block, of: segment, in: whole) {
            var end: UInt64 = 0
            for extent in extents {
                #expect(extent.guestOffset >= end && extent.byteCount > 0 && Int(extent.blob) < whole.blobs.count)
                end = extent.guestEnd
            }
            #expect(end <= whole.facts.virtualSizeBytes)
        }
    }
}

@Suite struct ResumableHashTests {
    @Test(arguments: [0, 1, 55, 56, 63, 64, 65, 1000, 4097]) func stateSurvives(split: Int) throws {
        var random = SeededGenerator(seed: 1)
        let bytes = random.bytes(split + 777)
        var first = ResumableSHA256()
        bytes[..<split].withUnsafeBytes { first.update($0) }
        #expect(first.byteCount == UInt64(split))
        var second = try ResumableSHA256(state: first.state)
        #expect(second.current() == Digest.sha256(Array(bytes[..<split])))
        bytes[split...].withUnsafeBytes { second.update($0) }
        #expect(second.current() == Digest.sha256(bytes))
    }

    @Test func wrongStatesAreRefused() {
        #expect(throws: MalformedBytes.self) { try ResumableSHA256(state: [1, 2, 3]) }
    }
}

@Suite struct ByteTests {
    @Test func varintsAreShortest() throws {
        for value in [0, 1, 127, 128, 300, UInt64(UInt32.max), .max] {
            var writer = ByteWriter()
            writer.varint(value)
            let back = try writer.bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                return try reader.varint()
            }
            #expect(back == value)
        }
        for wrong: [UInt8] in [[0x80, 0x00], [0xff], Array(repeating: 0xff, count: 11), [0x80]] {
            #expect(throws: MalformedBytes.self) {
                try wrong.withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    _ = try reader.varint()
                }
            }
        }
    }
}
