// Goal: what is told of a guest is what is on its disk, and a hostile guest costs no more than a good one.
// Method: disks that sfdisk, mkfs and mkswap made; a small disk made by hand, whole and broken; signatures by hand.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct Guest {
        private func facts(_ bytes: [UInt8]) throws -> GuestFacts {
            try DiskImage.guestFacts(of: DiskImage.open(MemorySource(bytes), format: .raw, limits: .standard))
        }

        private func facts(at path: String) throws -> GuestFacts {
            try DiskImage.guestFacts(of: DiskImage.open(FileSource(path), format: .raw, limits: .standard))
        }

        @Test func seesASmallGuest() throws {
            let found = try facts(SmallGuest().bytes)
            #expect(
                found
                    == GuestFacts(
                        partitionTable: .mbr,
                        partitions: [
                            GuestPartition(
                                number: 1, startBytes: 64 * 512, sizeBytes: 256 * 512, fileSystem: .ext4,
                                isEFISystem: false),
                            GuestPartition(
                                number: 2, startBytes: 320 * 512, sizeBytes: 64 * 512, fileSystem: nil,
                                isEFISystem: false),
                            GuestPartition(
                                number: 5, startBytes: 328 * 512, sizeBytes: 16 * 512, fileSystem: nil,
                                isEFISystem: false),
                        ], startsByBIOS: true,
                        system: GuestSystem(id: "small", version: "1.2", name: "Small 1.2")))
            let coded = try JSONEncoder().encode(found)
            #expect(try JSONDecoder().decode(GuestFacts.self, from: coded) == found)
        }

        @Test(.enabled(if: Mkfs.isThere, "needs e2fsprogs"), arguments: ["ext2", "ext3", "ext4"])
        func seesWhatMkfsMakes(_ kind: String) throws {
            let scratch = try Scratch()
            let path = scratch.file("disk")
            var content = ["usr/lib/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"]
            // Directories of several blocks.
            for number in 0..<400 { content["usr/lib/a-rather-long-name-of-a-library-\(number)"] = "" }
            content["etc/hostname"] = "h\n"
            try Mkfs.ext4(
                path, byteCount: 48 << 20, content: content, kind: kind,
                links: ["etc/os-release": "../usr/lib/os-release"])
            let found = try facts(at: path)
            #expect(found.fileSystem == FileSystemKind(rawValue: kind) && found.partitionTable == nil)
            #expect(found.system == GuestSystem(id: "debian", version: "12", name: "Debian GNU/Linux 12"))
            #expect(!found.startsByBIOS && !found.startsByUEFI)
        }

        private static let sfdisk = "/usr/sbin/sfdisk"

        private func divide(_ path: String, _ script: String) throws {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: Self.sfdisk)
            process.arguments = ["-q", path]
            let input = Pipe()
            process.standardInput = input
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            try input.fileHandleForWriting.write(contentsOf: Data(script.utf8))
            try input.fileHandleForWriting.close()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0)
        }

        @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: sfdisk), "needs fdisk"))
        func seesWhatSfdiskMakes() throws {
            let scratch = try Scratch()
            let path = scratch.file("disk")
            let file = try SparseFile(path, byteCount: 256 << 20)
            try divide(path, "label: gpt\nstart=2048, size=65536, type=U\nstart=67584, size=100000, type=L\n")
            var fat = [UInt8](repeating: 0, count: 512)
            fat.replaceSubrange(82..<90, with: Array("FAT32   ".utf8))
            fat.replaceSubrange(510..<512, with: [0x55, 0xaa])
            try file.put(fat, at: 2048 * 512)
            try file.put(Array("XFSB".utf8), at: 67584 * 512)
            var found = try facts(at: path)
            #expect(found.partitionTable == .gpt && found.startsByUEFI && !found.startsByBIOS)
            #expect(found.partitions.map(\.fileSystem) == [.vfat, .xfs])
            #expect(found.partitions.map { $0.startBytes / 512 } == [2048, 67584])
            #expect(found.partitions.map { $0.sizeBytes / 512 } == [65536, 100_000])
            #expect(found.partitions.map(\.isEFISystem) == [true, false])

            try divide(
                path,
                "label: dos\n1: size=20480, bootable\n2: size=200000, type=5\n5: size=20480, type=82\n6: size=20480\n")
            try file.put([0xeb, 0x63, 0x90], at: 0)
            found = try facts(at: path)
            #expect(found.partitionTable == .mbr && found.startsByBIOS && !found.startsByUEFI)
            #expect(found.partitions.map(\.number) == [1, 2, 5, 6])
            #expect(found.partitions.map { $0.sizeBytes / 512 } == [20480, 200_000, 20480, 20480])
        }

        @Test func knowsSignatures() throws {
            let texts: [(FileSystemKind, Int, String)] = [
                (.xfs, 0, "XFSB"), (.squashfs, 0, "hsqs"), (.ntfs, 3, "NTFS    "), (.exfat, 3, "EXFAT   "),
                (.bitlocker, 3, "-FVE-FS-"), (.swap, 4086, "SWAPSPACE2"), (.btrfs, 65600, "_BHRfS_M"),
                (.iso9660, 32769, "CD001"),
            ]
            var signatures = texts.map { ($0.0, $0.1, Array($0.2.utf8)) }
            signatures.append((.luks, 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]))
            signatures.append((.ext2, 1080, [0x53, 0xef]))
            for (kind, place, bytes) in signatures {
                var disk = SmallGuest().bytes
                for index in SmallGuest.fileSystem..<disk.count { disk[index] = 0 }
                let start = SmallGuest.fileSystem + place
                disk.replaceSubrange(start..<start + bytes.count, with: bytes)
                #expect(try facts(disk).partitions[0].fileSystem == kind)
            }
            var lvm = [UInt8](repeating: 0, count: 65536)
            lvm.replaceSubrange(512..<520, with: Array("LABELONE".utf8))
            lvm.replaceSubrange(536..<544, with: Array("LVM2 001".utf8))
            #expect(try facts(lvm) == GuestFacts(fileSystem: .lvm))
            for size in [1, 511, 512, 1536, 4096] {
                #expect(try facts([UInt8](repeating: 0, count: size)) == GuestFacts())
            }
        }

        @Test func seesHowADiscStarts() throws {
            var disc = [UInt8](repeating: 0, count: 64 * 2048)
            disc.replaceSubrange(16 * 2048..<16 * 2048 + 6, with: [1] + Array("CD001".utf8))
            disc.replaceSubrange(17 * 2048 + 1..<17 * 2048 + 6, with: Array("CD001".utf8))
            disc.replaceSubrange(17 * 2048 + 7..<17 * 2048 + 30, with: Array("EL TORITO SPECIFICATION".utf8))
            disc[17 * 2048 + 71] = 20
            disc[20 * 2048] = 1
            disc.replaceSubrange(20 * 2048 + 30..<20 * 2048 + 32, with: [0x55, 0xaa])
            disc[20 * 2048 + 32] = 0x88
            #expect(try facts(disc) == GuestFacts(fileSystem: .iso9660, startsByBIOS: true))
            disc.replaceSubrange(20 * 2048 + 64..<20 * 2048 + 66, with: [0x91, 0xef])
            disc[20 * 2048 + 96] = 0x88
            #expect(try facts(disc) == GuestFacts(fileSystem: .iso9660, startsByBIOS: true, startsByUEFI: true))
        }

        @Test func circlesEnd() throws {
            var chain = SmallGuest()
            chain.partition(320, 1, type: 5, start: 1, count: 1)
            chain.partition(321, 0, type: 0x83, start: 1, count: 1)
            chain.partition(321, 1, type: 5, start: 1, count: 1)
            #expect(try facts(chain.bytes).partitions.count == 2 + 60)
            var link = SmallGuest()
            let inode = SmallGuest.fileSystem + 5 * 1024 + 12 * 128
            link.bytes.replaceSubrange(inode + 40..<inode + 50, with: Array("os-release".utf8))
            #expect(try facts(link.bytes).system == nil)
            var extents = SmallGuest()
            // The root's extents lead to a block of extents that leads to itself.
            let root = SmallGuest.fileSystem + 5 * 1024 + 128
            extents.put(root + 46, 5, 2)
            extents.put(root + 52 + 4, 20, 4)
            extents.put(root + 52 + 8, 0, 4)
            let block = SmallGuest.fileSystem + 20 * 1024
            extents.bytes.replaceSubrange(block..<block + 60, with: Array(extents.bytes[root + 40..<root + 100]))
            #expect(try facts(extents.bytes).system == nil)
        }

        /// All that a small disk can say, changed at random: no harm, and no more reads than the bound allows.
        @Test func survivesRandomChanges() throws {
            var random = Seeded(2027)
            let base = SmallGuest.fileSystem
            // Tables, superblock, descriptors, inodes, directories.
            let places: [(Int, Int)] = [
                (446, 66), (320 * 512 + 446, 66), (base + 1024, 376), (base + 2048, 32), (base + 5120, 2048),
                (base + 10240, 64), (base + 11264, 64),
            ]
            let ranges = places.map { $0.0..<$0.0 + $0.1 }
            for _ in 0..<3000 {
                var guest = SmallGuest()
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    let place = Int.random(in: ranges[Int.random(in: 0..<7, using: &random)], using: &random)
                    guest.bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
                _ = try facts(guest.bytes)
            }
        }
    }
}
