// Goal: the guest's view of a VMDK file is what qemu-img says it is.
// Method: files of every kind that qemu-img makes of one sparse extent, with random content and random writes; our
// bytes are compared with `qemu-img convert -O raw`, in whole and at random ranges.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite(.enabled(if: Qemu.isThere, "needs qemu-utils")) struct VmdkRead {
        struct Variant: CustomTestStringConvertible, Sendable {
            var name: String
            var options: String
            var isWritable = true
            var size = 9_000_448
            var testDescription: String { name }
        }

        static let variants = [
            Variant(name: "sparse", options: "subformat=monolithicSparse"),
            Variant(name: "sparse, version 6", options: "subformat=monolithicSparse,compat6=on"),
            Variant(name: "sparse, zero grains", options: "subformat=monolithicSparse,zeroed_grain=on"),
            Variant(name: "sparse, several tables", options: "subformat=monolithicSparse", size: 100_000_256),
            Variant(name: "stream", options: "subformat=streamOptimized", isWritable: false),
            Variant(
                name: "stream, adapter", options: "subformat=streamOptimized,adapter_type=lsilogic", isWritable: false),
            Variant(
                name: "stream, several tables", options: "subformat=streamOptimized", isWritable: false,
                size: 70_000_128),
        ]

        @Test(arguments: variants) func readsWhatQemuReads(_ variant: Variant) throws {
            let scratch = try Scratch()
            let guest = sampleDisk(byteCount: variant.size, seed: UInt64(variant.options.count + variant.size))
            let raw = try scratch.write(guest, to: "guest.raw")
            let path = scratch.file("image.vmdk")
            try Qemu.run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", variant.options, raw, path)
            if variant.isWritable {
                var commands: [String] = []
                var random = Seeded(7)
                for _ in 0..<40 {
                    let offset = Int.random(in: 0..<variant.size / 512, using: &random) * 512
                    let length = min(Int.random(in: 1...400, using: &random) * 512, variant.size / 512 * 512 - offset)
                    let kind =
                        Int.random(in: 0..<3, using: &random) == 0
                        ? "-z" : "-P \(Int.random(in: 1...255, using: &random))"
                    commands += ["-c", "write \(kind) \(offset) \(length)"]
                }
                try Qemu.run("qemu-io", ["-t", "unsafe", "-f", "vmdk"] + commands + [path])
            }
            try check(path, scratch)
        }

        private func check(_ path: String, _ scratch: Scratch) throws {
            let oracle = scratch.file("oracle.raw")
            try Qemu.run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, oracle)
            let expected = [UInt8](try Data(contentsOf: URL(fileURLWithPath: oracle)))
            let source = try FileSource(path)
            let found = try DiskImage.inspect(source, declared: .vmdk, type: .disk, limits: .standard)
            #expect(found == Inspection(format: .vmdk, virtualSizeBytes: UInt64(expected.count), notes: []))
            let disk = try DiskImage.open(source, format: .vmdk, limits: .standard)
            #expect(same(try disk.allBytes(), expected))
            #expect(same(try disk.allBytes(piece: 70_001), expected))
            #expect(same(try disk.bytes(0..<disk.virtualSizeBytes), expected))
            var random = Seeded(99)
            for _ in 0..<60 {
                let start = UInt64.random(in: 0..<disk.virtualSizeBytes, using: &random)
                let end = min(start + UInt64.random(in: 1...200_000, using: &random), disk.virtualSizeBytes)
                #expect(same(try disk.bytes(start..<end), Array(expected[Int(start)..<Int(end)])))
            }
        }

        @Test(arguments: [512, 1024, 65536, 65536 + 512, 33_554_432, 33_554_432 + 512, 1 << 40])
        func readsDisksOfOddSizes(_ size: Int) throws {
            let scratch = try Scratch()
            let path = scratch.file("image.vmdk")
            try Qemu.run("qemu-img", "create", "-f", "vmdk", path, "\(size)")
            try Qemu.run("qemu-io", "-f", "vmdk", "-c", "write -P 7 \(size - 512) 512", path)
            let disk = try DiskImage.open(FileSource(path), format: .vmdk, limits: .standard)
            #expect(disk.virtualSizeBytes == UInt64(size))
            #expect(try disk.bytes(UInt64(size - 512)..<UInt64(size)) == [UInt8](repeating: 7, count: 512))
            if size > 65536 {
                var hole = try disk.extent(at: 0)
                while !hole.isData, hole.range.upperBound < UInt64(size),
                    try !disk.extent(at: hole.range.upperBound).isData
                {
                    hole = try disk.extent(at: hole.range.upperBound)
                }
                #expect(hole.range.upperBound == UInt64((size - 1) / 65536 * 65536))
            }
        }

        @Test(arguments: ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
        func refusesWhatIsMoreThanOneFile(_ type: String) throws {
            let scratch = try Scratch()
            let path = scratch.file("image.vmdk")
            try Qemu.run("qemu-img", "create", "-f", "vmdk", "-o", "subformat=\(type)", path, "8M")
            #expect(
                Verdict.of(try FileSource(path), .vmdk).hasPrefix("unsupported@0 VMDK files that are not one sparse"))
            if type == "twoGbMaxExtentSparse" {
                let extent = try FileSource(scratch.file("image-s001.vmdk"))
                #expect(Verdict.of(extent, .vmdk).hasPrefix("corrupt@512 the descriptor does not begin"))
            }
        }

        @Test func refusesAParent() throws {
            let scratch = try Scratch()
            try Qemu.run("qemu-img", "create", "-f", "vmdk", scratch.file("base.vmdk"), "1M")
            let path = scratch.file("top.vmdk")
            try Qemu.run("qemu-img", "create", "-f", "vmdk", "-F", "vmdk", "-b", scratch.file("base.vmdk"), path)
            let verdict = Verdict.of(try FileSource(path), .vmdk)
            #expect(verdict.hasPrefix("unsafe@") && verdict.contains("a parent; flatten it first"))
        }
    }
}
