// Goal: the guest's view of a VHD or VHDX file is what qemu-img says it is.
// Method: files of every kind that qemu-img makes, with random content and random writes; our bytes are compared with
// `qemu-img convert -O raw`, in whole and at random ranges.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite(.enabled(if: Qemu.isThere, "needs qemu-utils")) struct VhdRead {
        struct Variant: CustomTestStringConvertible, Sendable {
            var format: ImageFormat
            var options: String
            var size = 9_000_448
            var testDescription: String { "\(format) \(options) \(size)" }
            var driver: String { format == .vhd ? "vpc" : "vhdx" }
        }

        static let variants = [
            Variant(format: .vhd, options: "subformat=dynamic"),
            Variant(format: .vhd, options: "subformat=dynamic,force_size=on"),
            Variant(format: .vhd, options: "subformat=fixed,force_size=on"),
            Variant(format: .vhd, options: "subformat=dynamic,force_size=on", size: 70_000_128),
            Variant(format: .vhdx, options: "subformat=dynamic"),
            Variant(format: .vhdx, options: "subformat=dynamic,block_size=1M"),
            Variant(format: .vhdx, options: "subformat=dynamic,block_size=64M", size: 150_000_128),
            Variant(format: .vhdx, options: "subformat=dynamic,block_state_zero=off"),
            Variant(format: .vhdx, options: "subformat=fixed"),
        ]

        @Test(arguments: variants) func readsWhatQemuReads(_ variant: Variant) throws {
            let scratch = try Scratch()
            let guest = sampleDisk(byteCount: variant.size, seed: UInt64(variant.options.count + variant.size))
            let raw = try scratch.write(guest, to: "guest.raw")
            let path = scratch.file("image")
            try Qemu.run("qemu-img", "convert", "-f", "raw", "-O", variant.driver, "-o", variant.options, raw, path)
            var commands: [String] = []
            var random = Seeded(7)
            for _ in 0..<40 {
                let offset = Int.random(in: 0..<variant.size / 512, using: &random) * 512
                let length = min(Int.random(in: 1...400, using: &random) * 512, variant.size / 512 * 512 - offset)
                commands += ["-c", "write -P \(Int.random(in: 1...255, using: &random)) \(offset) \(length)"]
            }
            try Qemu.run("qemu-io", ["-t", "unsafe", "-f", variant.driver] + commands + [path])
            let oracle = scratch.file("oracle.raw")
            try Qemu.run("qemu-img", "convert", "-f", variant.driver, "-O", "raw", path, oracle)
            let expected = [UInt8](try Data(contentsOf: URL(fileURLWithPath: oracle)))
            let source = try FileSource(path)
            let found = try DiskImage.inspect(source, declared: variant.format, type: .disk, limits: .standard)
            #expect(found == Inspection(format: variant.format, virtualSizeBytes: UInt64(expected.count), notes: []))
            let disk = try DiskImage.open(source, format: variant.format, limits: .standard)
            #expect(same(try disk.allBytes(), expected))
            #expect(same(try disk.allBytes(piece: 70_001), expected))
            for _ in 0..<60 {
                let start = UInt64.random(in: 0..<disk.virtualSizeBytes, using: &random)
                let end = min(start + UInt64.random(in: 1...200_000, using: &random), disk.virtualSizeBytes)
                #expect(same(try disk.bytes(start..<end), Array(expected[Int(start)..<Int(end)])))
            }
        }

        /// 64 GiB in blocks of 1 MiB: entries of bitmaps stand between those of blocks, every 4096.
        @Test func skipsTheEntriesOfBitmaps() throws {
            let scratch = try Scratch()
            let path = scratch.file("image.vhdx")
            try Qemu.run("qemu-img", "create", "-f", "vhdx", "-o", "block_size=1M", path, "64G")
            try Qemu.run(
                "qemu-io", "-f", "vhdx", "-c", "write -P 1 0 64k", "-c", "write -P 2 4G 64k", "-c",
                "write -P 3 40G 64k",
                path)
            let disk = try DiskImage.open(FileSource(path), format: .vhdx, limits: .standard)
            for (gibibyte, pattern) in [(UInt64(0), UInt8(1)), (4, 2), (40, 3)] {
                #expect(try disk.bytes(gibibyte << 30..<gibibyte << 30 + 2) == [pattern, pattern])
            }
            #expect(try !disk.extent(at: 3 << 30).isData)
        }

        @Test func sectorsThatWereNotWrittenAreZero() throws {
            var file = SmallVhd()
            // Of the first block, sectors 0, 9 and 127.
            file.bytes.replaceSubrange(8 * 512..<8 * 512 + 16, with: [UInt8](repeating: 0, count: 16))
            file.bytes[8 * 512] = 0x80
            file.bytes[8 * 512 + 1] = 0x40
            file.bytes[8 * 512 + 15] = 0x01
            let disk = try DiskImage.open(MemorySource(file.bytes), format: .vhd, limits: .standard)
            var expected = [UInt8](repeating: 0, count: 65536)
            for sector in [0, 9, 127] {
                expected.replaceSubrange(sector * 512..<(sector + 1) * 512, with: [UInt8](repeating: 0x5a, count: 512))
            }
            #expect(same(try disk.bytes(0..<65536), expected))
            #expect(try disk.extent(at: 512) == GuestExtent(range: 512..<9 * 512, isData: false))
            #expect(try disk.extent(at: 9 * 512) == GuestExtent(range: 9 * 512..<10 * 512, isData: true))
        }
    }
}
