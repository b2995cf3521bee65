// TestSupport: what several test targets need. Nothing of the product imports it.
import DiskImage
import Glibc
import Model
import Volumes

/// Random numbers that a seed decides: SplitMix64.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Starts at a seed.
    package init(seed: UInt64) { state = seed }

    /// The next number.
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    /// `count` random bytes.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(count + 8)
        while out.count < count { withUnsafeBytes(of: next()) { out.append(contentsOf: $0) } }
        out.removeLast(out.count - count)
        return out
    }

    /// `count` bytes that compress about as well as files do.
    package mutating func text(_ count: Int) -> [UInt8] {
        let words = (0..<64).map { _ in bytes(Int.random(in: 2...9, using: &self)).map { $0 & 0x3f | 0x20 } }
        var out: [UInt8] = []
        out.reserveCapacity(count + 16)
        while out.count < count { out += words[Int.random(in: 0..<64, using: &self)] }
        out.removeLast(out.count - count)
        return out
    }
}

/// A directory of the host that goes away with the value that made it.
package final class TemporaryDirectory: Sendable {
    /// Its path.
    package let path: String

    /// Makes a directory below the host's place for temporaries.
    package init() {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array((parent + "/lamina-test-XXXXXX").utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            guard let made = mkdtemp(buffer.baseAddress!) else { preconditionFailure("no temporary directory") }
            return String(cString: made)
        }
    }

    deinit { TemporaryDirectory.remove(path) }

    /// Removes a directory and all that is in it.
    package static func remove(_ path: String) {
        if let stream = opendir(path) {
            while let entry = readdir(stream) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard name != ".", name != ".." else { continue }
                var found = stat()
                let inner = path + "/" + name
                if lstat(inner, &found) == 0, found.st_mode & S_IFMT == S_IFDIR { remove(inner) } else { unlink(inner) }
            }
            closedir(stream)
        }
        rmdir(path)
    }
}

/// A guest's disk in memory. `holes`: what it says of its zeros; the bytes are the same either way.
package final class MemoryDisk: GuestDisk {
    private let bytes: [UInt8]
    private let showsHoles: Bool
    private let onRead: @Sendable (UInt64) throws(DiskImageError) -> Void

    /// Wraps bytes.
    package init(
        _ bytes: [UInt8], showsHoles: Bool = false,
        onRead: @escaping @Sendable (UInt64) throws(DiskImageError) -> Void = { _ in }
    ) {
        self.bytes = bytes
        self.showsHoles = showsHoles
        self.onRead = onRead
    }

    /// The size in bytes.
    package var virtualSizeBytes: UInt64 { UInt64(bytes.count) }

    /// Runs of whole 512-byte sectors.
    package func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        guard showsHoles else { return GuestExtent(range: offset..<virtualSizeBytes, isData: true) }
        let isData = hasData(Int(offset) / 512)
        var end = Int(offset) / 512 + 1
        while end * 512 < bytes.count, hasData(end) == isData { end += 1 }
        return GuestExtent(range: offset..<UInt64(min(end * 512, bytes.count)), isData: isData)
    }

    private func hasData(_ sector: Int) -> Bool {
        bytes[sector * 512..<min(sector * 512 + 512, bytes.count)].contains { $0 != 0 }
    }

    /// Copies out.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        try onRead(offset)
        bytes.withUnsafeBytes { all in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: all[Int(offset)..<Int(offset) + buffer.count]))
        }
    }
}

extension GuestDisk {
    /// The whole disk; for small ones.
    package func allBytes(step: Int = 1 << 20) throws(DiskImageError) -> [UInt8] {
        var out = [UInt8](repeating: 0xa5, count: Int(virtualSizeBytes))
        var failure: DiskImageError?
        out.withUnsafeMutableBytes { buffer in
            var offset = 0
            while offset < buffer.count, failure == nil {
                let end = min(offset + step, buffer.count)
                do throws(DiskImageError) {
                    try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[offset..<end]), at: UInt64(offset))
                } catch { failure = error }
                offset = end
            }
        }
        if let failure { throw failure }
        return out
    }
}
