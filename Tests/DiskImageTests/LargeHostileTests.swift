// Goal: verdicts in at most 2 s and 128 MiB for files that are hostile by their size.
// Method: sparse files with tables as large as the format allows; the time is taken by `Verdict.of`, the
// peak of the process's memory here.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct LargeHostile {
        /// A file of 512-byte clusters with an L1 table of 32 MiB: 4 Mi tables that map 128 GiB.
        private func largestL1(_ scratch: Scratch, byteCount: UInt64, l2: (UInt64) -> UInt64) throws -> String {
            let file = try SparseFile(scratch.file("l1.qcow2"), byteCount: byteCount)
            let l1Offset: UInt64 = 1 << 20
            try file.put([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2], at: 0)
            try file.put([0, 0, 0, 9], at: 20)
            try file.put(words: [128 << 30], at: 24)
            try file.put([0, 0x40, 0, 0], at: 36)
            try file.put(words: [l1Offset, 512], at: 40)
            try file.put([0, 0, 0, 1], at: 56)
            for part in 0..<UInt64(16) {
                let first = part << 18
                try file.put(words: (first..<first + 1 << 18).map(l2), at: l1Offset + first * 8)
            }
            return file.path
        }

        private func verdict(_ path: String) throws -> String {
            let memory = try MemoryPeak()
            let verdict = Verdict.of(try FileSource(path), .qcow2)
            #expect(try memory.growthBytes() < 128 << 20)
            return verdict
        }

        @Test func fourMillionEmptyTables() throws {
            let scratch = try Scratch()
            let path = try largestL1(scratch, byteCount: 4 << 30) { (64 << 20) + $0 * 512 }
            #expect(try verdict(path) == "taken")
        }

        @Test func fourMillionTimesOneTable() throws {
            let scratch = try Scratch()
            let path = try largestL1(scratch, byteCount: 4 << 30) { _ in 64 << 20 }
            #expect(try verdict(path).hasPrefix("corrupt@1048584 an L2 table overlaps another table"))
        }

        @Test func moreClustersThanTheMapHolds() throws {
            let scratch = try Scratch()
            let path = try largestL1(scratch, byteCount: 129 << 30) { _ in 64 << 20 }
            #expect(try verdict(path).hasPrefix("unsupported@20 qcow2 files of more than 268435456 clusters"))
        }

        /// A full table of one cluster, again and again: 512 MiB of disk from one cluster of data.
        @Test func allTheSameCluster() throws {
            let scratch = try Scratch()
            let file = try SparseFile(scratch.file("same.qcow2"), byteCount: 1 << 20)
            try file.put([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2], at: 0)
            try file.put([0, 0, 0, 16], at: 20)
            try file.put(words: [512 << 20], at: 24)
            try file.put([0, 0, 0, 1], at: 36)
            try file.put(words: [0x20000, 0x10000], at: 40)
            try file.put([0, 0, 0, 1], at: 56)
            try file.put(words: [0x30000], at: 0x20000)
            try file.put(words: [UInt64](repeating: 0x40000, count: 8192), at: 0x30000)
            #expect(try verdict(file.path).hasPrefix("corrupt@262144 guest cluster 1 lies in a cluster"))
        }

        /// The largest count table, full of places that are good but for the last.
        @Test func oneMillionCountBlocks() throws {
            let scratch = try Scratch()
            let file = try SparseFile(scratch.file("counts.qcow2"), byteCount: 2 << 30)
            try file.put([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2], at: 0)
            try file.put([0, 0, 0, 9], at: 20)
            try file.put(words: [1 << 20], at: 24)
            try file.put([0, 0, 0, 64], at: 36)
            try file.put(words: [512, 1024], at: 40)
            try file.put([0, 0, 0x40, 0], at: 56)
            try file.put(words: (0..<1 << 20).map { (64 << 20) + $0 * 512 }, at: 1024)
            #expect(try verdict(file.path) == "taken")
            try file.put(words: [3], at: 1024 + 8 * ((1 << 20) - 1))
            #expect(try verdict(file.path).hasPrefix("corrupt@8389624 a reference count table entry has reserved bits"))
        }

        /// A header of 2 MiB full of empty extensions.
        @Test func aQuarterMillionExtensions() throws {
            let scratch = try Scratch()
            let file = try SparseFile(scratch.file("extensions.qcow2"), byteCount: 16 << 20)
            try file.put([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2], at: 0)
            try file.put([0, 0, 0, 21], at: 20)
            try file.put(words: [1 << 20], at: 24)
            try file.put([0, 0, 0, 1], at: 36)
            try file.put(words: [2 << 20, 4 << 20], at: 40)
            try file.put([0, 0, 0, 1], at: 56)
            try file.put(words: [UInt64](repeating: 0x1234 << 32, count: (2 << 20) / 8 - 9), at: 72)
            #expect(try verdict(file.path) == "taken")
        }

        /// A VMDK of 4 KiB grains with both directories as long as they may be: 2 Mi tables, in no order, over a file
        /// that is a hole but for them.
        private func largestVmdk(_ scratch: Scratch, tables: (UInt32) -> UInt32) throws -> String {
            let sectors: UInt64 = 1 << 32
            let file = try SparseFile(scratch.file("largest.vmdk"), byteCount: 16 << 30)
            var head = SmallVmdk()
            head.put32(8, 3)
            head.put64(12, sectors)
            head.put64(48, 1 << 15)
            head.put64(56, 1 << 14)
            head.describe("RW 4096", "RW \(sectors)")
            try file.put(Array(head.bytes[0..<2048]), at: 0)
            for half in 0..<UInt32(2) {
                let words = (0..<UInt32(1 << 20)).map { (tables(half << 20 | $0)).littleEndian }
                try file.put(words.withUnsafeBytes { [UInt8]($0) }, at: (8 << 20) << UInt64(half))
            }
            return file.path
        }

        private func vmdkVerdict(_ path: String) throws -> String {
            let memory = try MemoryPeak()
            let verdict = Verdict.of(try FileSource(path), .vmdk)
            #expect(try memory.growthBytes() < 128 << 20)
            return verdict
        }

        @Test func twoMillionGrainTables() throws {
            let scratch = try Scratch()
            // An odd factor reaches every number once.
            let path = try largestVmdk(scratch) { 1 << 20 + ($0 &* 1_234_567 & 0x1f_ffff) * 4 }
            #expect(try vmdkVerdict(path) == "taken")
        }

        @Test func twoMillionTimesOneGrainTable() throws {
            let scratch = try Scratch()
            let path = try largestVmdk(scratch) { _ in 1 << 20 }
            #expect(try vmdkVerdict(path).hasPrefix("corrupt@12582908 a grain table overlaps another"))
        }

        /// Three million grains that lie between a million tables: each is looked up among them.
        @Test func threeMillionGrains() throws {
            let scratch = try Scratch()
            let path = try largestVmdk(scratch) { $0 < 8192 ? 1 << 17 + $0 * 4 : 1 << 20 + $0 % (1 << 20) * 28 }
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            defer { try? handle.close() }
            // One directory: its flag goes.
            try handle.seek(toOffset: 8)
            try handle.write(contentsOf: Data([1, 0, 0, 0]))
            for table in 0..<UInt32(7800) {
                let entries = (0..<UInt32(384)).map { entry -> UInt32 in
                    let (gap, inside) = (table * 384 + entry).quotientAndRemainder(dividingBy: 3)
                    let place = 8192 + UInt32(UInt64(gap) * 7919 % 1_000_000)
                    return (1 << 20 + place * 28 + 4 + inside * 8).littleEndian
                }
                try handle.seek(toOffset: UInt64(1 << 17 + table * 4) * 512)
                try handle.write(contentsOf: entries.withUnsafeBytes { Data($0) })
            }
            #expect(try vmdkVerdict(path) == "taken")
        }

        /// 8 TiB in blocks of 1 MiB: eight million entries, the last of which is bad.
        @Test func eightMillionBlocks() throws {
            let scratch = try Scratch()
            let file = try SparseFile(scratch.file("blocks.vhdx"), byteCount: 80 << 20)
            var head = SmallVhdx()
            head.region(0, "6677C22D23F600429D64115E9BFD4A08", 4 << 20)
            head.put(SmallVhdx.regionTable + 16 + 24, 65 << 20, 4)
            head.put(SmallVhdx.metadata + 65552, 8 << 40, 8)
            head.seal()
            try file.put(Array(head.bytes[0..<(2 << 20)]), at: 0)
            let memory = try MemoryPeak()
            #expect(Verdict.of(try FileSource(file.path), .vhdx) == "taken")
            let last: UInt64 = (8 << 20) - 1
            let place = (4 << 20) + (last + last / 4096) * 8
            try file.put([5], at: place)
            #expect(
                Verdict.of(try FileSource(file.path), .vhdx).hasPrefix("corrupt@\(place) a block is in the state 5"))
            #expect(try memory.growthBytes() < 128 << 20)
        }

        /// Nearly 2 TiB in blocks of 512 KiB, in no order.
        @Test func fourMillionBlocks() throws {
            let scratch = try Scratch()
            let (blocks, stride): (UInt32, UInt32) = (4_190_000, 1025)
            let file = try SparseFile(scratch.file("blocks.vhd"), byteCount: (UInt64(blocks * stride) + 40_000) * 512)
            var head = SmallVhd()
            head.put(48, UInt64(blocks) << 19, 8)
            head.put(512 + 28, UInt64(blocks), 4)
            head.put(512 + 32, 512 << 10, 4)
            head.seal()
            try file.put(Array(head.bytes[0..<1536]), at: 0)
            try file.put(Array(head.bytes[0..<512]), at: (UInt64(blocks * stride) + 39_999) * 512)
            // A prime reaches every number once.
            let words = (0..<blocks).map { block in
                (UInt32(UInt64(block) * 1_234_577 % UInt64(blocks)) * stride + 35_000).bigEndian
            }
            try file.put(words.withUnsafeBytes { [UInt8]($0) }, at: 1536)
            let memory = try MemoryPeak()
            #expect(Verdict.of(try FileSource(file.path), .vhd) == "taken")
            #expect(try memory.growthBytes() < 128 << 20)
        }
    }
}
