// Goal: the sentences of the port and of docs/store.md that are not about crashes: identity, sessions, removal, usage,
// rot, resumption, concurrency.
// Method: one store in a directory of the host each; files are damaged behind its back.
import DiskImage
import Glibc
import Model
import SliceStorage
import Storage
import Synchronization
import TestSupport
import Testing
import Volumes

@Suite struct IdentityTests {
    @Test func missingMarkerIsNeverANewStore() throws {
        let directory = TemporaryDirectory()
        #expect(throws: StorageError.self) {
            _ = try SliceStore.open(
                mountPath: directory.path, expecting: nil, fileSystem: nil, options: Given.options())
        }
        let host = try HostStore()
        unlink(host.directory.path + "/lamina/STORE")
        do {
            _ = try host.open()
            Issue.record("a store without its marker was opened")
        } catch StorageError.wrongStore {}
        // What is there is not formatted over either.
        let other = try HostStore()
        let store = try other.open()
        try store.take(Given.disk(seed: 1, byteCount: 100_000), as: 1)
        store.close()
        unlink(other.directory.path + "/lamina/STORE")
        do {
            try SliceStore.format(mountPath: other.directory.path, id: Given.store, fileSystem: "", at: Given.time)
            Issue.record("a store was formatted over")
        } catch StorageError.wrongStore {}
    }

    @Test func foreignStoresAndCopies() throws {
        let directory = TemporaryDirectory()
        try SliceStore.format(mountPath: directory.path, id: Given.store, fileSystem: "uuid-a", at: Given.time)
        func attempt(_ id: StoreID?, _ fileSystem: String?) -> StorageError? {
            do throws(StorageError) {
                try SliceStore.open(
                    mountPath: directory.path, expecting: id, fileSystem: fileSystem, options: Given.options()
                )
                .close()
                return nil
            } catch { return error }
        }
        #expect(attempt(Given.store, "uuid-a") == nil)
        #expect(attempt(nil, nil) == nil)
        guard case .wrongStore = attempt(StoreID(random: (9, 9)), nil),
            case .wrongStore = attempt(Given.store, "uuid-b")
        else {
            Issue.record("a foreign store was opened")
            return
        }
    }

    @Test func oneAgentAtATime() throws {
        let host = try HostStore()
        let store = try host.open()
        do {
            _ = try host.open()
            Issue.record("the store was opened twice")
        } catch StorageError.storeInUse {}
        #expect(store.marker.epoch == 1)
        store.close()
        let next = try host.open()
        #expect(next.marker.epoch == 2)
        // An agent on another host raised the epoch: this one stops.
        var later = next.marker
        later.epoch = 7
        let volume = try PosixVolume(hostPath: host.directory.path + "/lamina")
        try volume.replace("STORE", with: later.encoded(), temporary: ".STORE.tmp")
        do {
            try next.take(Given.disk(seed: 1, byteCount: 50_000), as: 1)
            Issue.record("an agent with an old epoch wrote")
        } catch StorageError.storeInUse {}
        next.close()
    }

    @Test func laterFormatsAreRefused() throws {
        let host = try HostStore()
        let path = host.directory.path + "/lamina"
        let volume = try PosixVolume(hostPath: path)
        let text = String(decoding: try volume.readAll("STORE", byteCountMax: 4096), as: UTF8.self)
        var lines = text.split(separator: "\n").map(String.init)
        lines[1] = "format 2"
        try volume.replace("STORE", with: Array(lines.joined(separator: "\n").utf8), temporary: ".STORE.tmp")
        #expect(throws: StorageError.formatTooNew(found: 2, supported: 1)) { _ = try host.open() }
    }
}

@Suite struct SessionTests {
    private let bytes = Given.disk(seed: 5, byteCount: 2_000_000)

    @Test func askingAgainAnswersTheSame() throws {
        let host = try HostStore()
        let store = try host.open()
        let facts = try store.take(bytes, as: 1)
        #expect(try store.take(bytes, as: 1) == facts)
        let renamed = try store.update(Given.image(1), name: "other", description: "words")
        #expect(renamed.declaration.name == "other")
        #expect(try store.take(bytes, as: 1) == renamed)
        #expect(try store.bytes(of: 1) == bytes)
        var different = Given.declaration(1)
        different.type = .system
        #expect(throws: StorageError.imageExists(Given.image(1))) {
            _ = try store.ingest(
                Given.session(4), as: different, from: MemoryDisk(bytes), sourceDigest: nil,
                sourceSizeBytes: UInt64(bytes.count), control: IngestControl())
        }
        #expect(try store.sessions().isEmpty)
        store.close()
        let again = try host.open()
        #expect(try again.image(Given.image(1)) == renamed)
        again.close()
    }

    @Test func cancelledIngestsGoOnFromWhatIsDurable() throws {
        let host = try HostStore()
        var store = try host.open()
        // Incompressible, so that there are several blobs.
        var random = SeededGenerator(seed: 8)
        let large = random.bytes(60 << 20)
        let asked = Atomic<Int>(0)
        let control = IngestControl(isCancelled: { asked.add(1, ordering: .relaxed).newValue > 50 })
        #expect(throws: StorageError.cancelled) { try store.take(large, as: 1, control: control) }
        #expect(try store.images().isEmpty)
        #expect(try store.sessions().map(\.id) == [Given.session(1)])
        let kept = try store.usage().storedBytes
        #expect(kept > 0)
        // What the session made is not reclaimable: it is about to be used.
        #expect(try store.usage().reclaimableBytes == 0)
        store.close()
        store = try host.open()
        #expect(try store.usage().storedBytes == kept)
        let last = Mutex<IngestProgress?>(nil)
        let facts = try store.take(
            large, as: 1, control: IngestControl(onProgress: { progress in last.withLock { $0 = progress } }))
        #expect(facts.storedBytes >= UInt64(large.count))
        let progress = try #require(last.withLock { $0 })
        #expect(progress.reusedBytes > 0)
        #expect(progress.doneBytes == progress.totalBytes)
        #expect(try store.bytes(of: 1) == large)
        store.close()
    }

    @Test func failingSourcesLeaveTheSession() throws {
        let host = try HostStore()
        let store = try host.open()
        let disk = MemoryDisk(
            bytes,
            onRead: { (offset) throws(DiskImageError) in
                if offset > 1_000_000 { throw .corrupt(rule: "broken", offset: offset) }
            })
        do {
            _ = try store.ingest(
                Given.session(1), as: Given.declaration(1), from: disk, sourceDigest: nil, sourceSizeBytes: 1,
                control: IngestControl())
            Issue.record("a broken source was taken in")
        } catch StorageError.source(.corrupt) {}
        #expect(try store.images().isEmpty)
        try store.abandon(Given.session(1))
        try store.abandon(Given.session(1))
        #expect(try store.usage().storedBytes == 0)
        #expect(try store.sessions().isEmpty)
        store.close()
    }

    @Test func abandonLeavesWhatOthersNeed() throws {
        let host = try HostStore()
        let store = try host.open()
        var random = SeededGenerator(seed: 18)
        let large = random.bytes(40 << 20)
        let asked = Atomic<Int>(0)
        let control = IngestControl(isCancelled: { asked.add(1, ordering: .relaxed).newValue > 40 })
        #expect(throws: StorageError.cancelled) { try store.take(large, as: 1, control: control) }
        // The second image uses the first one's blobs; then the first is given up.
        let facts = try store.take(large, as: 2)
        #expect(facts.storedBytes < UInt64(large.count))
        try store.abandon(Given.session(1))
        #expect(try store.bytes(of: 2) == large)
        try store.remove(Given.image(2))
        #expect(try store.usage().storedBytes == 0)
        store.close()
    }

    @Test func concurrentIngests() async throws {
        let host = try HostStore()
        let store = try host.open()
        let disks = (1...4).map { Given.disk(seed: UInt64($0 % 3), byteCount: 4_000_000) }
        let results = Monitorless()
        var threads: [pthread_t] = []
        for (number, disk) in disks.enumerated() {
            threads.append(
                spawn {
                    do {
                        try store.take(disk, as: UInt64(number))
                    } catch { results.fail("\(error)") }
                })
        }
        for thread in threads { pthread_join(thread, nil) }
        #expect(results.failures.isEmpty)
        for (number, disk) in disks.enumerated() { #expect(try store.bytes(of: UInt64(number)) == disk) }
        for number in disks.indices { try store.remove(Given.image(UInt64(number))) }
        #expect(try store.usage().storedBytes == 0)
        store.close()
    }

    @Test func idleSessionsExpireInRunningTime() throws {
        let host = try HostStore()
        let now = Atomic<UInt64>(1000)
        let clock: @Sendable () -> UInt64 = { now.load(ordering: .relaxed) }
        var store = try host.open(Given.options(seconds: clock))
        let file = try store.stage(Given.session(1), expectedBytes: nil)
        try Array("hello".utf8).withUnsafeBytes { try file.append($0) }
        try file.sync()
        now.store(5000, ordering: .relaxed)
        #expect(try store.expireSessions(idleFor: 3600).isEmpty)
        file.close()
        now.store(7000, ordering: .relaxed)
        #expect(try store.sessions().first?.idleSeconds == 2000)
        store.close()
        // The clock of another boot; what was idle stays idle.
        now.store(10, ordering: .relaxed)
        store = try host.open(Given.options(seconds: clock))
        now.store(1700, ordering: .relaxed)
        #expect(try store.expireSessions(idleFor: 3600) == [Given.session(1)])
        #expect(try store.sessions().isEmpty)
        #expect(try store.usage().temporaryBytes == 0)
        store.close()
    }
}

/// Failures of threads.
final class Monitorless: Sendable {
    private let list = Mutex<[String]>([])
    func fail(_ words: String) { list.withLock { $0.append(words) } }
    var failures: [String] { list.withLock { $0 } }
}

/// Runs `body` on a thread of its own.
func spawn(_ body: @escaping @Sendable () -> Void) -> pthread_t {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    pthread_create(
        &thread, nil,
        {
            Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
            return nil
        }, box.toOpaque())
    return thread
}

@Suite struct StagedFileTests {
    @Test func bytesSurviveARestart() throws {
        let host = try HostStore()
        var store = try host.open()
        var random = SeededGenerator(seed: 3)
        var bytes = random.text(1_500_001)
        bytes.replaceSubrange(8192..<900_000, with: repeatElement(0, count: 900_000 - 8192))
        var file = try store.stage(Given.session(1), expectedBytes: UInt64(bytes.count))
        #expect(throws: StorageError.sessionBusy(Given.session(1))) {
            _ = try store.stage(Given.session(1), expectedBytes: nil)
        }
        try bytes[..<1_000_001].withUnsafeBytes { try file.append($0) }
        try file.setNotes(Array("etag".utf8))
        #expect(file.durableByteCount == 0)
        try file.sync()
        #expect(file.durableByteCount == 1_000_001)
        try bytes[1_000_001..<1_200_000].withUnsafeBytes { try file.append($0) }
        #expect(file.byteCount == 1_200_000)
        // The process dies: what was not synced is gone.
        file.close()
        store.close()
        store = try host.open()
        #expect(try store.sessions().map(\.id) == [Given.session(1)])
        file = try store.stage(Given.session(1), expectedBytes: UInt64(bytes.count))
        #expect(file.byteCount == 1_000_001)
        #expect(try file.notes() == Array("etag".utf8))
        try bytes[1_000_001...].withUnsafeBytes { try file.append($0) }
        #expect(try file.digest() == Digest.sha256(bytes))
        let source = try file.source()
        #expect(source.byteCount == UInt64(bytes.count))
        var back = [UInt8](repeating: 1, count: bytes.count)
        #expect(try back.withUnsafeMutableBytes { try source.read(into: $0, at: 0) } == bytes.count)
        #expect(back == bytes)
        // Zeros became holes.
        #expect(try source.dataRun(from: 500_000).map { $0.lowerBound } ?? 0 > 800_000)
        try file.reset()
        #expect(file.byteCount == 0)
        #expect(try file.digest() == Digest.sha256([]))
        file.close()
        try store.abandon(Given.session(1))
        #expect(try store.usage().temporaryBytes == 0)
        store.close()
    }

    @Test func stagedBytesBecomeAnImage() throws {
        let host = try HostStore()
        let store = try host.open()
        let bytes = Given.disk(seed: 12, byteCount: 1_000_000)
        let file = try store.stage(Given.session(1), expectedBytes: UInt64(bytes.count))
        try bytes.withUnsafeBytes { try file.append($0) }
        try file.sync()
        let source = try file.source()
        let facts = try store.ingest(
            Given.session(1), as: Given.declaration(1), from: SourceDisk(source: source),
            sourceDigest: try file.digest(),
            sourceSizeBytes: source.byteCount, control: IngestControl())
        #expect(facts.sourceDigest == Digest.sha256(bytes))
        file.close()
        #expect(try store.sessions().isEmpty)
        #expect(try store.bytes(of: 1) == bytes)
        store.close()
    }

    @Test func reservationsAreKept() throws {
        let volume = CrashingVolume()
        try SliceStore.format(volume, id: Given.store, fileSystem: "", at: Given.time)
        volume.set(.init(capacity: 100 << 20))
        let directory = TemporaryDirectory()
        let store = try SliceStore.open(
            volume, expecting: nil, fileSystem: nil, options: Given.options(index: directory.path, reserved: 20 << 20))
        let first = try store.stage(Given.session(1), expectedBytes: 50 << 20)
        do {
            _ = try store.stage(Given.session(2), expectedBytes: 50 << 20)
            Issue.record("the same bytes were promised twice")
        } catch StorageError.noSpace(let needed, let available) {
            #expect(needed == 50 << 20)
            #expect(available < 30 << 20)
        }
        first.close()
        try store.abandon(Given.session(1))
        let second = try store.stage(Given.session(2), expectedBytes: 50 << 20)
        second.close()
        try store.setReserved(bytes: 99 << 20)
        #expect(throws: StorageError.self) { try store.take(Given.disk(seed: 1, byteCount: 100_000), as: 5) }
        store.close()
    }
}

/// A raw file as a disk.
struct SourceDisk: GuestDisk {
    let source: any ByteSource
    var virtualSizeBytes: UInt64 { source.byteCount }
    func extent(at offset: UInt64) throws(DiskImageError) -> GuestExtent {
        GuestExtent(range: offset..<virtualSizeBytes, isData: true)
    }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        do throws(VolumeError) { _ = try source.read(into: buffer, at: offset) } catch {
            throw .source(error.description)
        }
    }
}
