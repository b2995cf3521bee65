// Goal: the files that are written are right, the same every time, and can be read from any offset.
// Method: disks with random content go out; `qemu-img check` and `qemu-img compare` judge the files; random ranges
// are compared with the whole; our own reader takes them back.
import DiskImage
import Foundation
import Model
import Testing
import Volumes

extension DiskImageTests {
    @Suite struct Render {
        /// A disk in memory with its own idea of where data is.
        struct MemoryDisk: GuestDisk {
            var content: [UInt8]
            var data: [Range<UInt64>]
            var virtualSizeBytes: UInt64 { UInt64(content.count) }

            func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
                for run in data where run.upperBound > offset {
                    if run.lowerBound <= offset { return GuestExtent(range: offset..<run.upperBound, isData: true) }
                    return GuestExtent(range: offset..<run.lowerBound, isData: false)
                }
                return GuestExtent(range: offset..<virtualSizeBytes, isData: false)
            }

            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
                content.withUnsafeBytes {
                    buffer.copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + buffer.count]))
                }
            }

            /// Runs of blocks of 4 KiB that are not all zero.
            init(_ content: [UInt8]) {
                self.content = content
                data = []
                for start in stride(from: 0, to: content.count, by: 4096) {
                    let end = min(start + 4096, content.count)
                    guard content[start..<end].contains(where: { $0 != 0 }) else { continue }
                    if let last = data.last, last.upperBound == UInt64(start) {
                        data[data.count - 1] = last.lowerBound..<UInt64(end)
                    } else {
                        data.append(UInt64(start)..<UInt64(end))
                    }
                }
            }
        }

        static let sizes = [1, 511, 512, 65535, 65536, 65537, 1_000_000, 20_000_000, 33_554_432]

        @Test(.enabled(if: Qemu.isThere, "needs qemu-utils"), arguments: sizes)
        func qemuTakesOurQcow2(_ size: Int) throws {
            let scratch = try Scratch()
            var content = sampleDisk(byteCount: size, seed: UInt64(size))
            content[size - 1] = 9
            let image = try DiskImage.render(MemoryDisk(content), as: .qcow2)
            let path = scratch.file("out.qcow2")
            try image.write(to: path)
            let check = try Qemu.run("qemu-img", "check", "-f", "qcow2", path)
            #expect(check.contains("No errors were found on the image"))
            let padded = content + [UInt8](repeating: 0, count: (512 - size % 512) % 512)
            let raw = try scratch.write(padded, to: "guest.raw")
            try Qemu.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, raw)
            let again = try DiskImage.open(FileSource(path), format: .qcow2, limits: .standard)
            #expect(same(try again.allBytes(), padded))
        }

        @Test func anyRangeEqualsTheWhole() throws {
            let content = sampleDisk(byteCount: 10_000_123, seed: 5)
            for format in [ImageFormat.raw, .qcow2] {
                let image = try DiskImage.render(MemoryDisk(content), as: format)
                let whole = try image.bytes(0..<image.byteCount)
                if format == .raw { #expect(same(whole, content)) }
                var random = Seeded(11)
                for _ in 0..<400 {
                    let start = UInt64.random(in: 0..<image.byteCount, using: &random)
                    let end = min(start + UInt64.random(in: 0...300_000, using: &random), image.byteCount)
                    #expect(same(try image.bytes(start..<end), Array(whole[Int(start)..<Int(end)])))
                }
                let second = try DiskImage.render(MemoryDisk(content), as: format)
                #expect(same(try second.bytes(0..<second.byteCount), whole), "the same disk gives the same file")
            }
        }

        /// Extents that touch and never merge: the layout depends on where data is, not on how it is told.
        @Test func layoutDoesNotDependOnHowExtentsAreCut() throws {
            let content = sampleDisk(byteCount: 3_000_000, seed: 3)
            var cut = MemoryDisk(content)
            cut.data = cut.data.flatMap { run in
                stride(from: run.lowerBound, to: run.upperBound, by: 4096).map { $0..<min($0 + 4096, run.upperBound) }
            }
            let one = try DiskImage.render(MemoryDisk(content), as: .qcow2)
            let two = try DiskImage.render(cut, as: .qcow2)
            #expect(one.byteCount == two.byteCount)
            #expect(same(try one.bytes(0..<one.byteCount), try two.bytes(0..<two.byteCount)))
        }

        /// 8 TiB with a little data in many places: every kind of table has several clusters.
        struct HugeDisk: GuestDisk {
            let virtualSizeBytes: UInt64 = 8 << 40
            let step: UInt64 = 3 << 30

            func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
                let start = offset / step * step
                if offset < start + 8192 { return GuestExtent(range: offset..<start + 8192, isData: true) }
                return GuestExtent(range: offset..<min(start + step, virtualSizeBytes), isData: false)
            }

            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
                let word = UInt8(truncatingIfNeeded: offset / step + 1)
                _ = buffer.initializeMemory(as: UInt8.self, repeating: word)
            }
        }

        @Test(.enabled(if: Qemu.isThere, "needs qemu-utils")) func writesTheLargestDisk() throws {
            let scratch = try Scratch()
            let memory = try MemoryPeak()
            let image = try DiskImage.render(HugeDisk(), as: .qcow2)
            let path = scratch.file("huge.qcow2")
            try image.write(to: path)
            #expect(try memory.growthBytes() < 128 << 20)
            let check = try Qemu.run("qemu-img", "check", "-f", "qcow2", path)
            #expect(check.contains("No errors were found on the image"))
            let disk = try DiskImage.open(FileSource(path), format: .qcow2, limits: .standard)
            for index in [UInt64(0), 1, 500, 2729] {
                let place = index * HugeDisk().step
                #expect(
                    try disk.bytes(place + 8190..<place + 8194) == [
                        UInt8(truncatingIfNeeded: index + 1), UInt8(truncatingIfNeeded: index + 1), 0, 0,
                    ])
            }
        }

        /// Enough data clusters for two blocks of reference counts; read through our reader, not written out.
        struct DenseDisk: GuestDisk {
            let virtualSizeBytes: UInt64 = 40_000 * 65536

            func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
                GuestExtent(range: offset..<virtualSizeBytes, isData: true)
            }

            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
                for index in buffer.indices {
                    buffer[index] = UInt8(truncatingIfNeeded: (offset + UInt64(index)) / 65536 % 251 + 1)
                }
            }
        }

        struct RenderedSource: ByteSource {
            let image: any RenderedImage
            var byteCount: UInt64 { image.byteCount }
            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
                let count = min(buffer.count, Int(byteCount - min(offset, byteCount)))
                do {
                    try image.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count]), at: offset)
                } catch { throw VolumeError(call: "read", path: "\(error)", errno: 5) }
                return count
            }
            func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? { offset..<byteCount }
        }

        @Test func countsMoreClustersThanOneBlockHolds() throws {
            let image = try DiskImage.render(DenseDisk(), as: .qcow2)
            let disk = try DiskImage.open(RenderedSource(image: image), format: .qcow2, limits: .standard)
            #expect(try disk.extent(at: 0) == GuestExtent(range: 0..<DenseDisk().virtualSizeBytes, isData: true))
            for cluster in [UInt64(0), 1, 8191, 8192, 32767, 32768, 39999] {
                #expect(try disk.bytes(cluster * 65536..<cluster * 65536 + 1) == [UInt8(cluster % 251 + 1)])
            }
            // Header, one cluster of table, two blocks, one L1 cluster, five L2 tables.
            #expect(image.byteCount == (1 + 1 + 2 + 1 + 5 + 40_000) * 65536)
            let blocks = try image.bytes(2 * 65536..<4 * 65536)
            let counted = stride(from: 0, to: blocks.count, by: 2).filter { blocks[$0 + 1] == 1 && blocks[$0] == 0 }
            #expect(counted.count == 40_010)
        }
    }
}
