// Goal: a file is taken only as what it is, whatever it was declared.
// Method: the first bytes of every kind of file that people and servers send by mistake, each with its words; files
// that are two things at once; files at the edge of a format.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct Signatures {
        struct Found: CustomTestStringConvertible, Sendable {
            var words: String
            var place = 0
            var bytes: [UInt8]
            var total = 65536
            var testDescription: String { words }

            init(_ words: String, _ bytes: [UInt8], at place: Int = 0, total: Int = 65536) {
                self.words = words
                self.bytes = bytes
                self.place = place
                self.total = total
            }

            init(_ words: String, _ text: String, at place: Int = 0, total: Int = 65536) {
                self.init(words, Array(text.utf8), at: place, total: total)
            }

            var file: [UInt8] {
                var file = [UInt8](repeating: 0, count: max(total, place + bytes.count))
                file.replaceSubrange(place..<place + bytes.count, with: bytes)
                return file
            }
        }

        static let files: [Found] = [
            Found("a qcow2 image", [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]),
            Found("a qcow image of version 1", [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1]),
            Found("a VMDK image", "KDMV\u{3}\0\0\0"),
            Found("a VMDK image of the COWD kind", "COWD\u{1}"),
            Found("a VMDK descriptor", "# Disk DescriptorFile\nversion=1\n", total: 300),
            Found("a VMDK descriptor", "\n  # Disk DescriptorFile\nversion=1\n", total: 300),
            Found("a VHD image", "conectix"),
            Found("a VHD image", "conectix", at: 65536 - 512),
            Found("a VHDX image", "vhdxfile"),
            Found("a VDI image", [0x7f, 0x10, 0xda, 0xbe], at: 64),
            Found("a QED image", "QED\0"),
            Found("a Parallels image", "WithoutFreeSpace"),
            Found("a DMG image", "koly", at: 65536 - 512),
            Found("a LUKS encrypted volume", [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 2]),
            Found("an ISO 9660 image", "CD001", at: 32769),
            Found("an ISO 9660 image", "CD001", at: 34817),
            Found("an ISO 9660 image", "CD001", at: 36865),
            Found("a UDF volume without ISO 9660", "NSR03", at: 34817),
            Found("a gzip file", [0x1f, 0x8b, 0x08, 0]),
            Found("an xz file", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]),
            Found("a zstd file", [0x28, 0xb5, 0x2f, 0xfd]),
            Found("a bzip2 file", "BZh91AY&SY"),
            Found("an lz4 file", [0x04, 0x22, 0x4d, 0x18]),
            Found("a zip archive", [0x50, 0x4b, 3, 4]),
            Found("a 7z archive", [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]),
            Found("a RAR archive", "Rar!\u{1a}\u{7}"),
            Found("a tar archive (an OVA is one)", "ustar", at: 257),
            Found("a Debian package or another ar archive", "!<arch>\ndebian-binary"),
            Found("an RPM package", [0xed, 0xab, 0xee, 0xdb]),
            Found("an ELF program", [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]),
            Found("a PDF document", "%PDF-1.7"),
            Found("an HTML page", "<!DOCTYPE html><html><body>Not found</body></html>", total: 0),
            Found("an HTML page", "\r\n\t <HTML><head><title>404</title>", total: 0),
            Found("an HTML page", [0xef, 0xbb, 0xbf] + Array("<html>".utf8), total: 0),
            Found("an XML document", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", total: 0),
            Found("an XML document", "<Error><Code>NoSuchKey</Code></Error>", total: 0),
            Found("a JSON document", "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}", total: 0),
            Found("a JSON document", "[\n  {\"name\": \"x\"}\n]", total: 0),
        ]

        @Test(arguments: files) func isNotTakenAsRaw(_ file: Found) {
            #expect(throws: DiskImageError.mismatch(declared: "raw", found: file.words)) {
                try DiskImage.inspect(MemorySource(file.file), declared: .raw, type: .system, limits: .standard)
            }
        }

        @Test(arguments: [ImageFormat.qcow2, .iso, .vmdk]) func namesWhatAFormatIsNot(_ declared: ImageFormat) {
            for file in Self.files
            where !(file.words.contains("ISO 9660") || file.words.contains("qcow2") || file.words.contains("VMDK")) {
                #expect(throws: DiskImageError.mismatch(declared: declared.rawValue, found: file.words)) {
                    try DiskImage.inspect(MemorySource(file.file), declared: declared, type: .system, limits: .standard)
                }
            }
            #expect(throws: DiskImageError.mismatch(declared: declared.rawValue, found: "no known signature")) {
                try DiskImage.inspect(
                    MemorySource([UInt8](repeating: 0, count: 4096)), declared: declared, type: .system,
                    limits: .standard)
            }
        }

        @Test func aFileThatIsTwoThingsIsNeither() {
            var bytes = [UInt8](repeating: 0, count: 65536)
            bytes.replaceSubrange(0..<8, with: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3])
            bytes.replaceSubrange(32769..<32774, with: Array("CD001".utf8))
            for declared in [ImageFormat.qcow2, .iso, .raw] {
                #expect(
                    throws: DiskImageError.mismatch(
                        declared: declared.rawValue, found: "a qcow2 image and an ISO 9660 image")
                ) { try DiskImage.inspect(MemorySource(bytes), declared: declared, type: .system, limits: .standard) }
            }
        }

        /// A raw file of any length but zero is a disk: nothing in it says how long it should be.
        @Test(arguments: [1, 511, 512, 513, 40_000, 1 << 20]) func rawIsTakenByteForByte(_ size: Int) throws {
            var random = Seeded(UInt64(size))
            let bytes = (0..<size).map { _ in UInt8.random(in: 128...191, using: &random) }
            let found = try DiskImage.inspect(MemorySource(bytes), declared: .raw, type: .disk, limits: .standard)
            #expect(found.virtualSizeBytes == UInt64(size))
            #expect(found.notes.isEmpty == (size % 512 == 0))
            let disk = try DiskImage.open(MemorySource(bytes), format: .raw, limits: .standard)
            #expect(same(try disk.allBytes(), bytes))
        }

        @Test func rawTextIsNotAnErrorPage() throws {
            let text = Array("hello, this is the content of a disk\n".utf8)
            #expect(
                try DiskImage.inspect(MemorySource(text), declared: .raw, type: .disk, limits: .standard).format == .raw
            )
        }

        @Test func emptyFilesAreRefused() {
            for declared in ImageFormat.allCases {
                #expect(throws: DiskImageError.corrupt(rule: "the file is empty", offset: 0)) {
                    try DiskImage.inspect(MemorySource([]), declared: declared, type: .system, limits: .standard)
                }
                #expect(throws: DiskImageError.corrupt(rule: "the file is empty", offset: 0)) {
                    try DiskImage.open(MemorySource([]), format: declared, limits: .standard)
                }
            }
        }

        @Test func rawOverTheLimitIsRefused() {
            #expect(throws: DiskImageError.tooLarge(virtualSizeBytes: 4096, limitBytes: 4095)) {
                try DiskImage.inspect(
                    MemorySource([UInt8](repeating: 0, count: 4096)), declared: .raw, type: .disk,
                    limits: InspectionLimits(virtualSizeBytesMax: 4095))
            }
        }

        @Test func holesOfARawFileAreHoles() throws {
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            for index in 65536..<131072 { bytes[index] = 5 }
            let disk = try DiskImage.open(MemorySource(bytes, runs: [65536..<131072]), format: .raw, limits: .standard)
            #expect(try disk.extent(at: 0) == GuestExtent(range: 0..<65536, isData: false))
            #expect(try disk.extent(at: 65536) == GuestExtent(range: 65536..<131072, isData: true))
            #expect(try disk.extent(at: 70000) == GuestExtent(range: 70000..<131072, isData: true))
            #expect(try disk.extent(at: 131072) == GuestExtent(range: 131072..<1 << 20, isData: false))
            #expect(same(try disk.allBytes(), bytes))
        }

        /// A volume of `blocks` sectors; the primary descriptor is in sector `sector`.
        private func iso(blocks: UInt32, sector: Int = 16, fileBytes: Int) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: fileBytes)
            let place = sector * 2048
            bytes.replaceSubrange(place..<place + 6, with: [1] + Array("CD001".utf8))
            for index in 0..<4 { bytes[place + 80 + index] = UInt8(truncatingIfNeeded: blocks >> UInt32(index * 8)) }
            bytes[place + 129] = 8
            return bytes
        }

        @Test func isoIsASystemImageAndWhole() throws {
            let whole = iso(blocks: 400, fileBytes: 400 * 2048)
            let found = try DiskImage.inspect(MemorySource(whole), declared: .iso, type: .system, limits: .standard)
            #expect(found == Inspection(format: .iso, virtualSizeBytes: 400 * 2048, notes: []))
            #expect(throws: DiskImageError.self) {
                try DiskImage.inspect(MemorySource(whole), declared: .iso, type: .disk, limits: .standard)
            }
            let cut = iso(blocks: 400, fileBytes: 200 * 2048)
            #expect(
                throws: DiskImageError.corrupt(
                    rule: "the volume is 819200 bytes long, the file ends before", offset: 200 * 2048)
            ) { try DiskImage.inspect(MemorySource(cut), declared: .iso, type: .system, limits: .standard) }
            let withoutPadding = iso(blocks: 400, fileBytes: 260 * 2048)
            _ = try DiskImage.inspect(MemorySource(withoutPadding), declared: .iso, type: .system, limits: .standard)
            let hybrid = iso(blocks: 300, sector: 17, fileBytes: 400 * 2048)
            _ = try DiskImage.inspect(MemorySource(hybrid), declared: .iso, type: .system, limits: .standard)
        }

        @Test func theFirstBytesOfAnISOAreFree() throws {
            var bytes = iso(blocks: 100, fileBytes: 100 * 2048)
            bytes.replaceSubrange(0..<4, with: [0x45, 0x52, 0x08, 0x00])
            bytes[510] = 0x55
            bytes[511] = 0xaa
            _ = try DiskImage.inspect(MemorySource(bytes), declared: .iso, type: .system, limits: .standard)
        }
    }
}
