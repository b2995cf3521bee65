// What the tests of this room share: sources of bytes, a directory that goes away, and the real qemu-img.
import DiskImage
import Foundation
import Testing
import Volumes

/// All tests of this room; one at a time, since some measure the memory of the process.
@Suite(.serialized) enum DiskImageTests {}

/// A file on disk.
final class FileSource: ByteSource {
    private let descriptor: Int32
    let byteCount: UInt64

    init(_ path: String) throws {
        descriptor = open(path, O_RDONLY)
        try #require(descriptor >= 0, "\(path) opens")
        byteCount = UInt64(lseek(descriptor, 0, SEEK_END))
    }

    deinit { close(descriptor) }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
        var done = 0
        while done < buffer.count {
            let got = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            guard got >= 0 else { throw VolumeError(call: "pread", path: "test", errno: errno) }
            if got == 0 { break }
            done += got
        }
        return done
    }

    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? {
        let start = lseek(descriptor, off_t(offset), 3)  // SEEK_DATA
        guard start >= 0 else { return nil }
        return UInt64(start)..<UInt64(lseek(descriptor, start, 4))  // SEEK_HOLE
    }
}

/// A directory that is removed with the value that holds it.
final class Scratch {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "disk-image-tests-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    func write(_ bytes: [UInt8], to name: String) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}

/// A sparse file that is written here and there.
struct SparseFile {
    let path: String
    private let handle: FileHandle

    init(_ path: String, byteCount: UInt64) throws {
        self.path = path
        try #require(FileManager.default.createFile(atPath: path, contents: nil))
        handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: byteCount)
    }

    func put(_ bytes: [UInt8], at offset: UInt64) throws {
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: Data(bytes))
    }

    /// Big-endian words, one after the other.
    func put(words: [UInt64], at offset: UInt64) throws {
        var data = Data(capacity: words.count * 8)
        for word in words { withUnsafeBytes(of: word.bigEndian) { data.append(contentsOf: $0) } }
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: data)
    }
}

/// The programs of qemu-utils, the oracle of these tests.
enum Qemu {
    static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-img")

    @discardableResult
    static func run(_ tool: String, _ arguments: String...) throws -> String {
        try run(tool, arguments)
    }

    @discardableResult
    static func run(_ tool: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/" + tool)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(tool) \(arguments.joined(separator: " ")): \(text)")
        return text
    }
}

/// The program of e2fsprogs that makes a file system of a directory.
enum Mkfs {
    static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/sbin/mkfs.ext4")

    /// Makes a file with a file system that has these files.
    static func ext4(
        _ path: String, byteCount: UInt64, content: [String: String], kind: String = "ext4",
        links: [String: String] = [:]
    ) throws {
        let scratch = try Scratch()
        for (name, text) in content {
            let file = URL(fileURLWithPath: scratch.file(name))
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        for (name, target) in links {
            try FileManager.default.createSymbolicLink(atPath: scratch.file(name), withDestinationPath: target)
        }
        _ = try SparseFile(path, byteCount: byteCount)
        try Qemu.run("../sbin/mkfs.ext4", "-q", "-F", "-t", kind, "-d", scratch.path, path)
    }
}

/// Numbers that come again in every run (xorshift64*).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_f491_4f6c_dd1d
    }
}

/// Guest content like a disk's: text that compresses, noise that does not, zeros, and an end at no boundary.
func sampleDisk(byteCount: Int, seed: UInt64) -> [UInt8] {
    var random = Seeded(seed)
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var place = 0
    while place < byteCount {
        let length = min(Int.random(in: 1...300_000, using: &random), byteCount - place)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: for index in place..<place + length { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
        case 1:
            let word = random.next()
            for index in place..<place + length {
                bytes[index] = UInt8(truncatingIfNeeded: word >> UInt64(index % 5 * 8))
            }
        default: break
        }
        place += length
    }
    return bytes
}

extension GuestDisk {
    /// The whole disk, by its extents; holes are not read.
    func allBytes(piece: Int = 1 << 20) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(virtualSizeBytes))
        var offset: UInt64 = 0
        while offset < virtualSizeBytes {
            let extent = try extent(at: offset)
            #expect(extent.range.lowerBound == offset && !extent.range.isEmpty)
            #expect(extent.range.upperBound <= virtualSizeBytes)
            var place = offset
            while extent.isData, place < extent.range.upperBound {
                let count = min(piece, Int(extent.range.upperBound - place))
                try bytes.withUnsafeMutableBytes {
                    try read(
                        into: UnsafeMutableRawBufferPointer(rebasing: $0[Int(place)..<Int(place) + count]), at: place)
                }
                place += UInt64(count)
            }
            offset = extent.range.upperBound
        }
        return bytes
    }

    /// One range.
    func bytes(_ range: Range<UInt64>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xaa, count: range.count)
        try bytes.withUnsafeMutableBytes { try read(into: $0, at: range.lowerBound) }
        return bytes
    }
}

extension RenderedImage {
    /// One range.
    func bytes(_ range: Range<UInt64>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xaa, count: range.count)
        try bytes.withUnsafeMutableBytes { try read(into: $0, at: range.lowerBound) }
        return bytes
    }

    /// Writes the file.
    func write(to path: String, piece: Int = 3_000_001) throws {
        _ = FileManager.default.createFile(atPath: path, contents: nil)
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        var offset: UInt64 = 0
        while offset < byteCount {
            let end = min(offset + UInt64(piece), byteCount)
            try handle.write(contentsOf: Data(try bytes(offset..<end)))
            offset = end
        }
    }
}

/// Equality of long arrays without printing them.
func same(_ left: [UInt8], _ right: [UInt8]) -> Bool { left == right }
