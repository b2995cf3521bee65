// Goal: the marker, the journal, the staged offset and the cuts never change by accident: stores that exist depend on them.
// Method: golden vectors; properties of the cuts on random disks.
import Model
import SliceStorage
import TestSupport
import Testing

@Suite struct FormatTests {
    @Test func marker() throws {
        let marker = StoreMarker(
            id: Given.store, fileSystem: "", slicingVersion: 1, compressionLevel: 3, createdAt: Given.time, epoch: 12)
        let text = """
            lamina store
            format 1
            slicing 1
            level 3
            id 11112222-3333-4444-9555-666677778888
            file-system -
            created 2026-01-01T00:00:00.000Z
            epoch 12
            sum c16106cfffff582463ce7be0d9f5932bb0c39a87954cabe9aa8c0006c83f1836

            """
        #expect(String(decoding: marker.encoded(), as: UTF8.self) == text)
        #expect(try StoreMarker(decoding: marker.encoded()) == marker)
        let bytes = marker.encoded()
        for place in bytes.indices {
            var wrong = bytes
            wrong[place] ^= 1
            #expect(throws: StoreMarker.Refusal.self, "byte \(place)") { try StoreMarker(decoding: wrong) }
        }
    }

    @Test func gearTable() {
        #expect(Gear.table.count == 256)
        #expect(Gear.table[0] == 0x507ba1ad459fc940)
        var bytes = ByteWriter()
        for word in Gear.table { bytes.u64(word) }
        #expect(Digest.sha256(bytes.bytes).hex == "a858b57a94bd05d8494d0a0c89a5345a22b8be4b6a4a8ed950267ec051554cae")
    }

    @Test func cutsOfVersionOne() {
        let bytes = Given.disk(seed: 77, byteCount: 3_000_000)
        var writer = ByteWriter()
        for range in Self.cuts(bytes, guestOffset: 0) {
            writer.u32(UInt32(range.lowerBound))
            writer.u32(UInt32(range.upperBound))
        }
        #expect(Digest.sha256(writer.bytes).hex == "013bbb35dbf557588ac3a11c984d767c0f3679ee9d7d91cc7bd55af62204cc85")
    }

    static func cuts(_ bytes: [UInt8], guestOffset: UInt64) -> [Range<Int>] {
        var found: [Range<Int>] = []
        bytes.withUnsafeBytes { _ = Cutter.cut($0, guestOffset: guestOffset, isLast: true, into: &found) }
        return found
    }

    @Test(arguments: 1...20) func cutsAreBoundedAndCoverAllData(seed: UInt64) {
        let bytes = Given.disk(seed: seed, byteCount: 2_500_000 + Int(seed))
        var end = 0
        for range in Self.cuts(bytes, guestOffset: 4096 * seed) {
            #expect(range.count <= Cutter.byteCountMax && !range.isEmpty)
            #expect(bytes[end..<range.lowerBound].allSatisfy { $0 == 0 })
            #expect((range.lowerBound - end) % 4096 == 0 || range.lowerBound == end)
            end = range.upperBound
        }
        #expect(bytes[end...].allSatisfy { $0 == 0 })
    }

    @Test(arguments: 1...10) func cutsDoNotDependOnWindows(seed: UInt64) {
        let bytes = Given.disk(seed: seed, byteCount: 2_000_000)
        var random = SeededGenerator(seed: seed)
        var found: [Range<Int>] = []
        var start = 0
        var end = 0
        while end < bytes.count {
            end = min(end + 4096 * Int.random(in: 1...120, using: &random), bytes.count)
            var part: [Range<Int>] = []
            let done = bytes[start..<end].withUnsafeBytes {
                Cutter.cut($0, guestOffset: UInt64(start), isLast: end == bytes.count, into: &part)
            }
            found += part.map { $0.lowerBound + start..<$0.upperBound + start }
            start += done
        }
        #expect(found == Self.cuts(bytes, guestOffset: 0))
    }

    // Content that moved by whole blocks is found again.
    @Test func movedContentIsTheSameSlices() {
        var random = SeededGenerator(seed: 5)
        let file = random.text(3_000_000)
        func ids(_ bytes: [UInt8]) -> Set<Digest> {
            Set(Self.cuts(bytes, guestOffset: 0).map { Digest.sha256(Array(bytes[$0])) })
        }
        let here = ids(file)
        let moved = ids([UInt8](repeating: 0, count: 40_960) + file)
        #expect(here == moved)
        let shifted = ids(random.bytes(8192) + file)
        #expect(here.intersection(shifted).count * 10 >= here.count * 8)
    }
}
