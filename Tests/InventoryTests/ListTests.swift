// Goal: lists are complete, in order, without doubles while rows come and go, and cost the same everywhere.
// Method: walk them page by page; ask SQLite for its plan.
import ControllerTestSupport
import Inventory
import Model
import Secrets
import Testing

@Suite struct Lists {
    private func bench(images: Int) async throws -> (InventoryBench, ImageStorageRecord) {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        let place = storage(bench, center, "s")
        let other = storage(bench, center, "t")
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            try transaction.insert(place)
            try transaction.insert(other)
            for number in 0..<images {
                // Names repeat, so that the id must decide.
                try transaction.insert(image(bench, number % 3 == 0 ? other : place, "image \(number / 2)"))
                bench.clock.advance(seconds: 1)
            }
        }
        return (bench, place)
    }

    private func walk(_ bench: InventoryBench, _ query: Query) async throws -> [ImageRecord] {
        var query = query
        var all: [ImageRecord] = []
        repeat {
            let page = try await bench.inventory.list(ImageRecord.self, query)
            #expect(page.items.count <= query.limit)
            all += page.items
            query.cursor = page.nextCursor
        } while query.cursor != nil
        return all
    }

    @Test(arguments: ["name", "-name", "createdAt", "-createdAt", "updatedAt", "-updatedAt"])
    func everyOrderIsComplete(_ sort: String) async throws {
        let (bench, _) = try await bench(images: 50)
        let all = try await walk(bench, Query(limit: 7, sort: sort))
        #expect(Set(all.map(\.id)).count == 50)
        let column = sort.replacing("-", with: "")
        let keys = all.map { column == "name" ? $0.name : $0.createdAt.description }
        #expect(keys == (sort.hasPrefix("-") ? keys.sorted(by: >) : keys.sorted()))
    }

    @Test func filtersAndSearch() async throws {
        let (bench, place) = try await bench(images: 30)
        let mine = try await walk(bench, Query(limit: 4, filters: ["imageStorageID": [place.id.description]]))
        #expect(mine.count == 20)
        #expect(mine.allSatisfy { $0.imageStorageID == place.id })
        #expect(try await walk(bench, Query(search: "IMAGE 1")).count == 12)
        #expect(try await walk(bench, Query(search: "made of image 14")).count == 2)
        #expect(try await walk(bench, Query(search: "%")).isEmpty)
        #expect(try await walk(bench, Query(search: "i_age")).isEmpty)
        #expect(
            try await walk(bench, Query(filters: ["exported": ["false"], "type": ["disk", "system"]])).count == 30)
        #expect(try await walk(bench, Query(filters: ["status": ["ready"]])).isEmpty)
        #expect(try await bench.inventory.count(ImageRecord.self, by: "status") == ["creating": 30])
    }

    @Test func removedRowsDoNotUpsetACursor() async throws {
        let (bench, _) = try await bench(images: 10)
        let first = try await bench.inventory.list(ImageRecord.self, Query(limit: 5))
        try await bench.write { transaction throws(InventoryError) in
            for image in first.items { try transaction.delete(ImageRecord.self, image.id) }
        }
        let second = try await bench.inventory.list(ImageRecord.self, Query(limit: 10, cursor: first.nextCursor))
        #expect(second.items.count == 5)
        #expect(Set(second.items.map(\.id)).isDisjoint(with: first.items.map(\.id)))
    }

    @Test(arguments: [
        (Query(limit: 0), "limit"), (Query(limit: 501), "limit"), (Query(cursor: "zz"), "cursor"),
        (Query(cursor: "00"), "cursor"), (Query(filters: ["id; DROP TABLE image": ["1"]]), "id; DROP TABLE image"),
        (Query(filters: ["exported": ["maybe"]]), "exported"), (Query(filters: ["name": []]), "name"),
        (Query(sort: "description"), "sort"), (Query(sort: "--name"), "sort"),
        (Query(search: String(repeating: "x", count: 2000)), "q"),
    ])
    func badQueriesNameTheField(_ query: Query, _ field: String) async throws {
        let bench = try InventoryBench()
        do {
            _ = try await bench.inventory.list(ImageRecord.self, query)
            Issue.record("the query was accepted")
        } catch InventoryError.badQuery(let found, _) {
            #expect(found == field)
        }
    }

    @Test func aCursorBelongsToItsOrder() async throws {
        let (bench, _) = try await bench(images: 3)
        let page = try await bench.inventory.list(ImageRecord.self, Query(limit: 1, sort: "name"))
        await #expect(throws: InventoryError.self) {
            try await bench.inventory.list(ImageRecord.self, Query(limit: 1, cursor: page.nextCursor, sort: "-name"))
        }
    }

    @Test(arguments: [nil, "imageStorageID", "status"], ["name", "-name", "createdAt", "-createdAt"])
    func everyOrderIsIndexBacked(_ filter: String?, _ sort: String) async throws {
        let (bench, place) = try await bench(images: 3)
        let cursor = try await bench.inventory.list(ImageRecord.self, Query(limit: 1, sort: sort)).nextCursor
        let value = filter == "status" ? "ready" : place.id.description
        let query = Query(limit: 50, cursor: cursor, filters: filter.map { [$0: [value]] } ?? [:], sort: sort)
        let plan = try await bench.inventory.explain(ImageRecord.self, query).joined(separator: "; ")
        #expect(plan.contains("USING INDEX"))
        #expect(!plan.contains("TEMP B-TREE"))
    }
}

@Suite struct Events {
    @Test func resumeWithoutLossOrDouble() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        let place = storage(bench, center, "s")
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            try transaction.insert(place)
        }
        let last = try await bench.inventory.lastEventSequence()
        #expect(last == 1)
        let early = try await bench.inventory.events(after: 0)
        let late = try await bench.inventory.events(after: nil)
        for number in 0..<20 {
            try await bench.write { transaction throws(InventoryError) in
                try transaction.change(ImageStorageRecord.self, place.id) { $0.description = "\(number)" }
                try transaction.change(ImageStorageRecord.self, place.id, .quiet) { $0.statusReason = "\(number)" }
            }
        }
        try await bench.write { transaction throws(InventoryError) in
            try transaction.delete(ImageStorageRecord.self, place.id)
        }
        let job: JobID = bench.randomness.id()
        bench.inventory.note(JobProgress(fraction: 0.5), of: job)
        try bench.inventory.close()
        var seen: [EventRecord] = []
        for await event in early { seen.append(event) }
        #expect(seen.compactMap(\.sequence) == Array(1...22))
        #expect(seen.first?.change == .created)
        #expect(seen[21].change == .deleted)
        #expect(seen.last?.change == .progressed)
        #expect(seen.last?.sequence == nil)
        #expect(seen.last?.progress?.fraction == 0.5)
        var newer: [EventRecord] = []
        for await event in late { newer.append(event) }
        #expect(newer == Array(seen.dropFirst()))
    }

    @Test func onlySoManyAreKept() async throws {
        let bench = try InventoryBench()
        let center = dataCenter(bench, "one")
        let place = storage(bench, center, "s")
        try await bench.write { transaction throws(InventoryError) in
            try transaction.insert(center)
            try transaction.insert(place)
            for _ in 0..<(InventoryLimits.eventsKept + 600) {
                try transaction.change(ImageStorageRecord.self, place.id, .observation) { $0.status = .connected }
            }
        }
        let stream = try await bench.inventory.events(after: 0)
        try bench.inventory.close()
        var sequences: [Int64] = []
        for await event in stream { event.sequence.map { sequences.append($0) } }
        #expect(sequences.count <= Int(InventoryLimits.eventsKept) + 256)
        #expect(sequences.first.map { $0 > 300 } == true)
    }
}
