import Blobs
import Compression
import Model
import Storage
import Synchronization
import Volumes

/// Reads blobs: directories and decoded frames, each with a bounded cache. It needs no index.
final class BlobShelf: Sendable {
    /// A decoded frame. `wrong` are its slices (by number in the directory) whose bytes are not what their names say.
    final class Frame: Sendable {
        let bytes: [UInt8]
        let wrong: [Int: BlobError]
        init(bytes: [UInt8], wrong: [Int: BlobError]) {
            self.bytes = bytes
            self.wrong = wrong
        }
    }

    private struct FrameKey: Hashable {
        var blob: Digest
        var frame: Int
    }

    private let volume: any Volume
    private let directories = Mutex(LeastRecent<Digest, BlobDirectory>(costMax: StoreLimits.directorySlicesMax))
    private let frames: Mutex<LeastRecent<FrameKey, Frame>>

    init(volume: any Volume, frameCacheByteCount: Int = StoreLimits.frameCacheByteCount) {
        self.volume = volume
        frames = Mutex(LeastRecent(costMax: frameCacheByteCount))
    }

    /// Why a blob cannot be used.
    enum Failure: Error {
        /// The file is not there, or reading it failed.
        case volume(VolumeError)
        /// The file is not the blob.
        case blob(BlobError)

        var words: String {
            switch self {
            case .volume(let error): error.description
            case .blob(let error): error.description
            }
        }
    }

    /// A blob's end, as it was read.
    struct Loaded {
        var trailer: BlobTrailer
        var directory: BlobDirectory
        var byteCount: UInt64
    }

    /// Reads a blob's trailer and directory, past the cache.
    func load(_ name: Digest) throws(Failure) -> Loaded {
        let file = try reading { () throws(VolumeError) in try volume.open(StorePaths.blob(name), .read) }
        let count = try reading { () throws(VolumeError) in try file.size() }
        let minimum = BlobFormat.headerByteCount + BlobFormat.trailerByteCount
        guard count >= UInt64(minimum), count <= BlobLimits.blobByteCountMax else {
            throw .blob(
                .malformed(MalformedBytes("a blob has \(minimum) to \(BlobLimits.blobByteCountMax) bytes", at: 0)))
        }
        let header = try reading { () throws(VolumeError) in
            try file.readBytes(at: 0, count: BlobFormat.headerByteCount)
        }
        let end = try reading { () throws(VolumeError) in
            try file.readBytes(at: count - UInt64(BlobFormat.trailerByteCount), count: BlobFormat.trailerByteCount)
        }
        let trailer = try checking { () throws(BlobError) in
            try BlobFormat.check(header: header)
            let trailer = try BlobTrailer(decoding: end, blobByteCount: count)
            guard trailer.name == name else {
                throw .malformed(MalformedBytes("the blob has the name of its file", at: 0))
            }
            return trailer
        }
        let bytes = try reading { () throws(VolumeError) in
            try file.readBytes(at: trailer.directoryPosition, count: Int(trailer.directoryByteCount))
        }
        let directory = try checking { () throws(BlobError) in try trailer.directory(decoding: bytes) }
        return Loaded(trailer: trailer, directory: directory, byteCount: count)
    }

    private func reading<Result>(_ body: () throws(VolumeError) -> Result) throws(Failure) -> Result {
        do throws(VolumeError) { return try body() } catch { throw .volume(error) }
    }

    private func checking<Result>(_ body: () throws(BlobError) -> Result) throws(Failure) -> Result {
        do throws(BlobError) { return try body() } catch { throw .blob(error) }
    }

    /// A blob's directory.
    func directory(_ name: Digest) throws(Failure) -> BlobDirectory {
        if let known = directories.withLock({ $0.value(name) }) { return known }
        let directory = try load(name).directory
        keep(directory, as: name)
        return directory
    }

    /// Keeps a directory that was just written.
    func keep(_ directory: BlobDirectory, as name: Digest) {
        _ = directories.withLock { $0.insert(directory, for: name, cost: max(1, directory.slices.count)) }
    }

    /// Forgets a blob that is removed or replaced.
    func forget(_ name: Digest) {
        directories.withLock { $0.remove(name) }
        frames.withLock { cache in cache.removeAll { $0.blob == name } }
    }

    /// A decoded frame, every slice of it compared with its name.
    func frame(_ number: Int, of name: Digest) throws(Failure) -> Frame {
        let key = FrameKey(blob: name, frame: number)
        if let known = frames.withLock({ $0.value(key) }) { return known }
        let made = try decode(number, of: name, in: try directory(name))
        _ = frames.withLock { $0.insert(made, for: key, cost: made.bytes.count) }
        return made
    }

    /// Reads and decodes a frame past the cache.
    func decode(_ number: Int, of name: Digest, in directory: BlobDirectory) throws(Failure) -> Frame {
        let entry = directory.frames[number]
        let stored: [UInt8]
        do throws(VolumeError) {
            let file = try volume.open(StorePaths.blob(name), .read)
            stored = try file.readBytes(at: entry.position, count: Int(entry.storedByteCount))
        } catch { throw .volume(error) }
        return Self.decode(stored, entry, in: directory)
    }

    /// Decodes a frame's stored bytes and compares its slices.
    static func decode(_ stored: [UInt8], _ entry: FrameEntry, in directory: BlobDirectory) -> Frame {
        var whole: BlobError?
        let plain = [UInt8](unsafeUninitializedCapacity: Int(entry.plainByteCount)) { buffer, filled in
            stored.withUnsafeBytes { input in
                do throws(BlobError) {
                    try DecoderPool.shared.use { (decoder) throws(BlobError) in
                        try decoder.decode(input, of: entry, into: UnsafeMutableRawBufferPointer(buffer))
                    }
                    filled = Int(entry.plainByteCount)
                } catch { whole = error }
            }
        }
        var wrong: [Int: BlobError] = [:]
        if let whole {
            for place in entry.slices { wrong[place] = whole }
            return Frame(bytes: [], wrong: wrong)
        }
        plain.withUnsafeBytes { bytes in
            for place in entry.slices {
                let start = Int(directory.sliceOffsets[place])
                let end = start + Int(directory.slices[place].byteCount)
                do throws(BlobError) {
                    try FrameDecoder.check(
                        UnsafeRawBufferPointer(rebasing: bytes[start..<end]), is: directory.slices[place].slice)
                } catch { wrong[place] = error }
            }
        }
        return Frame(bytes: plain, wrong: wrong)
    }
}

/// Frame decoders that wait for their next use: making one costs more than a small frame.
final class DecoderPool: Sendable {
    static let shared = DecoderPool()

    // A class, because an array does not hold values that cannot be copied. Used by one thread at a time: the pool's.
    private final class Box: @unchecked Sendable {
        var decoder: FrameDecoder
        init() throws(BlobError) {
            do throws(CompressionError) { decoder = try FrameDecoder() } catch {
                throw .frameCorrupt(position: 0, error)
            }
        }
    }

    private let idle = Mutex<[Box]>([])

    func use(_ body: (inout FrameDecoder) throws(BlobError) -> Void) throws(BlobError) {
        let waiting = idle.withLock { $0.popLast() }
        let box: Box
        if let waiting { box = waiting } else { box = try Box() }
        defer { idle.withLock { if $0.count < StoreLimits.workerCountMax { $0.append(box) } } }
        try body(&box.decoder)
    }
}

/// A cache that drops what was not used for the longest time once its costs are more than `costMax`.
struct LeastRecent<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Entry {
        var value: Value
        var cost: Int
        var used: UInt64
    }

    private var entries: [Key: Entry] = [:]
    private var cost = 0
    private var clock: UInt64 = 0
    private let costMax: Int

    init(costMax: Int) { self.costMax = costMax }

    mutating func value(_ key: Key) -> Value? {
        clock += 1
        guard let place = entries.index(forKey: key) else { return nil }
        entries.values[place].used = clock
        return entries.values[place].value
    }

    /// - Returns: the keys that were dropped for it.
    @discardableResult
    mutating func insert(_ value: Value, for key: Key, cost added: Int) -> [Key] {
        remove(key)
        clock += 1
        entries[key] = Entry(value: value, cost: added, used: clock)
        cost += added
        guard cost > costMax, entries.count > 1 else { return [] }
        // Drop down to seven eighths at once: sorting is paid for by many insertions.
        var dropped: [Key] = []
        for (old, entry) in entries.sorted(by: { $0.value.used < $1.value.used }) {
            guard cost > costMax - costMax / 8, old != key else { break }
            entries[old] = nil
            cost -= entry.cost
            dropped.append(old)
        }
        return dropped
    }

    mutating func remove(_ key: Key) {
        if let entry = entries.removeValue(forKey: key) { cost -= entry.cost }
    }

    mutating func removeAll(where matches: (Key) -> Bool) {
        for key in entries.keys.filter(matches) { remove(key) }
    }
}
