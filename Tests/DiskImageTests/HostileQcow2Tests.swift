// Goal: a hostile file gets the right verdict, soon and in little memory, and never harms the process.
// Method: a good file with one rule broken at a time; files whose tables are as large as the format can say; files
// with random bytes changed. Where a break is not met at the door, reading meets it.
import DiskImage
import Foundation
import Model
import Testing
import Volumes

extension DiskImageTests {
    @Suite struct HostileQcow2 {
        struct Break: CustomTestStringConvertible, Sendable {
            var name: String
            var verdict: String
            var make: @Sendable () -> [UInt8]
            var testDescription: String { name }

            init(
                _ name: String, _ verdict: String, version: UInt32 = 3,
                _ change: @escaping @Sendable (inout SmallQcow2) -> Void
            ) {
                self.name = name
                self.verdict = verdict
                make = {
                    var file = SmallQcow2(version: version)
                    change(&file)
                    return file.bytes
                }
            }

            init(extended name: String, _ verdict: String, _ change: @escaping @Sendable (inout SmallQcow2) -> Void) {
                self.name = name
                self.verdict = verdict
                make = {
                    var file = SmallQcow2.extended()
                    change(&file)
                    return file.bytes
                }
            }
        }

        static let breaks: [Break] = [
            Break("nothing broken", "taken") { _ in },
            Break("nothing broken, version 2", "taken", version: 2) { _ in },
            Break("cut in the header", "corrupt@0 the file ends in the qcow2 header") {
                $0.bytes.removeLast($0.bytes.count - 71)
            },
            Break("cut in the header of version 3", "corrupt@0 the file ends in the qcow2 header") {
                $0.bytes.removeLast($0.bytes.count - 100)
            },
            Break("version 4", "unsupported@4 qcow2 version 4") { $0.put32(4, 4) },
            Break("version 0", "unsupported@4 qcow2 version 0") { $0.put32(4, 0) },
            Break("backing file", "unsafe@8 the image needs a backing file") {
                $0.put64(8, 512)
                $0.put32(16, 11)
                $0.bytes.replaceSubrange(512..<523, with: Array("/etc/shadow".utf8))
            },
            Break("backing file outside", "unsafe@8 the image needs a backing file") { $0.put64(8, .max) },
            Break("clusters of 256 bytes", "corrupt@20 cluster_bits is 8") { $0.put32(20, 8) },
            Break("clusters of 4 MiB", "corrupt@20 cluster_bits is 22") { $0.put32(20, 22) },
            Break("cluster_bits all ones", "corrupt@20 cluster_bits is 4294967295") { $0.put32(20, .max) },
            Break("no size", "corrupt@24 the virtual size is zero") { $0.put64(24, 0) },
            Break("size all ones", "tooLarge") { $0.put64(24, .max) },
            Break("9 TiB", "tooLarge") { $0.put64(24, 9 << 40) },
            Break("size with an odd sector", "corrupt@24 the virtual size is not a multiple of 512") {
                $0.put64(24, 1_000_001)
            },
            Break("AES encryption", "unsupported@32 encrypted qcow2 images") { $0.put32(32, 1) },
            Break("LUKS encryption", "unsupported@32 encrypted qcow2 images") { $0.put32(32, 2) },
            Break("L1 too short", "corrupt@36 the L1 table is too short") { $0.put32(36, 0) },
            Break("L1 too short for the size", "corrupt@36 the L1 table is too short") { $0.put64(24, 8 << 40) },
            Break("L1 of 32 GiB", "unsafe@36 the L1 table is larger than 32 MiB") { $0.put32(36, .max) },
            Break("L1 just over 32 MiB", "unsafe@36 the L1 table is larger than 32 MiB") { $0.put32(36, 1 << 22 + 1) },
            Break("L1 outside", "corrupt@40 the L1 table lies outside the file") { $0.put64(40, 1 << 40) },
            Break("L1 beyond all numbers", "corrupt@40 the L1 table lies outside the file") { $0.put64(40, ~4095) },
            Break("L1 beside a cluster", "corrupt@40 the L1 table does not begin at a cluster") {
                $0.put64(40, 3 * 4096 + 8)
            },
            Break("L1 over the header", "corrupt@40 the L1 table overlaps the header") { $0.put64(40, 0) },
            Break("L1 over the count table", "corrupt@48 the reference count table overlaps the L1 table") {
                $0.put64(40, 4096)
            },
            Break("L1 that ends outside", "corrupt@40 the L1 table lies outside the file") { $0.put32(36, 1 << 20) },
            Break("count table outside", "corrupt@48 the reference count table lies outside") { $0.put64(48, 1 << 50) },
            Break("no count table", "unsafe@56 the reference count table is empty") { $0.put32(56, 0) },
            Break("count table of 16 TiB", "unsafe@56 the reference count table is empty or larger") {
                $0.put32(56, .max)
            },
            Break("count block outside", "corrupt@4096 a reference count block lies outside") {
                $0.put64(4096, 1 << 50)
            },
            Break("count block over L1", "corrupt@4096 a reference count block overlaps") { $0.put64(4096, 3 * 4096) },
            Break("count block beside a cluster", "corrupt@4096 a reference count block does not begin") {
                $0.put64(4096, 512)
            },
            Break("count blocks overlap", "corrupt@4104 a reference count block overlaps") { $0.put64(4104, 2 * 4096) },
            Break("a million snapshots", "unsafe@60 there are more than 65536 snapshots") { $0.put32(60, 1_000_000) },
            Break("snapshots outside", "corrupt@64 the snapshot table lies outside") {
                $0.put32(60, 3)
                $0.put64(64, 1 << 30)
            },
            Break("snapshots over L1", "corrupt@64 the snapshot table overlaps the L1 table") {
                $0.put32(60, 3)
                $0.put64(64, 3 * 4096)
            },
            Break("dirty", "corrupt@72 the image was not closed (dirty)") { $0.put64(72, 1) },
            Break("corrupt", "corrupt@72 the image is marked corrupt") { $0.put64(72, 2) },
            Break("external data", "unsafe@72 the image keeps its data in another file") { $0.put64(72, 4) },
            Break("unknown feature", "unsupported@72 incompatible features 0x20") { $0.put64(72, 32) },
            Break("all features", "unsafe@72") { $0.put64(72, .max) },
            Break("extended L2 in small clusters", "corrupt@72 extended L2 entries need") { $0.put64(72, 16) },
            Break("counts of 128 bits", "corrupt@96 refcount_order is more than 6") { $0.put32(96, 7) },
            Break("short header", "corrupt@100 header_length") { $0.put32(100, 96) },
            Break("odd header", "corrupt@100 header_length") { $0.put32(100, 105) },
            Break("long header", "corrupt@100 header_length") { $0.put32(100, 8192) },
            Break("compression without its bit", "corrupt@104 the compression type and its feature bit disagree") {
                $0.put32(100, 112)
                $0.bytes[104] = 1
            },
            Break("compression bit alone", "corrupt@104 the compression type and its feature bit disagree") {
                $0.put64(72, 8)
            },
            Break("unknown compression", "unsupported@104 compression type 2") {
                $0.put64(72, 8)
                $0.put32(100, 112)
                $0.bytes[104] = 2
            },
            Break("data file extension", "unsafe@104 the image names an external data file") {
                $0.put32(104, 0x4441_5441)
                $0.put32(108, 8)
            },
            Break("crypto extension", "unsupported@104 encrypted qcow2 images") {
                $0.put32(104, 0x0537_be77)
                $0.put32(108, 16)
            },
            Break("endless extension", "corrupt@108 a header extension is longer") {
                $0.put32(104, 0x1234)
                $0.put32(108, .max)
            },
            Break("a cluster of empty extensions", "taken") { file in
                for place in stride(from: 104, to: 4096, by: 8) { file.put32(place, 0x1234) }
            },
            Break("L1 entry with reserved bits", "corrupt@12288 an L1 entry has reserved bits") {
                $0.put64(12288, 4 * 4096 | 1)
            },
            Break("L2 outside", "corrupt@12288 an L2 table lies outside the file") { $0.put64(12288, 1 << 40) },
            Break("L2 that ends outside", "corrupt@12288 an L2 table lies outside the file") {
                $0.put64(12288, 16 * 4096)
            },
            Break("L2 beside a cluster", "corrupt@12288 an L2 table does not begin") {
                $0.put64(12288, 4 * 4096 + 512)
            },
            Break("L2 over the header", "taken") { $0.put64(12288, 1 << 63) },
            Break("L2 over L1", "corrupt@12288 an L2 table overlaps another table") { $0.put64(12288, 3 * 4096) },
            Break("L2 over counts", "corrupt@4096 a reference count block overlaps") { $0.put64(12288, 2 * 4096) },
            Break("one L2 table twice", "corrupt@12296 an L2 table overlaps another table") {
                $0.put64(24, 4 << 20)
                $0.put32(36, 2)
                $0.put64(12296, 4 * 4096)
            },
            Break("data outside", "corrupt@16384 a data cluster lies outside the file") { $0.entry(0, 1 << 40) },
            Break("data beyond all numbers", "corrupt@16384 a data cluster lies outside the file") {
                $0.entry(0, 0x00ff_ffff_ffff_f000)
            },
            Break("data beside a cluster", "corrupt@16384 a data cluster does not begin") {
                $0.entry(0, 5 * 4096 + 512)
            },
            Break("data over L1", "corrupt@16384 a data cluster overlaps the L1 table") { $0.entry(0, 3 * 4096) },
            Break("data over the count table", "corrupt@16384 a data cluster overlaps the reference count table") {
                $0.entry(0, 4096)
            },
            Break("data over its own L2 table", "corrupt@16384 guest cluster 0 lies in a cluster") {
                $0.entry(0, 4 * 4096)
            },
            Break("data over counts", "corrupt@8192 guest cluster 0 lies in a cluster") { $0.entry(0, 2 * 4096) },
            Break("one cluster twice", "corrupt@20480 guest cluster 1 lies in a cluster") { $0.entry(1, 5 * 4096) },
            Break("reserved bits", "corrupt@16392 an L2 entry has reserved bits") { $0.entry(1, 5 * 4096 | 2) },
            Break("zero cluster in version 2", "corrupt@16384 version 2 has no zero clusters", version: 2) {
                $0.entry(0, 1)
            },
            Break("cut in the last data cluster", "corrupt@16392 a data cluster lies outside") {
                $0.bytes.removeLast(9 * 4096 + 1)
            },
            Break("compressed outside", "corrupt@16384 a compressed cluster lies outside") {
                $0.entry(0, SmallQcow2.compressed(1 << 40, sectors: 1))
            },
            Break("compressed over the header", "corrupt@16384 a compressed cluster overlaps the header") {
                $0.entry(0, SmallQcow2.compressed(512, sectors: 1))
            },
            Break("compressed over L1", "corrupt@16384 a compressed cluster overlaps the L1 table") {
                $0.entry(0, SmallQcow2.compressed(3 * 4096 + 100, sectors: 1))
            },
            Break("compressed noise", "corrupt@20480 a compressed cluster:") {
                $0.entry(0, SmallQcow2.compressed(5 * 4096, sectors: 7))
            },
            Break("compressed zeros", "corrupt@32768 a compressed cluster") {
                $0.entry(0, SmallQcow2.compressed(8 * 4096, sectors: 15))
            },
            Break(
                "compressed that stops early", "corrupt@32768 a compressed cluster holds 5 bytes, not a whole cluster"
            ) {
                // Stored block of five bytes, last.
                $0.bytes.replaceSubrange(32768..<32778, with: [1, 5, 0, 0xfa, 0xff, 1, 2, 3, 4, 5])
                $0.entry(0, SmallQcow2.compressed(8 * 4096, sectors: 0))
            },
            Break("zstd noise", "corrupt@20480 a compressed cluster:") {
                $0.put64(72, 8)
                $0.put32(100, 112)
                $0.bytes[104] = 1
                $0.entry(0, SmallQcow2.compressed(5 * 4096, sectors: 1))
                $0.entry(1, 0)
            },
            Break("zstd with a window of 2 GiB", "corrupt@32768 a compressed cluster:") {
                $0.put64(72, 8)
                $0.put32(100, 112)
                $0.bytes[104] = 1
                $0.bytes.replaceSubrange(
                    32768..<32778, with: [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x03, 0x00, 0x01, 0x41])
                $0.entry(0, SmallQcow2.compressed(8 * 4096, sectors: 1))
            },
            Break(extended: "nothing broken, extended", "taken") {
                $0.extendedEntry(0, 5 * 16384, zero: 0xf0, present: 0x0f)
                $0.extendedEntry(1, 0, zero: .max, present: 0)
                $0.extendedEntry(2, 6 * 16384, zero: 0, present: .max)
            },
            Break(extended: "zero and present", "corrupt@65536 a subcluster is zero and present") {
                $0.extendedEntry(0, 5 * 16384, zero: 1, present: 1)
            },
            Break(extended: "present nowhere", "corrupt@65536 a subcluster is zero and present, or present nowhere") {
                $0.extendedEntry(0, 0, zero: 0, present: 1)
            },
            Break(extended: "zero bit of a plain entry", "corrupt@65536 an extended L2 entry has the zero bit") {
                $0.extendedEntry(0, 5 * 16384 | 1, zero: 0, present: 1)
            },
            Break(extended: "compressed with subclusters", "corrupt@65536 a compressed cluster has a subcluster bitmap")
            {
                $0.extendedEntry(0, SmallQcow2.compressed(5 * 16384, sectors: 0), zero: 0, present: 1)
            },
            Break(extended: "subcluster outside", "corrupt@65536 a data cluster lies outside") {
                $0.bytes.removeLast(16384 + 512)
                $0.extendedEntry(0, 6 * 16384, zero: 0, present: 1 << 31)
            },
        ]

        @Test(arguments: breaks) func getsItsVerdict(_ broken: Break) {
            let verdict = Verdict.of(MemorySource(broken.make()), .qcow2)
            #expect(verdict.hasPrefix(broken.verdict), "\(verdict)")
        }

        @Test func thereAreEnoughOfThem() {
            #expect(Self.breaks.count { $0.verdict != "taken" } >= 40)
        }

        /// Random bytes in header and tables: any verdict will do, as long as there is one.
        @Test func survivesRandomChanges() {
            var random = Seeded(2024)
            for round in 0..<4000 {
                var file = round % 4 == 3 ? SmallQcow2.extended() : SmallQcow2(version: round % 4 == 0 ? 2 : 3)
                if round % 4 == 2 { file.entry(2, SmallQcow2.compressed(7 * 4096 + 77, sectors: 3)) }
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let ranges = [0..<112, 4096..<4112, 12288..<12304, 16384..<16416, 65536..<65568]
                    let place = Int.random(in: ranges[Int.random(in: 0..<5, using: &random)], using: &random)
                    if place < file.bytes.count { file.bytes[place] = UInt8(truncatingIfNeeded: random.next()) }
                }
                if round % 50 == 0 { file.bytes.removeLast(Int.random(in: 0..<file.bytes.count, using: &random)) }
                #expect(!Verdict.of(MemorySource(file.bytes), .qcow2).hasPrefix("extent"))
            }
        }
    }
}
