// Goal: a hostile VHD or VHDX gets the right verdict, soon and in little memory, and never harms the process.
// Method: as for qcow2: a good file with one rule broken at a time, its checksums put right again; random bytes.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct HostileVhd {
        struct Break: CustomTestStringConvertible, Sendable {
            var name: String
            var verdict: String
            var format: ImageFormat
            var make: @Sendable () -> [UInt8]
            var testDescription: String { "\(format): \(name)" }

            init(
                _ name: String, _ verdict: String, isSealed: Bool = true,
                _ change: @escaping @Sendable (inout SmallVhd) -> Void
            ) {
                (self.name, self.verdict, format) = (name, verdict, .vhd)
                make = {
                    var file = SmallVhd()
                    change(&file)
                    if isSealed { file.seal() }
                    return file.bytes
                }
            }

            init(fixed name: String, _ verdict: String, _ change: @escaping @Sendable (inout SmallVhd) -> Void) {
                (self.name, self.verdict, format) = (name, verdict, .vhd)
                make = {
                    var file = SmallVhd.fixed()
                    change(&file)
                    return file.bytes
                }
            }

            init(
                x name: String, _ verdict: String, isSealed: Bool = true,
                _ change: @escaping @Sendable (inout SmallVhdx) -> Void
            ) {
                (self.name, self.verdict, format) = (name, verdict, .vhdx)
                make = {
                    var file = SmallVhdx()
                    change(&file)
                    if isSealed { file.seal() }
                    return file.bytes
                }
            }
        }

        static let vhds: [Break] = [
            Break("nothing broken", "taken") { _ in },
            Break("no footer", "corrupt@143360 the footer's signature", isSealed: false) {
                $0.bytes[SmallVhd.footer] = 0
            },
            Break("cut before the footer", "corrupt@142848 the footer's signature", isSealed: false) {
                $0.bytes.removeLast(512)
            },
            Break("cut in the footer", "corrupt@143359 the footer's signature", isSealed: false) {
                $0.bytes.removeLast()
            },
            Break("cut in its first sector", "corrupt@100 the file ends before its footer", isSealed: false) {
                $0.bytes.removeLast($0.bytes.count - 100)
            },
            Break("another version", "unsupported@143372 VHD version 0x20000") { $0.put(12, 0x20000, 4) },
            Break("wrong checksum", "corrupt@143424 the checksum of the footer", isSealed: false) {
                $0.bytes[SmallVhd.footer + 30] = 1
            },
            Break("wrong checksum of the copy", "corrupt@64 the checksum of the footer", isSealed: false) {
                $0.bytes[30] = 1
            },
            Break("a copy of another disk", "corrupt@0 the footer and its copy disagree", isSealed: false) { file in
                let old = Array(file.bytes[0..<512])
                file.put(48, 1 << 19, 8)
                file.seal()
                file.bytes.replaceSubrange(0..<512, with: old)
            },
            Break("a parent", "unsafe@143420 the image needs a parent") { $0.put(60, 4, 4) },
            Break("another type", "unsupported@143420 VHD type 5") { $0.put(60, 5, 4) },
            Break("no size", "corrupt@143408 the virtual size is zero") { $0.put(48, 0, 8) },
            Break("half a sector", "corrupt@143408 the virtual size is zero or not") { $0.put(48, 1_000_001, 8) },
            Break("size all ones", "corrupt@143408 the virtual size is zero or not") { $0.put(48, .max, 8) },
            Break("8 EiB", "tooLarge") { $0.put(48, 1 << 63, 8) },
            Break("header outside", "corrupt@16 the dynamic header lies outside") { $0.put(16, 1 << 40, 8) },
            Break("header beyond all numbers", "corrupt@16 the dynamic header lies outside") { $0.put(16, ~511, 8) },
            Break("header between sectors", "corrupt@16 the dynamic header lies outside") { $0.put(16, 520, 8) },
            Break("header over the footer", "corrupt@0 the dynamic header's signature") { $0.put(16, 0, 8) },
            Break("no header", "corrupt@512 the dynamic header's signature") { $0.bytes[512] = 0 },
            Break("another header's version", "unsupported@536 VHD header version") { $0.put(536, 7, 4) },
            Break("wrong checksum of the header", "corrupt@548 the checksum of the dynamic", isSealed: false) {
                $0.bytes[600] = 1
            },
            Break("blocks of none", "corrupt@544 a block is not 64 KiB") { $0.put(544, 0, 4) },
            Break("blocks of 512", "corrupt@544 a block is not 64 KiB") { $0.put(544, 512, 4) },
            Break("blocks of 3 MiB", "corrupt@544 a block is not 64 KiB") { $0.put(544, 3 << 20, 4) },
            Break("blocks of 2 GiB", "corrupt@544 a block is not 64 KiB") { $0.put(544, 2 << 30, 4) },
            Break("too many blocks", "unsafe@540 there are more than 4194304") { $0.put(48, 1 << 40, 8) },
            Break("a short table", "corrupt@540 the block table is too short") { $0.put(540, 15, 4) },
            Break("table outside", "corrupt@528 the block table lies outside") { $0.put(528, 1 << 40, 8) },
            Break("table over the header", "corrupt@528 the block table overlaps the dynamic") { $0.put(528, 1024, 8) },
            Break("table over the footer", "corrupt@528 the block table overlaps the footer") {
                $0.put(528, 143360, 8)
            },
            Break("table that ends outside", "corrupt@528 the block table lies outside") { file in
                file.put(48, 1 << 36, 8)
                file.put(540, 1 << 20, 4)
            },
            Break("block outside", "corrupt@1536 a block lies outside") { $0.entry(0, 0xffff_fffe) },
            Break("block that ends outside", "corrupt@1536 a block lies outside") { $0.entry(0, 160) },
            Break("block over the copy", "corrupt@1536 a block overlaps the copy") { $0.entry(0, 0) },
            Break("block over the header", "corrupt@1536 a block overlaps the dynamic header") { $0.entry(0, 2) },
            Break("block over the table", "corrupt@1536 a block overlaps the block table") { $0.entry(0, 3) },
            Break("block over the footer", "corrupt@1536 a block overlaps the footer") { $0.entry(0, 152) },
            Break("one block twice", "corrupt@1540 a block overlaps another") { $0.entry(1, 8) },
            Break("blocks that overlap", "corrupt@1540 a block overlaps another") { $0.entry(1, 136) },
            Break(fixed: "nothing broken", "taken") { _ in },
            Break(fixed: "cut in the disk", "corrupt@1049087 the disk is 1048576 bytes") {
                $0.bytes.removeFirst()
            },
            Break(fixed: "a longer file", "taken") { $0.bytes.insert(1, at: 0) },
            Break(fixed: "a second signature", "mismatch an ISO 9660 image and a VHD image") {
                $0.bytes.replaceSubrange(32769..<32774, with: Array("CD001".utf8))
            },
        ]

        static let vhdxs: [Break] = [
            Break(x: "nothing broken", "taken") { _ in },
            Break(x: "cut in the signature", "mismatch no known signature", isSealed: false) {
                $0.bytes.removeLast($0.bytes.count - 7)
            },
            Break(x: "cut in the first MiB", "corrupt@1048575 the file ends in its first", isSealed: false) {
                $0.bytes.removeLast(4 * SmallVhdx.mib + 1)
            },
            Break(x: "one header", "taken", isSealed: false) { $0.bytes[64 << 10] = 0 },
            Break(x: "no header", "corrupt@65536 neither header", isSealed: false) {
                $0.bytes[64 << 10] = 0
                $0.bytes[128 << 10] = 0
            },
            Break(x: "wrong checksums", "corrupt@65536 neither header", isSealed: false) {
                $0.bytes[(64 << 10) + 100] = 1
                $0.bytes[(128 << 10) + 100] = 1
            },
            Break(x: "headers of one number", "corrupt@65544 the two headers disagree") {
                $0.put((64 << 10) + 8, 2, 8)
                $0.put((64 << 10) + 80, 2, 8)
            },
            Break(x: "version 2", "unsupported@131138 VHDX version 2") { $0.put((128 << 10) + 66, 2, 2) },
            Break(x: "a log", "corrupt@131120 the image was not closed") { $0.bytes[(128 << 10) + 50] = 1 },
            Break(x: "a log in the old header", "taken") { $0.bytes[(64 << 10) + 50] = 1 },
            Break(x: "log outside", "corrupt@131144 the log lies outside") {
                $0.put((128 << 10) + 68, 1 << 20, 4)
                $0.put((128 << 10) + 72, 1 << 40, 8)
            },
            Break(x: "log over the metadata", "corrupt@196608 the metadata overlaps the log") {
                $0.put((128 << 10) + 68, 1 << 20, 4)
                $0.put((128 << 10) + 72, 1 << 20, 8)
            },
            Break(x: "no region table", "corrupt@196608 neither region table", isSealed: false) {
                $0.bytes[192 << 10] = 0
                $0.bytes[256 << 10] = 0
            },
            Break(x: "one region table", "taken", isSealed: false) { $0.bytes[192 << 10] = 0 },
            Break(x: "region tables that disagree", "corrupt@262144 the two region tables", isSealed: false) { file in
                let old = Array(file.bytes[192 << 10..<256 << 10])
                file.region(1, "06A27C8B90479A4BB8FE575F050F886E", 4 << 20)
                file.seal()
                file.bytes.replaceSubrange(192 << 10..<256 << 10, with: old)
            },
            Break(x: "a million regions", "corrupt@196616 the region table has more") { $0.put(196_616, 1 << 20, 4) },
            Break(x: "no regions", "corrupt@196608 the region table names no") { $0.put(196_616, 0, 4) },
            Break(x: "an unknown region", "unsupported@196624 an unknown VHDX region") { $0.bytes[196_624] = 0 },
            Break(x: "a region twice", "corrupt@196656 a region stands twice") {
                $0.region(1, "6677C22D23F600429D64115E9BFD4A08", 3 << 20)
            },
            Break(x: "metadata outside", "corrupt@196672 a region lies outside") { $0.put(196_672, 1 << 40, 8) },
            Break(x: "metadata between MiB", "corrupt@196672 a region lies outside") { $0.put(196_672, 1_050_000, 8) },
            Break(x: "metadata in the first MiB", "corrupt@196672 a region lies outside") { $0.put(196_672, 0, 8) },
            Break(x: "metadata beyond all numbers", "corrupt@196672 a region lies outside") {
                $0.put(196_672, ~0xfffff, 8)
            },
            Break(x: "metadata over the table", "corrupt@196608 the block table overlaps") {
                $0.put(196_640, 1 << 20, 8)
            },
            Break(x: "no metadata", "corrupt@1048576 the metadata's signature") { $0.bytes[1 << 20] = 0 },
            Break(x: "65535 items", "corrupt@1048586 the metadata has more") { $0.put(1_048_586, 65535, 2) },
            Break(x: "an unknown item", "unsupported@1048608 an unknown VHDX item") { $0.bytes[1_048_608] = 0 },
            Break(x: "an item twice", "corrupt@1048640 an item stands twice") {
                $0.item(1, "3767A1CA36FA434DB3B633F0AA44E76B", offset: 65536, 8)
            },
            Break(x: "an item outside", "corrupt@1048624 an item lies outside") { $0.put(1_048_624, 1 << 20, 4) },
            Break(x: "an item in the table", "corrupt@1048624 an item lies outside") { $0.put(1_048_624, 32, 4) },
            Break(x: "no virtual size", "corrupt@1048576 the block size, the virtual size") { file in
                file.put(1_048_640, hex: "AB12CABEE6B22345 93EFC309E000C746".replacing(" ", with: ""))
                file.put(1_048_660, 16, 4)
            },
            Break(x: "blocks of none", "corrupt@1114112 a block is not 1 MiB") { $0.put(1_114_112, 0, 4) },
            Break(x: "blocks of 3 MiB", "corrupt@1114112 a block is not 1 MiB") { $0.put(1_114_112, 3 << 20, 4) },
            Break(x: "blocks of 512 MiB", "corrupt@1114112 a block is not 1 MiB") { $0.put(1_114_112, 512 << 20, 4) },
            Break(x: "a parent", "unsafe@1048576 the image needs a parent") { $0.put(1_114_116, 2, 4) },
            Break(x: "sectors of 1024", "corrupt@1114144 a sector is not 512") { $0.put(1_114_144, 1024, 4) },
            Break(x: "no size", "corrupt@1114128 the virtual size is zero") { $0.put(1_114_128, 0, 8) },
            Break(x: "half a sector", "corrupt@1114128 the virtual size is zero or not") { $0.put(1_114_128, 1000, 8) },
            Break(x: "64 TiB", "tooLarge") { $0.put(1_114_128, 64 << 40, 8) },
            Break(x: "8 TiB in a table of 1 MiB", "corrupt@2097152 the block table is too short") {
                $0.put(1_114_128, 8 << 40, 8)
            },
            Break(x: "reserved bits", "corrupt@2097152 an entry of the block table has reserved") {
                $0.entry(0, 3 << 20 | 8 | 6)
            },
            Break(x: "half present", "corrupt@2097152 a block is in the state 7") { $0.entry(0, 3 << 20 | 7) },
            Break(x: "an unknown state", "corrupt@2097152 a block is in the state 5") { $0.entry(0, 3 << 20 | 5) },
            Break(x: "states that are zero", "taken") {
                for state in 0..<4 { $0.entry(state, 1 << 40 | UInt64(state)) }
            },
            Break(x: "block outside", "corrupt@2097152 a block lies outside") { $0.entry(0, 1 << 50 | 6) },
            Break(x: "cut in the last block", "corrupt@2097160 a block lies outside") { $0.bytes.removeLast() },
            Break(x: "block over the first MiB", "corrupt@2097152 a block overlaps the first MiB") { $0.entry(0, 6) },
            Break(x: "block over the metadata", "corrupt@2097152 a block overlaps the metadata") {
                $0.entry(0, 1 << 20 | 6)
            },
            Break(x: "block over the table", "corrupt@2097152 a block overlaps the block table") {
                $0.entry(0, 2 << 20 | 6)
            },
            Break(x: "one block twice", "corrupt@2097160 a block overlaps another") { $0.entry(1, 3 << 20 | 6) },
        ]

        @Test(arguments: vhds + vhdxs) func getsItsVerdict(_ broken: Break) {
            let verdict = Verdict.of(MemorySource(broken.make()), broken.format)
            #expect(verdict.hasPrefix(broken.verdict), "\(verdict)")
        }

        /// Random bytes, with and without right checksums: any verdict will do, as long as there is one.
        @Test func survivesRandomChanges() {
            var random = Seeded(2026)
            let good = (SmallVhd(), SmallVhdx())
            for round in 0..<2000 {
                var file = good.0
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let ranges = [0..<90, 512..<1024, 1536..<1600, 4096..<4112]
                    let place = Int.random(in: ranges[Int.random(in: 0..<4, using: &random)], using: &random)
                    file.bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
                if round % 4 != 0 { file.seal() }
                #expect(!Verdict.of(MemorySource(file.bytes), .vhd).hasPrefix("extent"))
            }
            for round in 0..<150 {
                var file = good.1
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let ranges = [
                        131_072..<131_152, 196_608..<196_680, 1_048_576..<1_048_700, 1_114_112..<1_114_150,
                        2_097_152..<2_097_168,
                    ]
                    let place = Int.random(in: ranges[Int.random(in: 0..<5, using: &random)], using: &random)
                    file.bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
                if round % 4 != 0 { file.seal() }
                #expect(!Verdict.of(MemorySource(file.bytes), .vhdx).hasPrefix("extent"))
            }
        }

        @Test func theyDoNotGoOut() {
            for format in [ImageFormat.vhd, .vhdx] {
                #expect(throws: DiskImageError.unsupported(feature: "writing \(format.rawValue) images", offset: 0)) {
                    try DiskImage.render(Render.MemoryDisk([1]), as: format)
                }
            }
        }
    }
}
