// Goal: a hostile VMDK gets the right verdict, soon and in little memory, and never harms the process.
// Method: as for qcow2: a good file with one rule broken at a time, tables as large as the format can say, random bytes.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct HostileVmdk {
        struct Break: CustomTestStringConvertible, Sendable {
            var name: String
            var verdict: String
            var make: @Sendable () -> [UInt8]
            var testDescription: String { name }

            init(
                _ name: String, _ verdict: String, of good: @escaping @Sendable () -> SmallVmdk = { SmallVmdk() },
                _ change: @escaping @Sendable (inout SmallVmdk) -> Void
            ) {
                self.name = name
                self.verdict = verdict
                make = {
                    var file = good()
                    change(&file)
                    return file.bytes
                }
            }
        }

        static let headers: [Break] = [
            Break("nothing broken", "taken") { _ in },
            Break("version 0", "unsupported@4 VMDK version 0") { $0.put32(4, 0) },
            Break("version 4", "unsupported@4 VMDK version 4") { $0.put32(4, 4) },
            Break("unknown flags", "unsupported@8 VMDK flags 0x8") { $0.put32(8, 9) },
            Break("all flags", "unsupported@8 VMDK flags 0xfffcfff8") { $0.put32(8, .max) },
            Break("markers alone", "unsupported@8 VMDK markers without compression") { $0.put32(8, 0x20001) },
            Break("compression alone", "unsupported@8 VMDK markers without compression, or compression without") {
                $0.put32(8, 0x10001)
                $0.bytes[77] = 1
            },
            Break("compression without its flag", "corrupt@77 the compression and its flag disagree") {
                $0.bytes[77] = 1
            },
            Break("unknown compression", "unsupported@77 VMDK compression 2") { $0.bytes[77] = 2 },
            Break("changed by a transfer as text", "corrupt@73 a transfer as text") { $0.bytes[75] = 0x0a },
            Break("no capacity", "corrupt@12 the capacity is zero") { $0.put64(12, 0) },
            Break("9 TiB", "tooLarge") { $0.put64(12, 9 << 31) },
            Break("8 PiB", "tooLarge") { $0.put64(12, 8 << 41) },
            Break("capacity all ones", "tooLarge") { $0.put64(12, .max) },
            Break("2^55 sectors", "tooLarge") { $0.put64(12, 1 << 55) },
            Break("no grain", "corrupt@20 a grain is not 8, 16") { $0.put64(20, 0) },
            Break("grains of a sector", "corrupt@20 a grain is not 8, 16") { $0.put64(20, 1) },
            Break("grains of 12 sectors", "corrupt@20 a grain is not 8, 16") { $0.put64(20, 12) },
            Break("grains of 128 KiB", "unsafe@20 grains are larger than 64 KiB") { $0.put64(20, 256) },
            Break("grains of 2^63", "unsafe@20 grains are larger than 64 KiB") { $0.put64(20, 1 << 63) },
            Break("tables of 513", "corrupt@44 grain tables do not have 512 entries") { $0.put32(44, 513) },
            Break("tables of none", "corrupt@44 grain tables do not have 512 entries") { $0.put32(44, 0) },
            Break("too many tables", "unsafe@12 the grain directory has more than") { file in
                file.put64(12, 8 << 31)
                file.describe("RW 4096", "RW \(8 << 31)")
            },
            Break("directory outside", "corrupt@56 the grain directory lies outside") { $0.put64(56, 1 << 30) },
            Break("directory beyond all numbers", "corrupt@56 the grain directory lies outside") {
                $0.put64(56, .max - 1)
            },
            Break("directory over the header", "corrupt@56 the grain directory overlaps the header") {
                $0.put64(56, 0)
            },
            Break("directory over the descriptor", "corrupt@56 the grain directory overlaps the descriptor") {
                $0.put64(56, 2)
            },
            Break("directory that ends outside", "corrupt@56 the grain directory lies outside") { file in
                file.put64(12, 1 << 31)
                file.describe("RW 4096", "RW \(1 << 31)")
            },
            Break("redundant directory outside", "corrupt@48 the redundant directory lies outside") {
                $0.put32(8, 3)
                $0.put64(48, 1 << 40)
            },
            Break("one directory twice", "corrupt@48 the redundant directory overlaps the grain directory") {
                $0.put32(8, 3)
                $0.put64(48, 4)
            },
            Break("not closed", "taken") { $0.bytes[72] = 1 },
        ]

        static let descriptors: [Break] = [
            Break("no descriptor", "unsafe@28 the descriptor is in another file") { $0.put64(28, 0) },
            Break("a descriptor of no length", "unsafe@28 the descriptor is in another file") { $0.put64(36, 0) },
            Break("a descriptor of 2 MiB", "unsafe@36 the descriptor is larger than 1 MiB") { $0.put64(36, 4096) },
            Break("a descriptor of all ones", "unsafe@36 the descriptor is larger than 1 MiB") { $0.put64(36, .max) },
            Break("descriptor outside", "corrupt@28 the descriptor lies outside") { $0.put64(28, 1 << 40) },
            Break("descriptor that ends outside", "corrupt@28 the descriptor lies outside") { $0.put64(28, 63) },
            Break("descriptor beyond all numbers", "corrupt@28 the descriptor lies outside") { $0.put64(28, .max) },
            Break("empty descriptor", "corrupt@512 the descriptor does not begin") { $0.describe("") },
            Break("no type", "corrupt@512 the descriptor has no createType") { $0.describe("createType", "x") },
            Break("flat", "unsafe@576 the disk is of the type monolithicFlat") {
                $0.describe("monolithicSparse", "monolithicFlat")
            },
            Break("vmfs", "unsafe@576 the disk is of the type vmfs,") { $0.describe("monolithicSparse", "vmfs") },
            Break("raw device", "unsafe@576 the disk is of the type fullDevice") {
                $0.describe("monolithicSparse", "fullDevice")
            },
            Break("split", "unsafe@576 the disk is of the type twoGbMaxExtentSparse") {
                $0.describe("monolithicSparse", "twoGbMaxExtentSparse")
            },
            Break("two types", "corrupt@606 createType stands twice") {
                $0.describe("RW 4096", "createType=\"streamOptimized\"\nRW 4096")
            },
            Break("a parent", "unsafe@557 the image needs a parent") { $0.describe("ffffffff", "12345679") },
            Break("no parent's id", "corrupt@512 the descriptor has no parentCID") {
                $0.describe("parentCID=ffffffff\n", "")
            },
            Break("two parents' ids", "corrupt@576 parentCID stands twice") {
                $0.describe("createType", "PARENTCID=ffffffff\ncreateType")
            },
            Break("a parent's name", "unsafe@576 the image names a parent") {
                $0.describe("createType", "parentFileNameHint=\"/etc/shadow\"\ncreateType")
            },
            Break("no extent", "corrupt@512 the descriptor names no extent") {
                $0.describe("RW 4096 SPARSE \"disk.vmdk\"\n", "")
            },
            Break("a flat extent", "unsafe@606 the extent is of the type FLAT") {
                $0.describe("SPARSE \"disk.vmdk\"", "FLAT \"/etc/shadow\" 0")
            },
            Break("a vmfs extent", "unsafe@606 the extent is of the type VMFS") { $0.describe("SPARSE", "VMFS") },
            Break("a raw device extent", "unsafe@606 the extent is of the type VMFSRDM") {
                $0.describe("SPARSE", "VMFSRDM")
            },
            Break("an extent of zeros", "unsafe@606 the extent is of the type ZERO") { $0.describe("SPARSE", "ZERO") },
            Break("an absolute extent", "unsafe@606 the extent is a file at another place") {
                $0.describe("\"disk.vmdk\"", "\"/etc/shadow\"")
            },
            Break("an extent above", "unsafe@606 the extent is a file at another place") {
                $0.describe("\"disk.vmdk\"", "\"../disk.vmdk\"")
            },
            Break("an extent of Windows", "unsafe@606 the extent is a file at another place") {
                $0.describe("\"disk.vmdk\"", "\"C:\\disk.vmdk\"")
            },
            Break("two extents", "unsafe@633 the disk has more than one extent") {
                $0.describe("ddb.", "RW 4096 SPARSE \"other.vmdk\"\nddb.")
            },
            Break("a second extent, flat", "unsafe@633 the disk has more than one extent") {
                $0.describe("ddb.", "rdonly 4096 FLAT \"/dev/sda\" 0\nddb.")
            },
            Break("no access", "unsupported@606 extents without access") { $0.describe("RW", "NOACCESS") },
            Break("an extent without a name", "corrupt@606 the line of the extent") {
                $0.describe(" \"disk.vmdk\"", "")
            },
            Break("an extent with two names", "corrupt@606 the line of the extent") {
                $0.describe("\"disk.vmdk\"", "\"disk.vmdk\" \"/etc/shadow\"")
            },
            Break("an extent of words", "corrupt@606 the line of the extent") { $0.describe("4096", "many") },
            Break("a longer extent", "corrupt@606 the descriptor says 4097 sectors") { $0.describe("4096", "4097") },
            Break("a much shorter extent", "corrupt@606 the descriptor says 4088 sectors") {
                $0.describe("4096", "4088")
            },
            Break("a shorter extent", "taken") { $0.describe("4096", "4095") },
            Break("an extent of nothing", "corrupt@606 the descriptor says 0 sectors") { $0.describe("4096", "0") },
            Break("an extent of 2^64", "corrupt@606 the line of the extent") {
                $0.describe("4096", "18446744073709551616")
            },
            Break("lines of Windows", "taken") { $0.describe("\n", "\r\n") },
            Break("lines of old Macintoshes", "taken") { $0.describe("\n", "\r") },
        ]

        static let tables: [Break] = [
            Break("cut in the header", "corrupt@0 the file ends in the VMDK header") {
                $0.bytes.removeLast($0.bytes.count - 511)
            },
            Break("cut in the descriptor", "corrupt@28 the descriptor lies outside") {
                $0.bytes.removeLast($0.bytes.count - 1000)
            },
            Break("cut in the directory", "corrupt@56 the grain directory lies outside") {
                $0.bytes.removeLast($0.bytes.count - 4 * 512 - 3)
            },
            Break("cut in the table", "corrupt@2048 a grain table lies outside") {
                $0.bytes.removeLast($0.bytes.count - 8 * 512 - 2000)
            },
            Break("cut in the last grain", "corrupt@4100 a grain lies outside") {
                $0.bytes.removeLast($0.bytes.count - 40 * 512 + 1)
            },
            Break("table outside", "corrupt@2048 a grain table lies outside") { $0.put32(2048, .max) },
            Break("no table", "taken") { $0.put32(2048, 0) },
            Break("table over the descriptor", "corrupt@2048 a grain table overlaps the descriptor") {
                $0.put32(2048, 2)
            },
            Break("table over its directory", "corrupt@2048 a grain table overlaps the grain directory") {
                $0.put32(2048, 4)
            },
            Break("one table twice", "corrupt@2052 a grain table overlaps another") { file in
                file.put64(12, 8192)
                file.describe("RW 4096", "RW 8192")
                file.put32(2052, 8)
            },
            Break("tables that share a sector", "corrupt@2052 a grain table overlaps another") { file in
                file.put64(12, 8192)
                file.describe("RW 4096", "RW 8192")
                file.put32(2052, 11)
            },
            Break("grain outside", "corrupt@4096 a grain lies outside") { $0.entry(0, .max) },
            Break("grain that ends outside", "corrupt@4096 a grain lies outside") { $0.entry(0, 57) },
            Break("grain over the descriptor", "corrupt@4096 a grain overlaps the descriptor") { $0.entry(0, 1) },
            Break("grain over the directory", "corrupt@4096 a grain overlaps the grain directory") { $0.entry(0, 3) },
            Break("grain over its table", "corrupt@4096 a grain overlaps a grain table") { $0.entry(0, 8) },
            Break("grain that ends in its table", "corrupt@4096 a grain overlaps") { $0.entry(0, 5) },
            Break("one grain twice", "corrupt@8192 grain 1 lies where another one does") { $0.entry(1, 16) },
            Break("grains that overlap", "corrupt@8704 grain 1 lies where another one does") { $0.entry(1, 17) },
            Break("a zero grain without its flag", "corrupt@4104 a grain overlaps the descriptor") { $0.entry(2, 1) },
            Break("a zero grain", "taken") {
                $0.put32(8, 5)
                $0.entry(2, 1)
            },
            Break("two directories", "taken", of: SmallVmdk.redundant) { _ in },
            Break("two that disagree", "corrupt@2560 the two grain directories disagree", of: SmallVmdk.redundant) {
                $0.put32(12 * 512, 40)
            },
            Break("half a directory", "corrupt@2560 the two grain directories disagree", of: SmallVmdk.redundant) {
                $0.put32(5 * 512, 0)
            },
            Break("one table for two", "corrupt@2048 a grain table overlaps another", of: SmallVmdk.redundant) {
                $0.put32(5 * 512, 8)
            },
            Break("grain over the other table", "corrupt@4096 a grain overlaps a grain table", of: SmallVmdk.redundant)
            {
                $0.entry(0, 12)
                $0.put32(12 * 512, 12)
            },
        ]

        static let streams: [Break] = [
            Break("a stream", "taken", of: SmallVmdk.stream) { _ in },
            Break("no footer", "corrupt@31232 there is no footer", of: SmallVmdk.stream) {
                $0.put32(61 * 512 + 12, 0)
            },
            Break("no header in the footer", "corrupt@31232 there is no footer", of: SmallVmdk.stream) {
                $0.bytes[62 * 512] = 0
            },
            Break("cut in the footer", "corrupt@32767 the file ends before its footer", of: SmallVmdk.stream) {
                $0.bytes.removeLast()
            },
            Break("cut before the footer", "corrupt@29696 there is no footer", of: SmallVmdk.stream) {
                $0.bytes.removeLast(3 * 512)
            },
            Break("three sectors", "corrupt@1536 the file ends before its footer", of: SmallVmdk.stream) {
                $0.bytes.removeLast(61 * 512)
            },
            Break("no end of the stream", "corrupt@32256 the footer is not followed", of: SmallVmdk.stream) {
                $0.put32(63 * 512 + 12, 3)
            },
            Break("a footer without a place", "corrupt@31800 the footer does not say where", of: SmallVmdk.stream) {
                $0.put64(62 * 512 + 56, .max)
            },
            Break("a footer of another size", "corrupt@31744 header and footer disagree", of: SmallVmdk.stream) {
                $0.put64(62 * 512 + 12, 8192)
            },
            Break("a footer of other flags", "corrupt@31744 header and footer disagree", of: SmallVmdk.stream) {
                $0.put32(62 * 512 + 8, 1)
            },
            Break("a footer with another descriptor", "corrupt@31744 header and footer disagree", of: SmallVmdk.stream)
            { $0.put64(62 * 512 + 28, 40) },
            Break("two places of the directory", "corrupt@31744 header and footer disagree", of: SmallVmdk.stream) {
                $0.put64(56, 5)
            },
            Break("the place in header and footer", "taken", of: SmallVmdk.stream) { $0.put64(56, 4) },
            Break("directory over the footer", "corrupt@31800 the grain directory overlaps", of: SmallVmdk.stream) {
                $0.put64(62 * 512 + 56, 62)
            },
            Break("grain of another place", "corrupt@8192 a compressed grain is for another", of: SmallVmdk.stream) {
                $0.put64(16 * 512, 8)
            },
            Break("one grain twice", "corrupt@8192 a compressed grain is for another place", of: SmallVmdk.stream) {
                $0.entry(1, 16)
            },
            Break("a grain of no bytes", "corrupt@8200 a compressed grain has 0 bytes", of: SmallVmdk.stream) {
                $0.put32(16 * 512 + 8, 0)
            },
            Break("a grain of 4 GiB", "corrupt@8200 a compressed grain has 4294967295", of: SmallVmdk.stream) {
                $0.put32(16 * 512 + 8, .max)
            },
            Break("a grain that ends outside", "corrupt@25612 the file ends in a compressed", of: SmallVmdk.stream) {
                $0.grain(32, lba: 8, [UInt8](repeating: 0, count: 4096))
                $0.entry(1, 50)
                $0.bytes.replaceSubrange(50 * 512..<50 * 512 + 12, with: [8, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0])
            },
            Break("a grain of noise", "corrupt@8192 a compressed grain:", of: SmallVmdk.stream) {
                $0.bytes[16 * 512 + 12] = 0xff
            },
            Break("a grain with a wrong checksum", "corrupt@8192 a compressed grain:", of: SmallVmdk.stream) {
                $0.bytes[16 * 512 + 100] ^= 1
            },
            Break("a grain that is cut", "corrupt@8192 a compressed grain:", of: SmallVmdk.stream) {
                $0.put32(16 * 512 + 8, 100)
            },
            Break("a grain that is too long", "corrupt@8192 a compressed grain: the data is", of: SmallVmdk.stream) {
                $0.grain(16, lba: 0, [UInt8](repeating: 1, count: 4097))
            },
            Break("a grain that is too short", "corrupt@8192 a compressed grain holds 4095", of: SmallVmdk.stream) {
                $0.grain(16, lba: 0, [UInt8](repeating: 1, count: 4095))
            },
            Break("a grain over the footer", "corrupt@4096 a grain overlaps the footer", of: SmallVmdk.stream) {
                $0.entry(0, 61)
            },
        ]

        static let breaks = headers + descriptors + tables + streams

        @Test(arguments: breaks) func getsItsVerdict(_ broken: Break) {
            let verdict = Verdict.of(MemorySource(broken.make()), .vmdk)
            #expect(verdict.hasPrefix(broken.verdict), "\(verdict)")
        }

        @Test func thereAreEnoughOfThem() {
            #expect(Self.breaks.count { $0.verdict != "taken" } >= 90)
        }

        @Test func aFileWithAnotherSignatureIsNeither() {
            var file = SmallVmdk()
            file.bytes += [UInt8](repeating: 0, count: 8 * 512)
            file.bytes.replaceSubrange(32769..<32774, with: Array("CD001".utf8))
            #expect(Verdict.of(MemorySource(file.bytes), .vmdk) == "mismatch a VMDK image and an ISO 9660 image")
            #expect(Verdict.of(MemorySource(file.bytes), .iso) == "mismatch a VMDK image and an ISO 9660 image")
            #expect(Verdict.of(MemorySource(SmallVmdk().bytes), .raw) == "mismatch a VMDK image")
        }

        @Test func otherKindsAreNotRead() {
            let kinds = [
                "COWD\u{1}\0\0\0",
                "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n",
            ]
            for text in kinds {
                let file = Array(text.utf8) + [UInt8](repeating: 0, count: 4096)
                #expect(Verdict.of(MemorySource(file), .vmdk).hasPrefix("unsupported@0 VMDK files that are not one"))
            }
        }

        @Test func saysWhatIsLost() throws {
            var file = SmallVmdk()
            file.bytes[72] = 1
            file.describe("4096", "4095")
            let found = try DiskImage.inspect(MemorySource(file.bytes), declared: .vmdk, type: .disk, limits: .standard)
            #expect(found.virtualSizeBytes == 4095 * 512)
            #expect(
                found.notes == [
                    "The image was not closed; the last writes may be missing.",
                    "The disk ends where the descriptor says, 1 sectors before the header.",
                ])
        }

        /// Random bytes in header, descriptor and tables: any verdict will do, as long as there is one.
        @Test func survivesRandomChanges() {
            var random = Seeded(2025)
            let goods = [SmallVmdk(), SmallVmdk.redundant(), SmallVmdk.stream()]
            for round in 0..<4000 {
                var file = goods[round % goods.count]
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let ranges = [
                        0..<80, 512..<700, 2048..<2056, 2560..<2568, 4096..<4112, 6144..<6160, 8192..<8220,
                        31232..<32300,
                    ]
                    let place = Int.random(in: ranges[Int.random(in: 0..<8, using: &random)], using: &random)
                    file.bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
                if round % 50 == 0 { file.bytes.removeLast(Int.random(in: 0..<file.bytes.count, using: &random)) }
                #expect(!Verdict.of(MemorySource(file.bytes), .vmdk).hasPrefix("extent"))
            }
        }
    }
}
