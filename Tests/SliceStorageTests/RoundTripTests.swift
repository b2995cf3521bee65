// Goal: what was taken in reads back exactly, whatever it is made of, and equal content is equal wherever it came from.
// Method: random disks through a store on the host's file system; restarts; reads at random offsets.
import DiskImage
import Model
import SliceStorage
import Storage
import TestSupport
import Testing
import Volumes

@Suite struct RoundTripTests {
    @Test(arguments: [0, 1, 511, 4095, 4096, 4097, 262_144, 1_048_576, 5_000_000]) func sizes(byteCount: Int) throws {
        let host = try HostStore()
        let store = try host.open()
        let bytes = Given.disk(seed: UInt64(byteCount), byteCount: byteCount)
        let facts = try store.take(bytes, as: 1)
        #expect(facts.virtualSizeBytes == UInt64(byteCount))
        #expect(try store.bytes(of: 1) == bytes)
        store.close()
        // A new process sees the same.
        let again = try host.open()
        #expect(try again.images() == [facts])
        #expect(try again.bytes(of: 1) == bytes)
        again.close()
    }

    @Test(arguments: 1...6) func randomDisks(seed: UInt64) throws {
        let host = try HostStore()
        let store = try host.open(Given.options(workers: Int(seed)))
        let bytes = Given.disk(seed: seed, byteCount: 3_000_000 + Int(seed) * 777)
        let first = try store.take(bytes, as: 1)
        let again = try store.take(bytes, as: 2, showsHoles: true)
        #expect(first.contentDigest == again.contentDigest)
        #expect(again.storedBytes == 0)
        #expect(first.referencedBytes == again.referencedBytes)
        let disk = try store.open(Given.image(2))
        #expect(try disk.allBytes(step: 10_007) == bytes)
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let offset = Int.random(in: 0..<bytes.count, using: &random)
            let count = Int.random(in: 0...min(300_000, bytes.count - offset), using: &random)
            var part = [UInt8](repeating: 1, count: count)
            try part.withUnsafeMutableBytes { try disk.read(into: $0, at: UInt64(offset)) }
            #expect(part[...] == bytes[offset..<offset + count])
        }
        // The extents cover the disk, and holes are zero.
        var offset: UInt64 = 0
        while offset < disk.virtualSizeBytes {
            let extent = try disk.extent(at: offset)
            #expect(extent.range.lowerBound == offset)
            if !extent.isData {
                #expect(bytes[Int(offset)..<Int(extent.range.upperBound)].allSatisfy { $0 == 0 })
            }
            offset = extent.range.upperBound
        }
        store.close()
    }

    @Test func severalSegments() throws {
        let host = try HostStore()
        let store = try host.open()
        // Data at both sides of the boundary at 64 MiB, and a hole of more than a segment.
        var bytes = [UInt8](repeating: 0, count: 200 << 20)
        let data = Given.disk(seed: 9, byteCount: 3 << 20)
        bytes.replaceSubrange((63 << 20)..<(66 << 20), with: data)
        bytes.replaceSubrange((199 << 20)..<(200 << 20), with: data[..<(1 << 20)])
        let facts = try store.take(bytes, as: 1, showsHoles: false)
        let sparse = try store.take(bytes, as: 2, showsHoles: true)
        #expect(facts.contentDigest == sparse.contentDigest)
        #expect(try store.bytes(of: 2) == bytes)
        store.close()
    }

    @Test func incompressibleAndEmpty() throws {
        let host = try HostStore()
        let store = try host.open()
        var random = SeededGenerator(seed: 4)
        let noise = random.bytes(2 << 20)
        let facts = try store.take(noise, as: 1)
        #expect(facts.storedBytes > 2 << 20 && facts.storedBytes < (2 << 20) + 65_536)
        let zeros = try store.take([UInt8](repeating: 0, count: 1 << 20), as: 2)
        #expect(zeros.referencedBytes == 0)
        #expect(try store.bytes(of: 1) == noise)
        #expect(try store.bytes(of: 2).allSatisfy { $0 == 0 })
        store.close()
    }
}
