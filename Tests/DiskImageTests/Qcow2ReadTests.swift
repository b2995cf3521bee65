// Goal: the guest's view of a qcow2 file is what qemu-img says it is.
// Method: files of every kind that qemu-img makes, with random content and random writes; our bytes are compared
// with `qemu-img convert -O raw`, in whole and at random ranges, from several threads.
import DiskImage
import Dispatch
import Foundation
import Model
import Synchronization
import Testing

extension DiskImageTests {
    @Suite(.enabled(if: Qemu.isThere, "needs qemu-utils")) struct Qcow2Read {
        struct Variant: CustomTestStringConvertible, Sendable {
            var name: String
            var options: [String]
            var compressed = false
            var size = 9_000_000
            var testDescription: String { name }
        }

        static let variants = [
            Variant(name: "plain", options: []),
            Variant(name: "version 2", options: ["compat=0.10"]),
            Variant(name: "version 2, zlib", options: ["compat=0.10"], compressed: true),
            Variant(name: "zlib", options: [], compressed: true),
            Variant(name: "zstd", options: ["compression_type=zstd"], compressed: true),
            Variant(name: "zstd, plain clusters", options: ["compression_type=zstd"]),
            Variant(name: "512 byte clusters", options: ["cluster_size=512"], size: 3_000_320),
            Variant(name: "512 byte clusters, zlib", options: ["cluster_size=512"], compressed: true, size: 1_000_448),
            Variant(
                name: "4 KiB clusters, zstd", options: ["cluster_size=4k", "compression_type=zstd"], compressed: true),
            Variant(name: "2 MiB clusters", options: ["cluster_size=2M"]),
            Variant(name: "2 MiB clusters, zlib", options: ["cluster_size=2M"], compressed: true),
            Variant(
                name: "2 MiB clusters, zstd", options: ["cluster_size=2M", "compression_type=zstd"], compressed: true),
            Variant(name: "metadata preallocated", options: ["preallocation=metadata"]),
            Variant(name: "falloc preallocated", options: ["preallocation=falloc"]),
            Variant(name: "lazy refcounts", options: ["lazy_refcounts=on"]),
            Variant(name: "1 bit refcounts", options: ["refcount_bits=1"]),
            Variant(name: "64 bit refcounts", options: ["refcount_bits=64"]),
            Variant(name: "extended L2", options: ["extended_l2=on"]),
            Variant(name: "extended L2, 16 KiB clusters", options: ["extended_l2=on", "cluster_size=16k"]),
            Variant(name: "extended L2, zlib", options: ["extended_l2=on"], compressed: true),
        ]

        @Test(arguments: variants) func readsWhatQemuReads(_ variant: Variant) throws {
            let scratch = try Scratch()
            let guest = sampleDisk(byteCount: variant.size, seed: UInt64(variant.options.count + variant.size))
            let raw = try scratch.write(guest, to: "guest.raw")
            let path = scratch.file("image.qcow2")
            var arguments = ["convert", "-f", "raw", "-O", "qcow2"]
            if !variant.options.isEmpty { arguments += ["-o", variant.options.joined(separator: ",")] }
            if variant.compressed { arguments.append("-c") }
            try Qemu.run("qemu-img", arguments + [raw, path])
            try scribble(path, size: variant.size, seed: 7)
            try check(path, scratch)
        }

        /// Random writes, zeros and discards through qemu itself.
        private func scribble(_ path: String, size: Int, seed: UInt64) throws {
            var random = Seeded(seed)
            var commands: [String] = []
            for _ in 0..<40 {
                let offset = Int.random(in: 0..<size / 512, using: &random) * 512
                let length = min(Int.random(in: 1...400, using: &random) * 512, size / 512 * 512 - offset)
                let pattern = Int.random(in: 1...255, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: commands += ["-c", "write -z \(offset) \(length)"]
                case 1: commands += ["-c", "discard \(offset) \(length)"]
                case 2: commands += ["-c", "write -z -u \(offset) \(length)"]
                default: commands += ["-c", "write -P \(pattern) \(offset) \(length)"]
                }
            }
            try Qemu.run("qemu-io", ["-t", "unsafe", "-f", "qcow2", "-d", "unmap"] + commands + [path])
        }

        private func check(_ path: String, _ scratch: Scratch) throws {
            let oracle = scratch.file("oracle.raw")
            try Qemu.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, oracle)
            let expected = [UInt8](try Data(contentsOf: URL(fileURLWithPath: oracle)))
            let source = try FileSource(path)
            let found = try DiskImage.inspect(source, declared: .qcow2, type: .disk, limits: .standard)
            #expect(found.virtualSizeBytes == UInt64(expected.count))
            let disk = try DiskImage.open(source, format: .qcow2, limits: .standard)
            #expect(same(try disk.allBytes(), expected))
            #expect(same(try disk.allBytes(piece: 70_001), expected))
            #expect(same(try disk.bytes(0..<disk.virtualSizeBytes), expected))
            let wrong = Mutex(0)
            DispatchQueue.concurrentPerform(iterations: 4) { thread in
                var random = Seeded(UInt64(thread) + 99)
                for _ in 0..<60 {
                    let start = UInt64.random(in: 0..<disk.virtualSizeBytes, using: &random)
                    let end = min(start + UInt64.random(in: 1...200_000, using: &random), disk.virtualSizeBytes)
                    let isSame = (try? disk.bytes(start..<end)) == Array(expected[Int(start)..<Int(end)])
                    if !isSame { wrong.withLock { $0 += 1 } }
                }
            }
            #expect(wrong.withLock { $0 } == 0)
        }

        @Test(arguments: [512, 1024, 65536, 65536 + 512, 1 << 20, (1 << 20) + 512, 536_870_912 + 512])
        func readsDisksOfOddSizes(_ size: Int) throws {
            let scratch = try Scratch()
            let path = scratch.file("image.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", path, "\(size)")
            try Qemu.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 \(size - 512) 512", path)
            let disk = try DiskImage.open(FileSource(path), format: .qcow2, limits: .standard)
            #expect(disk.virtualSizeBytes == UInt64(size))
            #expect(try disk.bytes(UInt64(size - 512)..<UInt64(size)) == [UInt8](repeating: 7, count: 512))
        }

        @Test func takesTheCurrentStateOfADiskWithSnapshots() throws {
            let scratch = try Scratch()
            let path = scratch.file("image.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", path, "4M")
            try Qemu.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 2M", path)
            try Qemu.run("qemu-img", "snapshot", "-c", "first", path)
            try Qemu.run("qemu-io", "-f", "qcow2", "-c", "write -P 2 64k 100k", path)
            try Qemu.run("qemu-img", "snapshot", "-c", "second", path)
            let found = try DiskImage.inspect(FileSource(path), declared: .qcow2, type: .disk, limits: .standard)
            #expect(
                found.notes == [
                    "2 internal snapshots are not carried over; only the current state of the disk is taken."
                ])
            try check(path, scratch)
        }

        @Test func tellsOfBitmapsThatAreLost() throws {
            let scratch = try Scratch()
            let path = scratch.file("image.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", path, "4M")
            try Qemu.run("qemu-img", "bitmap", "--add", path, "backup")
            let found = try DiskImage.inspect(FileSource(path), declared: .qcow2, type: .disk, limits: .standard)
            #expect(found.notes == ["Persistent dirty bitmaps are not carried over."])
        }

        @Test func leavesHolesUnread() throws {
            let scratch = try Scratch()
            let path = scratch.file("image.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", path, "7T")
            try Qemu.run("qemu-io", "-f", "qcow2", "-c", "write -P 3 6T 64k", path)
            let disk = try DiskImage.open(FileSource(path), format: .qcow2, limits: .standard)
            var extents: [GuestExtent] = []
            var offset: UInt64 = 0
            while offset < disk.virtualSizeBytes {
                let extent = try disk.extent(at: offset)
                if let last = extents.last, last.isData == extent.isData {
                    extents[extents.count - 1].range = last.range.lowerBound..<extent.range.upperBound
                } else {
                    extents.append(extent)
                }
                offset = extent.range.upperBound
            }
            let data: UInt64 = 6 << 40
            #expect(
                extents == [
                    GuestExtent(range: 0..<data, isData: false),
                    GuestExtent(range: data..<data + 65536, isData: true),
                    GuestExtent(range: data + 65536..<7 << 40, isData: false),
                ])
        }

        @Test func refusesWhatQemuCallsABackingFile() throws {
            let scratch = try Scratch()
            try Qemu.run("qemu-img", "create", "-f", "qcow2", scratch.file("base.qcow2"), "1M")
            let path = scratch.file("top.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", scratch.file("base.qcow2"), path)
            #expect(
                throws: DiskImageError.unsafe(
                    rule: "the image needs a backing file; flatten it first (qemu-img convert)", offset: 8)
            ) { try DiskImage.inspect(FileSource(path), declared: .qcow2, type: .disk, limits: .standard) }
        }

        @Test func refusesADataFileAndEncryption() throws {
            let scratch = try Scratch()
            let path = scratch.file("outside.qcow2")
            try Qemu.run("qemu-img", "create", "-f", "qcow2", "-o", "data_file=\(scratch.file("data.raw"))", path, "1M")
            #expect(throws: DiskImageError.unsafe(rule: "the image keeps its data in another file", offset: 72)) {
                try DiskImage.inspect(FileSource(path), declared: .qcow2, type: .disk, limits: .standard)
            }
            let locked = scratch.file("locked.qcow2")
            try Qemu.run(
                "qemu-img", "create", "-f", "qcow2", "--object", "secret,id=s,data=password", "-o",
                "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", locked, "1M")
            #expect(throws: DiskImageError.unsupported(feature: "encrypted qcow2 images", offset: 32)) {
                try DiskImage.inspect(FileSource(locked), declared: .qcow2, type: .disk, limits: .standard)
            }
        }
    }
}
