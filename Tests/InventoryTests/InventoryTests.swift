// Goal: the inventory keeps what it was given, in order, durably, and notices when it was tampered with.
// Method: a real SQLite file in a directory of its own; what must not be done through the inventory is done with SQL.
import ControllerTestSupport
import Foundation
import GRDB
import Inventory
import Model
import Secrets
import Testing

private func raw(_ bench: InventoryBench, _ sql: String) throws {
    try DatabaseQueue(path: bench.path).write { db in try db.execute(sql: sql) }
}

func dataCenter(_ bench: InventoryBench, _ name: String) -> DataCenterRecord {
    DataCenterRecord(id: bench.randomness.id(), name: name, description: "", createdAt: bench.clock.wall.now())
}

func storage(_ bench: InventoryBench, _ center: DataCenterRecord, _ name: String) -> ImageStorageRecord {
    ImageStorageRecord(
        id: bench.randomness.id(), name: name, description: "", type: .standalone, dataCenterID: center.id,
        hostAddress: "10.0.0.1", sshPort: 22, username: "root", hostKey: nil, credentialKind: .password,
        diskMethod: .localDirectory, diskDevice: nil, mountPath: "/\(name)", retrieveExistingImages: false,
        imageSyncNetwork: nil, dataNetwork: nil, reservedCapacityBytes: 1 << 30, blobUploadConcurrency: 1,
        blobDownloadConcurrency: 1, createdAt: bench.clock.wall.now())
}

func image(_ bench: InventoryBench, _ storage: ImageStorageRecord, _ name: String) -> ImageRecord {
    ImageRecord(
        id: bench.randomness.id(), imageStorageID: storage.id, name: name, description: "made of \(name)", type: .disk,
        format: .raw, sourceKind: .hostPath, sourceText: "/x/\(name)", createdAt: bench.clock.wall.now())
}

@Suite struct Durability {
    @Test func commitsAreOnTheDisk() async throws {
        let bench = try InventoryBench()
        let found = try await bench.inventory.durability()
        #expect(found.journal == "wal")
        #expect(found.synchronous == 2)
    }

    @Test func secondControllerIsRefused() throws {
        let bench = try InventoryBench()
        #expect(throws: InventoryError.self) {
            try Inventory.open(path: bench.path, sealer: InventoryBench.sealer(), clock: bench.clock.wall)
        }
    }

    @Test func otherKeyIsNoticedAtTheStart() throws {
        let bench = try InventoryBench()
        try bench.inventory.close()
        #expect(throws: InventoryError.secrets(.cannotOpen)) {
            try Inventory.open(path: bench.path, sealer: InventoryBench.sealer(8), clock: bench.clock.wall)
        }
    }

    @Test func newerSchemaIsRefused() throws {
        let bench = try InventoryBench()
        try bench.inventory.close()
        try raw(bench, "INSERT INTO grdb_migrations VALUES ('99')")
        #expect(throws: InventoryError.newerSchema(bench.path)) {
            try Inventory.open(path: bench.path, sealer: InventoryBench.sealer(), clock: bench.clock.wall)
        }
    }

    @Test func schemaVersion1IsWhatItWas() throws {
        let bench = try InventoryBench()
        let sql = try DatabaseQueue(path: bench.path).read { db in
            try String.fetchAll(
                db,
                // What SQLite and GRDB keep for themselves is theirs to change.
                sql: """
                    SELECT sql FROM sqlite_master
                    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'grdb_%' ORDER BY name
                    """)
        }
        let words = sql.joined(separator: ";").split(whereSeparator: \.isWhitespace).joined(separator: " ")
        // A change here is a new version: add a migration, do not edit version 1.
        #expect(
            Digest.sha256(Array(words.utf8)).hex == "290326e8f57dc5f6daa255ccd5626cb705de8842a22312d90492fc275dcd44fc")
    }

    @Test func backupIsWholeAndOpens() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        try await bench.write { transaction throws(InventoryError) in try transaction.insert(center) }
        let copy = bench.directory.path + "/copy.sqlite"
        try await bench.inventory.backUp(to: copy)
        let opened = try Inventory.open(path: copy, sealer: InventoryBench.sealer(), clock: bench.clock.wall)
        #expect(try await opened.find(DataCenterRecord.self, center.id) == center)
        try opened.close()
        await #expect(throws: InventoryError.self) { try await bench.inventory.backUp(to: copy) }
    }

    @Test func throwingUndoesAll() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        await #expect(throws: InventoryError.database("no")) {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.insert(center)
                throw .database("no")
            }
        }
        #expect(try await bench.inventory.find(DataCenterRecord.self, center.id) == nil)
        #expect(try await bench.inventory.lastEventSequence() == 0)
    }
}

@Suite struct Records {
    @Test func everyFieldComesBackAndNilComesBackAsNil() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        let made = storage(bench, center, "s")
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            try transaction.insert(made)
        }
        #expect(try await bench.inventory.find(ImageStorageRecord.self, made.id) == made)
        let usage = StorageUsage(
            totalBytes: .max, usedBytes: 1, availableBytes: 2, reservedBytes: 3, images: 4, logicalBytes: 5,
            referencedBytes: 6, storedBytes: 7, reclaimableBytes: 8, temporaryBytes: 9)
        let filled = try await bench.write { transaction throws(InventoryError) in
            try transaction.change(ImageStorageRecord.self, made.id) { storage in
                storage.usage = usage
                storage.statusReason = "x"
                storage.storeID = bench.randomness.id()
                storage.diskChoice = DiskChoice(device: "/dev/vdb", id: "serial:1", sizeBytes: 5)
                storage.hostScope = .system
                storage.lastSeenAt = storage.createdAt
            }
        }
        #expect(filled.revision == 2)
        #expect(try await bench.inventory.find(ImageStorageRecord.self, made.id) == filled)
        let emptied = try await bench.write { transaction throws(InventoryError) in
            try transaction.change(ImageStorageRecord.self, made.id, .quiet) { storage in
                storage.usage = nil
                storage.statusReason = nil
                storage.storeID = nil
            }
        }
        #expect(emptied.revision == 2)
        #expect(try await bench.inventory.find(ImageStorageRecord.self, made.id) == emptied)
    }

    @Test func imageTakesFactsThatAreTooLarge() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        let place = storage(bench, center, "s")
        var made = image(bench, place, "i")
        made.take(
            ImageFacts(
                declaration: ImageDeclaration(
                    id: made.id, name: "i", description: "", type: .disk, format: .raw, createdAt: made.createdAt),
                virtualSizeBytes: .max, referencedBytes: .max, storedBytes: .max,
                contentDigest: Digest.sha256([1]), sourceDigest: nil, sourceSizeBytes: .max, storedAt: made.createdAt))
        let taken = made
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            try transaction.insert(place)
            try transaction.insert(taken)
        }
        #expect(try await bench.inventory.find(ImageRecord.self, made.id)?.virtualSizeBytes == UInt64(Int64.max))
    }

    @Test func staleAndTakenAndMissing() async throws {
        let bench = try InventoryBench()
        let one = dataCenter(bench, "one")
        let other = dataCenter(bench, "one")
        try await bench.write { transaction throws(InventoryError) in try transaction.insert(one) }
        await #expect(throws: InventoryError.notUnique(kind: "data-center", field: "name")) {
            try await bench.write { transaction throws(InventoryError) in try transaction.insert(other) }
        }
        await #expect(throws: InventoryError.stale(kind: "data-center", id: one.id.description)) {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.change(DataCenterRecord.self, one.id, ifMatch: 2) { $0.name = "two" }
            }
        }
        await #expect(throws: InventoryError.notFound(kind: "data-center", id: other.id.description)) {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.change(DataCenterRecord.self, other.id) { $0.name = "two" }
            }
        }
        let removals = try await bench.write { transaction throws(InventoryError) in
            [
                try transaction.delete(DataCenterRecord.self, one.id),
                try transaction.delete(DataCenterRecord.self, one.id),
            ]
        }
        #expect(removals == [true, false])
    }

    @Test func sameHostAndMountPathIsTaken() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        var first = storage(bench, center, "a")
        var second = storage(bench, center, "b")
        first.name = "first"
        let one = first
        second = ImageStorageRecord(
            id: second.id, name: "second", description: "", type: .standalone, dataCenterID: center.id,
            hostAddress: one.hostAddress, sshPort: 2222, username: "x", hostKey: nil, credentialKind: .password,
            diskMethod: .localDirectory, diskDevice: nil, mountPath: one.mountPath, retrieveExistingImages: false,
            imageSyncNetwork: nil, dataNetwork: nil, reservedCapacityBytes: 0, blobUploadConcurrency: 1,
            blobDownloadConcurrency: 1, createdAt: second.createdAt)
        let two = second
        await #expect(throws: InventoryError.notUnique(kind: "image-storage", field: "hostAddress+mountPath")) {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.insert(center)
                try transaction.insert(one)
                try transaction.insert(two)
            }
        }
    }
}

@Suite struct SealedValues {
    @Test func opensOnlyWhereItBelongs() async throws {
        let bench = try InventoryBench()
        let (a, b) = (dataCenter(bench, "a"), dataCenter(bench, "b"))
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(a)
            try transaction.insert(b)
            try transaction.seal(Array("secret".utf8), for: DataCenterRecord.self, a.id, field: "x")
        }
        let file = try Data(contentsOf: URL(fileURLWithPath: bench.path + "-wal"))
        #expect(file.range(of: Data("secret".utf8)) == nil)
        let opened = try await bench.write { transaction throws(InventoryError) in
            try transaction.unseal(DataCenterRecord.self, a.id, field: "x")
        }
        #expect(opened == Array("secret".utf8))
        try raw(bench, "UPDATE sealed SET row = '\(b.id)' WHERE row = '\(a.id)'")
        await #expect(throws: InventoryError.secrets(.cannotOpen)) {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.unseal(DataCenterRecord.self, b.id, field: "x")
            }
        }
    }

    @Test func goesWithItsRow() async throws {
        let bench = try InventoryBench()
        let a = dataCenter(bench, "a")
        let left = try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(a)
            try transaction.seal([1], for: DataCenterRecord.self, a.id, field: "x")
            try transaction.delete(DataCenterRecord.self, a.id)
            return try transaction.unseal(DataCenterRecord.self, a.id, field: "x")
        }
        #expect(left == nil)
    }
}

@Suite struct AuditLog {
    private func bench(lines: Int) async throws -> InventoryBench {
        let bench = try InventoryBench()
        for line in 0..<lines {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.audit(
                    AuditEntry(
                        userID: nil, username: "u\(line)", address: "10.0.0.1", action: "x.do", resource: nil,
                        outcome: .done, detail: "line \(line)"))
            }
        }
        return bench
    }

    @Test func pagesNewestFirst() async throws {
        let bench = try await bench(lines: 5)
        let first = try await bench.inventory.auditLog(limit: 3, cursor: nil)
        #expect(first.items.map(\.sequence) == [5, 4, 3])
        let second = try await bench.inventory.auditLog(limit: 3, cursor: first.nextCursor)
        #expect(second.items.map(\.sequence) == [2, 1])
        #expect(second.nextCursor == nil)
        #expect(try await bench.inventory.verifyAuditLog() == nil)
    }

    @Test(arguments: [
        ("UPDATE audit SET detail = 'other' WHERE sequence = 3", 3),
        ("UPDATE audit SET userID = '00000000-0000-4000-8000-000000000000' WHERE sequence = 2", 2),
        ("DELETE FROM audit WHERE sequence = 4", 4),
        ("UPDATE audit SET username = action, action = username WHERE sequence = 1", 1),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 5", 5),
        ("UPDATE audit SET hash = x'00' WHERE sequence = 2", 2),
    ])
    func tamperingIsFound(_ sql: String, _ line: Int64) async throws {
        let bench = try await bench(lines: 5)
        try raw(bench, sql)
        #expect(try await bench.inventory.verifyAuditLog() == line)
    }
}

@Suite struct Idempotency {
    @Test func aKeyIsClaimedAnsweredAndForgotten() async throws {
        let bench = try InventoryBench()
        let (body, other) = (Digest.sha256([1]), Digest.sha256([2]))
        func claim(_ caller: String, _ digest: Digest) async throws -> IdempotencyOutcome {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.claim(key: "k", caller: caller, route: "POST /v1/x", bodyDigest: digest)
            }
        }
        #expect(try await claim("a", body) == .fresh)
        #expect(try await claim("a", body) == .inProgress)
        #expect(try await claim("b", body) == .fresh)
        let answer = StoredAnswer(status: 202, headers: ["Location": "/v1/jobs/1"], body: [1, 2])
        try await bench.write { transaction throws(InventoryError) in
            try transaction.remember(answer, key: "k", caller: "a")
        }
        #expect(try await claim("a", body) == .replay(answer))
        #expect(try await claim("a", other) == .conflict)
        try bench.reopen()
        #expect(try await claim("a", body) == .replay(answer))
        // What was under way when the process ended was never answered.
        #expect(try await claim("b", body) == .fresh)
        bench.clock.advance(seconds: 24 * 3600 + 1)
        #expect(try await claim("a", other) == .fresh)
    }
}

@Suite struct Settings {
    @Test func standardsAndRules() async throws {
        let bench = try InventoryBench()
        let all = try await bench.write { transaction throws(InventoryError) in try transaction.systemParameters() }
        #expect(all.count == 7)
        let denied = all.first { $0.name == "url-import.deny" }
        #expect(
            denied?.value
                == .networks(
                    try ["127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"].map { try CIDR(parsing: $0) }))
        for parameter in all { #expect(SystemParameters.objection(to: parameter.value, for: parameter.name) == nil) }
        #expect(SystemParameters.objection(to: .count(0), for: "agent.ping-seconds") != nil)
        #expect(SystemParameters.objection(to: .text("5"), for: "agent.ping-seconds") != nil)
        #expect(SystemParameters.objection(to: .text("sometimes"), for: "image.deletion-policy") != nil)
        #expect(SystemParameters.objection(to: .flag(true), for: "no.such") != nil)
        try await bench.write { transaction throws(InventoryError) in
            try transaction.setSystemParameter("agent.ping-seconds", .count(9))
        }
        try bench.reopen()
        let set = try await bench.write { transaction throws(InventoryError) in
            try transaction.systemParameter("agent.ping-seconds")
        }
        #expect(set?.value == .count(9))
        #expect(set?.revision == 2)
        #expect(set?.standard == .count(5))
    }
}
