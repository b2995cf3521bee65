// Goal: the VMDK files that are written are right, the same every time, and can be read from any offset.
// Method: as for qcow2: `qemu-img check` and `compare` judge the files; random ranges are compared with the whole; our
// own reader takes them back; what other products look for is looked for.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct VmdkRender {
        struct Case: CustomTestStringConvertible, Sendable {
            var size: Int
            var packing: GrainPacking
            var testDescription: String { "\(size) \(packing)" }
        }

        static let cases = GrainPacking.allCases.flatMap { packing in
            [1, 512, 65535, 65536, 65537, 1_000_000, 33_554_432, 40_000_123].map { Case(size: $0, packing: packing) }
        }

        @Test(.enabled(if: Qemu.isThere, "needs qemu-utils"), arguments: cases)
        func qemuTakesIt(_ one: Case) throws {
            let scratch = try Scratch()
            var content = sampleDisk(byteCount: one.size, seed: UInt64(one.size))
            content[one.size - 1] = 9
            let image = try DiskImage.render(Render.MemoryDisk(content), as: .vmdk, packing: one.packing)
            let path = scratch.file("out.vmdk")
            try image.write(to: path)
            let check = try Qemu.run("qemu-img", "check", "-f", "vmdk", path)
            #expect(check.contains("No errors were found on the image"))
            let padded = content + [UInt8](repeating: 0, count: (512 - one.size % 512) % 512)
            let raw = try scratch.write(padded, to: "guest.raw")
            try Qemu.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, raw)
            let source = try FileSource(path)
            let found = try DiskImage.inspect(source, declared: .vmdk, type: .disk, limits: .standard)
            #expect(found == Inspection(format: .vmdk, virtualSizeBytes: UInt64(padded.count), notes: []))
            #expect(same(try DiskImage.open(source, format: .vmdk, limits: .standard).allBytes(), padded))
            if one.packing == .deflated {
                let again = scratch.file("again.raw")
                try Qemu.run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, again)
                #expect(same([UInt8](try Data(contentsOf: URL(fileURLWithPath: again))), padded))
            }
        }

        /// A file system with files, holes and an odd end, through both packings and back.
        @Test(.enabled(if: Qemu.isThere && Mkfs.isThere, "needs qemu-utils and e2fsprogs"))
        func aFileSystemStaysWhatItIs() throws {
            let scratch = try Scratch()
            let path = scratch.file("ext4.raw")
            try Mkfs.ext4(path, byteCount: 48 << 20, content: ["etc/os-release": "ID=test\n", "a/b": "c"])
            let source = try FileSource(path)
            let disk = try DiskImage.open(source, format: .raw, limits: .standard)
            for packing in GrainPacking.allCases {
                let out = scratch.file("\(packing).vmdk")
                try DiskImage.render(disk, as: .vmdk, packing: packing).write(to: out)
                try Qemu.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", out, path)
                let back = try DiskImage.open(FileSource(out), format: .vmdk, limits: .standard)
                let again = scratch.file("\(packing).qcow2")
                try DiskImage.render(back, as: .qcow2).write(to: again)
                try Qemu.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", again, path)
            }
        }

        @Test(arguments: GrainPacking.allCases) func anyRangeEqualsTheWhole(_ packing: GrainPacking) throws {
            let content = sampleDisk(byteCount: 10_000_123, seed: 5)
            let image = try DiskImage.render(Render.MemoryDisk(content), as: .vmdk, packing: packing)
            let whole = try image.bytes(0..<image.byteCount)
            var random = Seeded(11)
            for _ in 0..<300 {
                let start = UInt64.random(in: 0..<image.byteCount, using: &random)
                let end = min(start + UInt64.random(in: 0...300_000, using: &random), image.byteCount)
                #expect(same(try image.bytes(start..<end), Array(whole[Int(start)..<Int(end)])))
            }
            var cut = Render.MemoryDisk(content)
            cut.data = cut.data.flatMap { run in
                stride(from: run.lowerBound, to: run.upperBound, by: 4096).map { $0..<min($0 + 4096, run.upperBound) }
            }
            let second = try DiskImage.render(cut, as: .vmdk, packing: packing)
            #expect(same(try second.bytes(0..<second.byteCount), whole), "the same disk gives the same file")
        }

        /// Source: docs/image-formats.md, "vmdk out".
        @Test(arguments: GrainPacking.allCases) func hasWhatOthersLookFor(_ packing: GrainPacking) throws {
            let content = sampleDisk(byteCount: 5_000_192, seed: 6)
            let image = try DiskImage.render(Render.MemoryDisk(content), as: .vmdk, packing: packing)
            let file = try image.bytes(0..<image.byteCount)
            func little(_ offset: Int, _ count: Int) -> UInt64 {
                (0..<count).reversed().reduce(0) { $0 << 8 | UInt64(file[offset + $1]) }
            }
            #expect(file.prefix(4).elementsEqual("KDMV".utf8))
            #expect(little(4, 4) == 3 && little(8, 4) == 0x30001 && little(12, 8) == 9766 && little(20, 8) == 128)
            #expect(little(28, 8) == 1 && little(44, 4) == 512 && little(56, 8) == .max && little(77, 2) == 1)
            let head = String(decoding: file[512..<1024], as: UTF8.self)
            for text in [
                "createType=\"streamOptimized\"", "parentCID=ffffffff", "RW 9766 SPARSE \"disk.vmdk\"", "\nCID=",
            ] {
                #expect(head.contains(text))
            }
            #expect(!head.contains("\nCID=ffffffff"))
            let tail = file.count - 1536
            #expect(little(tail, 8) == 1 && little(tail + 8, 4) == 0 && little(tail + 12, 4) == 3)
            #expect(file[tail + 512..<tail + 516].elementsEqual("KDMV".utf8))
            #expect(file[(tail + 1024)...].allSatisfy { $0 == 0 })
            let directory = Int(little(tail + 512 + 56, 8)) * 512
            #expect(little(directory - 512 + 12, 4) == 2)
            let table = Int(little(directory, 4)) * 512
            #expect(little(table - 512, 8) == 4 && little(table - 512 + 12, 4) == 1)
            // Grains follow each other in the order of the disk, each with its place.
            var place = 65536
            var last: UInt64?
            while place < table - 512 {
                let lba = little(place, 8)
                #expect(last.map { lba > $0 } ?? true)
                #expect(little(table + Int(lba / 128) * 4, 4) == UInt64(place / 512))
                last = lba
                place += (12 + Int(little(place + 8, 4)) + 511) / 512 * 512
            }
            #expect(place == table - 512)
        }

        @Test func zerosTakeNoRoomOnceTheyAreLookedAt() throws {
            var disk = Render.MemoryDisk([UInt8](repeating: 0, count: 1 << 20))
            disk.data = [0..<1 << 20]
            let stored = try DiskImage.render(disk, as: .vmdk)
            let deflated = try DiskImage.render(disk, as: .vmdk, packing: .deflated)
            #expect(stored.byteCount == 65536 + 16 * 129 * 512 + 5 * 512 + 2 * 512 + 1536)
            #expect(deflated.byteCount == 65536 + 2 * 512 + 1536)
        }

        @Test(.enabled(if: Qemu.isThere, "needs qemu-utils")) func writesTheLargestDisk() throws {
            let scratch = try Scratch()
            let memory = try MemoryPeak()
            let image = try DiskImage.render(Render.HugeDisk(), as: .vmdk)
            let path = scratch.file("huge.vmdk")
            try image.write(to: path)
            #expect(try memory.growthBytes() < 128 << 20)
            let disk = try DiskImage.open(FileSource(path), format: .vmdk, limits: .standard)
            for index in [UInt64(0), 1, 500, 2729] {
                let place = index * Render.HugeDisk().step
                let word = UInt8(truncatingIfNeeded: index + 1)
                #expect(try disk.bytes(place + 8190..<place + 8194) == [word, word, 0, 0])
            }
            let answer = try Qemu.run(
                "qemu-io", "-r", "-f", "vmdk", "-c", "read -P 1 0 8k", "-c", "read -P 2 3G 8k", "-c", "read -P 0 2G 1M",
                path)
            #expect(!answer.contains("verification failed"))
            #expect(try Qemu.run("qemu-img", "check", "-f", "vmdk", path).contains("No errors were found"))
        }

        @Test func refusesWhatItsTablesCannotTell() {
            struct Full: GuestDisk {
                let virtualSizeBytes: UInt64 = 3 << 40
                func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
                    GuestExtent(range: offset..<virtualSizeBytes, isData: true)
                }
                func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {}
            }
            #expect(throws: DiskImageError.tooLarge(virtualSizeBytes: 3 << 40, limitBytes: 2 << 40)) {
                try DiskImage.render(Full(), as: .vmdk)
            }
        }
    }
}
