// Goal: no changed byte is handed out, what is damaged is named, and what can heal heals.
// Method: bits are flipped in every kind of file, at places that a seed chooses; offline tools and a running store look.
import DiskImage
import Glibc
import Model
import SliceStorage
import Storage
import TestSupport
import Testing
import Volumes

@Suite struct RotTests {
    private struct Memory {
        let volume = CrashingVolume()
        let index = TemporaryDirectory()
        init() throws { try SliceStore.format(volume, id: Given.store, fileSystem: "", at: Given.time) }
        func open() throws -> SliceStore {
            try SliceStore.open(volume, expecting: nil, fileSystem: nil, options: Given.options(index: index.path))
        }
    }

    @Test(arguments: 1...40) func flippedBits(seed: UInt64) throws {
        let memory = try Memory()
        let bytes = Given.disk(seed: 31, byteCount: 900_000)
        var store = try memory.open()
        try store.take(bytes, as: 1)
        store.close()
        #expect(try StoreReader(memory.volume).verify().findings.isEmpty)
        var random = SeededGenerator(seed: seed)
        let paths = memory.volume.files().filter {
            $0.value > 0 && ($0.key.hasPrefix("blobs/") || $0.key.hasPrefix("images/"))
        }
        let path = try #require(paths.keys.sorted().randomElement(using: &random))
        memory.volume.corrupt(path) { content in
            content[Int.random(in: 0..<content.count, using: &random)] ^= 1 << UInt8(random.next() % 8)
        }
        let result = try StoreReader(memory.volume).verify()
        #expect(!result.findings.isEmpty, "\(path)")
        store = try memory.open()
        // Either it is refused, or it is right.
        if let disk = try? store.open(Given.image(1)) {
            if let back = try? disk.allBytes() {
                #expect(back == bytes)
            } else {
                #expect(store.isDegraded || path.hasPrefix("images/"))
            }
        }
        // An unreadable manifest stops every removal of bytes (rule 13).
        if (try? store.images()) == nil {
            try store.take(Given.disk(seed: 32, byteCount: 300_000), as: 2)
            let stored = try store.usage().storedBytes
            try store.remove(Given.image(2))
            #expect(try store.usage().storedBytes == stored)
            try store.remove(Given.image(1))
            #expect(try store.images().isEmpty)
        }
        store.close()
    }

    @Test func anotherCopyHeals() throws {
        let memory = try Memory()
        let bytes = Given.disk(seed: 33, byteCount: 500_000)
        var store = try memory.open()
        try store.take(bytes, as: 1)
        store.close()
        let blob = try #require(memory.volume.files().keys.first { $0.hasPrefix("blobs/") })
        memory.volume.corrupt(blob) { content in for place in 100..<400 { content[place] ^= 0xff } }
        store = try memory.open()
        #expect(throws: (any Error).self) { try store.bytes(of: 1) }
        #expect(store.isDegraded)
        // The rotten slices are no answer any more; the same content comes again and heals the first image.
        try store.take(bytes, as: 2)
        #expect(try store.bytes(of: 2) == bytes)
        #expect(try store.bytes(of: 1) == bytes)
        store.close()
    }

    @Test func lostBlobsComeBack() throws {
        let memory = try Memory()
        let bytes = Given.disk(seed: 34, byteCount: 500_000)
        var store = try memory.open()
        try store.take(bytes, as: 1)
        store.close()
        let blob = try #require(memory.volume.files().keys.first { $0.hasPrefix("blobs/") })
        try memory.volume.unlink(blob)
        store = try memory.open()
        #expect(store.isDegraded)
        #expect(throws: (any Error).self) { try store.bytes(of: 1) }
        let facts = try store.take(bytes, as: 2)
        #expect(facts.storedBytes > 0)
        #expect(try store.bytes(of: 1) == bytes)
        // It is needed by the first image, too: removing the second keeps it.
        try store.remove(Given.image(2))
        #expect(try store.bytes(of: 1) == bytes)
        store.close()
        store = try memory.open()
        #expect(try store.bytes(of: 1) == bytes)
        try store.remove(Given.image(1))
        #expect(try store.usage().storedBytes == 0)
        store.close()
    }

    @Test func lostIndexIsMadeAgain() throws {
        let host = try HostStore()
        var store = try host.open()
        let (one, two) = (Given.disk(seed: 35, byteCount: 700_000), Given.disk(seed: 36, byteCount: 700_000))
        try store.take(one, as: 1)
        try store.take(Array(one[..<400_000]) + two[..<300_000], as: 2)
        let usage = try store.usage()
        store.close()
        try SliceStore.rebuildIndex(mountPath: host.directory.path, options: Given.options())
        store = try host.open()
        #expect(try store.usage().reclaimableBytes == usage.reclaimableBytes)
        #expect(try store.take(one, as: 3).storedBytes == 0)
        store.close()
        // Damaged rather than lost.
        let volume = try PosixVolume(hostPath: host.directory.path + "/lamina")
        try volume.replace("index.sqlite", with: [UInt8](repeating: 7, count: 5000), temporary: ".index.tmp")
        store = try host.open()
        #expect(try store.take(one, as: 4).storedBytes == 0)
        #expect(try store.bytes(of: 2) == Array(one[..<400_000]) + two[..<300_000])
        store.close()
    }

    @Test func removalFreesExactlyWhatIsDead() throws {
        let host = try HostStore()
        let store = try host.open()
        let (one, two) = (Given.disk(seed: 37, byteCount: 2_000_000), Given.disk(seed: 38, byteCount: 2_000_000))
        try store.take(one, as: 1)
        let alone = try store.usage().storedBytes
        try store.take(two, as: 2)
        #expect(try store.usage().reclaimableBytes == 0)
        // An open disk holds its blobs.
        do {
            let disk = try store.open(Given.image(2))
            try withExtendedLifetime(disk) {
                try store.remove(Given.image(2))
                #expect(try store.usage().storedBytes > alone)
            }
        }
        #expect(try store.usage().storedBytes == alone)
        try store.remove(Given.image(2))
        #expect(throws: StorageError.imageNotFound(Given.image(2))) { _ = try store.image(Given.image(2)) }
        // Half of a blob: its frames can be reclaimed, the blob stays.
        try store.take(Array(one[..<1_000_000]), as: 3)
        try store.remove(Given.image(1))
        let usage = try store.usage()
        #expect(usage.storedBytes >= alone)
        #expect(usage.reclaimableBytes > alone / 4)
        #expect(try store.bytes(of: 3) == Array(one[..<1_000_000]))
        store.close()
    }

    @Test func offlineTools() throws {
        let host = try HostStore()
        let store = try host.open()
        let bytes = Given.disk(seed: 39, byteCount: 1_234_567)
        let facts = try store.take(bytes, as: 1)
        // Beside the running store.
        let reader = try StoreReader(mountPath: host.directory.path)
        guard case .image(let listed)? = try reader.list().first else {
            Issue.record("the image is not listed")
            return
        }
        #expect(listed == facts)
        let path = host.directory.path + "/copy"
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT, 0o600)
        try reader.copy(Given.image(1), toDescriptor: descriptor)
        Glibc.close(descriptor)
        let volume = try PosixVolume(hostPath: host.directory.path)
        #expect(try volume.readAll("copy", byteCountMax: 1 << 21) == bytes)
        let result = try reader.verify()
        #expect(result.findings.isEmpty)
        #expect(result.images == 1 && result.blobs == 1 && result.slices > 10)
        store.close()
    }
}
