import DiskImage
import Model
import SliceStorage
import Storage
import TestSupport
import Volumes

/// Ids and times that tests choose.
enum Given {
    static let time = Timestamp(milliseconds: 1_767_225_600_000)
    static let store = StoreID(random: (0x1111_2222_3333_4444, 0x5555_6666_7777_8888))
    static func image(_ number: UInt64) -> ImageID { ImageID(random: (number, 0xaaaa)) }
    static func session(_ number: UInt64) -> SessionID { SessionID(random: (number, 0xbbbb)) }

    static func declaration(_ number: UInt64, name: String = "debian") -> ImageDeclaration {
        ImageDeclaration(
            id: image(number), name: name, description: "", type: .disk, format: .raw, createdAt: time)
    }

    static func options(
        workers: Int = 2, index: String? = nil, reserved: UInt64 = 0, seconds: @escaping @Sendable () -> UInt64 = { 0 }
    )
        -> StoreOptions
    {
        StoreOptions(
            wallClock: WallClock { time }, monotonicSeconds: seconds, reservedBytes: reserved, workerCount: workers,
            indexDirectory: index)
    }

    /// A disk like a small file system: files at block boundaries, holes, repeated files, a tail that is no whole block.
    static func disk(seed: UInt64, byteCount: Int) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        var files: [[UInt8]] = []
        var out: [UInt8] = []
        out.reserveCapacity(byteCount)
        while out.count < byteCount {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: out += [UInt8](repeating: 0, count: 4096 * Int.random(in: 1...64, using: &random))
            case 1: out += random.bytes(4096 * Int.random(in: 1...80, using: &random))
            case 2, 3: if let file = files.randomElement(using: &random) { out += file }
            default:
                var file = random.text(Int.random(in: 1...200_000, using: &random))
                file += [UInt8](repeating: 0, count: (4096 - file.count % 4096) % 4096)
                files.append(file)
                out += file
            }
        }
        out.removeLast(out.count - byteCount)
        return out
    }
}

/// A store in a directory of the host.
struct HostStore {
    let directory = TemporaryDirectory()

    init() throws {
        try SliceStore.format(mountPath: directory.path, id: Given.store, fileSystem: "", at: Given.time)
    }

    func open(_ options: StoreOptions = Given.options()) throws -> SliceStore {
        try SliceStore.open(mountPath: directory.path, expecting: Given.store, fileSystem: nil, options: options)
    }
}

extension SliceStore {
    /// Takes bytes in as an image.
    @discardableResult
    func take(_ bytes: [UInt8], as number: UInt64, showsHoles: Bool = false, control: IngestControl = IngestControl())
        throws -> ImageFacts
    {
        try ingest(
            Given.session(number), as: Given.declaration(number), from: MemoryDisk(bytes, showsHoles: showsHoles),
            sourceDigest: nil, sourceSizeBytes: UInt64(bytes.count), control: control)
    }

    /// The whole disk of an image.
    func bytes(of number: UInt64) throws -> [UInt8] { try open(Given.image(number)).allBytes() }
}
