// Goal: whatever call the agent dies at, an acknowledged image reads back exactly, nothing half-done shows, and the work
// succeeds when it is done again (docs/store.md, rules 1 to 6, 11, 12, 14).
// Method: a scenario of ingest, update, removal and abandonment on a volume that stops at the N-th call, for N from 1 until
// a run passes untouched; then the process is killed or the power is cut, the index is kept or lost, and a new store opens.
import DiskImage
import Model
import SliceStorage
import Storage
import TestSupport
import Testing
import Volumes

/// What the scenario was told to be done.
private struct Acknowledged {
    var present: [UInt64: [UInt8]] = [:]
    /// Neither promise: the call did not return.
    var unsure: Set<UInt64> = []
}

private struct Scenario {
    let first = Given.disk(seed: 21, byteCount: 400_000)
    let second: [UInt8]
    let third = Given.disk(seed: 23, byteCount: 150_000)

    init() {
        // Half of it is in the first image, too.
        second = Array(first[..<200_000]) + Given.disk(seed: 22, byteCount: 200_000)
    }

    /// Runs until the volume dies; what returned is acknowledged.
    func run(_ volume: CrashingVolume, index: String) -> Acknowledged {
        var done = Acknowledged()
        do {
            let store = try SliceStore.open(
                volume, expecting: Given.store, fileSystem: nil, options: Given.options(workers: 1, index: index))
            defer { store.close() }
            done.unsure = [1]
            try store.take(first, as: 1)
            done.present[1] = first
            done.unsure = [2]
            try store.take(second, as: 2)
            done.present[2] = second
            done.unsure = []
            _ = try store.update(Given.image(2), name: "renamed", description: "")
            // An upload that is given up.
            let staged = try store.stage(Given.session(7), expectedBytes: 10_000)
            try third.withUnsafeBytes { try staged.append($0) }
            try staged.sync()
            staged.close()
            try store.abandon(Given.session(7))
            done.unsure = [1]
            done.present[1] = nil
            try store.remove(Given.image(1))
            done.unsure = [3]
            try store.take(third, as: 3)
            done.present[3] = third
            done.unsure = []
        } catch {}
        return done
    }

    func content(_ number: UInt64) -> [UInt8] { number == 1 ? first : number == 2 ? second : third }
}

@Suite struct CrashTests {
    private func formatted() throws -> CrashingVolume {
        let volume = CrashingVolume()
        try SliceStore.format(volume, id: Given.store, fileSystem: "", at: Given.time)
        return volume
    }

    private func check(
        _ volume: CrashingVolume, index: String, _ done: Acknowledged, _ scenario: Scenario, _ at: String
    ) throws {
        let store = try SliceStore.open(
            volume, expecting: Given.store, fileSystem: nil, options: Given.options(workers: 1, index: index))
        let present = try store.images().map(\.declaration.id)
        for (number, bytes) in done.present {
            #expect(try store.bytes(of: number) == bytes, "\(at): image \(number)")
        }
        for number in 1...3 where present.contains(Given.image(UInt64(number))) {
            let number = UInt64(number)
            #expect(done.present[number] != nil || done.unsure.contains(number), "\(at): image \(number) shows")
            #expect(try store.bytes(of: number) == scenario.content(number), "\(at): image \(number)")
        }
        #expect(volume.files().keys.allSatisfy { !$0.hasSuffix(".tmp") }, "\(at): temporaries")
        // Asking again is the recovery; and in the end only what is needed is there.
        for number in [UInt64(1), 2, 3] {
            try store.take(scenario.content(number), as: number)
            #expect(try store.bytes(of: number) == scenario.content(number), "\(at): again \(number)")
        }
        for number in [UInt64(1), 2, 3] { try store.remove(Given.image(number)) }
        for session in try store.sessions() { try store.abandon(session.id) }
        let left = volume.files().keys.filter {
            $0.hasPrefix("blobs/") || $0.hasPrefix("sessions/") || $0.hasPrefix("images/")
        }
        #expect(left.isEmpty, "\(at): \(left)")
        #expect(try store.usage().storedBytes == 0, "\(at)")
        store.close()
    }

    @Test(arguments: 0..<4) func killedAtEveryCall(part: Int) throws {
        let scenario = Scenario()
        var at = 1 + part
        while true {
            let volume = try formatted()
            let directory = TemporaryDirectory()
            volume.set(.init(killAt: at))
            let done = scenario.run(volume, index: directory.path)
            let died = volume.isDead
            // One index goes on as the dead process left it, the other is lost; in turns.
            let lost = TemporaryDirectory()
            let isKept = at / 4 % 2 == 0
            try check(
                volume.afterKill(), index: isKept ? directory.path : lost.path, done, scenario,
                "killed at \(at), index kept: \(isKept)")
            try check(
                volume.afterPowerCut(seed: UInt64(at)), index: isKept ? lost.path : directory.path, done, scenario,
                "power cut at \(at), index kept: \(!isKept)")
            if !died { break }
            at += 4
        }
        #expect(at > 100)
    }

    @Test func everySyncFails() throws {
        let scenario = Scenario()
        var at = 1
        while true {
            let volume = try formatted()
            let directory = TemporaryDirectory()
            volume.set(.init(failSyncAt: at))
            let done = scenario.run(volume, index: directory.path)
            let count = volume.syncCount
            volume.set(.init())
            try check(volume.afterKill(), index: directory.path, done, scenario, "sync \(at) failed")
            if count < at { break }
            at += 1
        }
        #expect(at > 20)
    }

    @Test func everySizeOfDisk() throws {
        let scenario = Scenario()
        for capacity in stride(from: UInt64(8 << 20), through: 48 << 20, by: 2 << 20) {
            let volume = try formatted()
            let directory = TemporaryDirectory()
            volume.set(.init(capacity: capacity))
            let done = scenario.run(volume, index: directory.path)
            volume.set(.init())
            try check(volume.afterKill(), index: directory.path, done, scenario, "disk of \(capacity)")
        }
    }
}
