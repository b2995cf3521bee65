import AgentLink
import ControllerTestSupport
// Goal: a list gives every item once and in order, whatever the page's size; what it cannot do it refuses by name.
// Method: data centers by the API, walked by cursors; queries that are wrong, one each.
import Foundation
import HTTPTypes
import HummingbirdTesting
import Inventory
import Model
import NIOCore
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct ListTests {
    private func walk(_ bench: APIBench, _ query: String, limit: Int) async throws -> [String] {
        var names: [String] = []
        var cursor: String?
        var pages = 0
        repeat {
            let uri = "/v1/data-centers?limit=\(limit)\(query)" + (cursor.map { "&cursor=\($0)" } ?? "")
            let page = try await bench.send(.get, uri)
            #expect(page.code == 200, "\(page.text)")
            let items = page.tree["items"].list
            #expect(items.count <= limit)
            names += items.compactMap { $0["name"].text }
            cursor = page.tree["nextCursor"].text
            pages += 1
            #expect(cursor == nil || items.count == limit)
        } while cursor != nil && pages < 100
        return names
    }

    @Test(arguments: [1, 2, 3, 7, 500])
    func pagesAddUpToTheList(limit: Int) async throws {
        let bench = try await APIBench()
        for name in ["d", "b", "a", "c", "B", "É"] {
            // Two of each moment: the id decides between them.
            if name != "c" { bench.records.clock.advance(seconds: 1) }
            _ = try await bench.add(name)
        }
        let all = ["B", "a", "b", "c", "d", "east", "É"]
        #expect(try await walk(bench, "", limit: limit) == all)
        #expect(try await walk(bench, "&sort=name", limit: limit) == all)
        #expect(try await walk(bench, "&sort=-name", limit: limit) == all.reversed())
        let byTime = try await walk(bench, "&sort=createdAt", limit: limit)
        #expect(byTime.count == all.count && Set(byTime) == Set(all))
        #expect(byTime.first == "east" && byTime.last == "É")
        #expect(try await walk(bench, "&sort=-createdAt", limit: limit) == byTime.reversed())
    }

    @Test func searchLooksIntoNameAndDescription() async throws {
        let bench = try await APIBench()
        _ = try await bench.add("one", "has 100% of it")
        _ = try await bench.add("100_two")
        #expect(try await walk(bench, "&q=100%25", limit: 10) == ["one"])
        #expect(try await walk(bench, "&q=100_", limit: 10) == ["100_two"])
        #expect(try await walk(bench, "&q=HAS+100", limit: 10) == ["one"])
        #expect(try await walk(bench, "&q=", limit: 10) == ["100_two", "east", "one"])
        #expect(try await walk(bench, "&name=east", limit: 10) == ["east"])
        #expect(try await walk(bench, "&name=EAST", limit: 10).isEmpty)
        // What looks like SQL is text.
        #expect(try await walk(bench, "&q=%27%20OR%201%3D1%20--", limit: 10).isEmpty)
    }

    @Test(arguments: [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=", "limit"),
        ("limit=9999999999999999999999", "limit"), ("sort=size", "sort"), ("sort=--name", "sort"),
        ("sort=name%20DESC", "sort"), ("cursor=00", "cursor"), ("cursor=zz", "cursor"), ("nmae=x", "nmae"),
        ("limit=1&limit=2", "limit"), ("status=nonsense", "status"), ("imageStorageId=x", "imageStorageId"),
        ("exported=yes", "exported"), ("type=tape", "type"),
    ])
    func wrongQueries(query: String, field: String) async throws {
        let bench = try await APIBench()
        try await bench.send(.get, "/v1/images?" + query).expectProblem(422, "invalid-value", field: field)
    }

    @Test func searchHasABound() async throws {
        let bench = try await APIBench()
        let long = String(repeating: "x", count: 257)
        try await bench.send(.get, "/v1/images?q=\(long)").expectProblem(422, "invalid-value", field: "q")
        #expect(try await bench.send(.get, "/v1/images?q=\(long.dropLast())").code == 200)
    }

    @Test func queryThatIsNotEncoded() async throws {
        let bench = try await APIBench()
        try await bench.send(.get, "/v1/images?q=%zz").expectProblem(400, "malformed-request")
        try await bench.send(.get, "/v1/images?q=%ff").expectProblem(400, "malformed-request")
    }

    @Test func cursorIsOfItsOrder() async throws {
        let bench = try await APIBench()
        _ = try await bench.add("west")
        let cursor = try #require(
            try await bench.send(.get, "/v1/data-centers?limit=1&sort=name").tree["nextCursor"].text)
        for other in ["sort=-name", "sort=createdAt"] {
            try await bench.send(.get, "/v1/data-centers?limit=1&\(other)&cursor=\(cursor)")
                .expectProblem(422, "invalid-value", field: "cursor")
        }
        #expect(
            try await bench.send(.get, "/v1/data-centers?limit=1&cursor=\(cursor)").tree["items"][0]["name"].text
                == "west")
    }

    @Test func itemsThatComeAndGoDoNotShiftPages() async throws {
        let bench = try await APIBench()
        var ids: [String] = []
        for name in ["a", "b", "c", "f"] { ids.append(try await bench.add(name)) }
        let first = try await bench.send(.get, "/v1/data-centers?limit=2").tree
        #expect(first["items"].list.map { $0["name"].text } == ["a", "b"])
        #expect(try await bench.send(.delete, "/v1/data-centers/\(ids[1])").code == 204)
        _ = try await bench.add("aa")
        let cursor = try #require(first["nextCursor"].text)
        let rest = try await bench.send(.get, "/v1/data-centers?limit=9&cursor=\(cursor)").tree
        #expect(rest["items"].list.map { $0["name"].text } == ["c", "east", "f"])
    }

    @Test func auditLogIsPagedNewestFirst() async throws {
        let bench = try await APIBench()
        for name in ["a", "b", "c"] { _ = try await bench.add(name) }
        let first = try await bench.send(.get, "/v1/audit-log?limit=2").tree
        #expect(first["chain"]["isIntact"].bool == true)
        let cursor = try #require(first["nextCursor"].text)
        let second = try await bench.send(.get, "/v1/audit-log?limit=2&cursor=\(cursor)").tree
        let numbers = (first["items"].list + second["items"].list).compactMap { $0["sequence"].int }
        #expect(numbers == (0..<4).map { (numbers.first ?? 0) - $0 })
        try await bench.send(.get, "/v1/audit-log?cursor=x").expectProblem(422, "invalid-value", field: "cursor")
    }

    @Test func filtersOfEachList() async throws {
        let bench = try await APIBench()
        for (uri, count) in [
            ("/v1/image-storages?dataCenterId=\(bench.dataCenter)", 1),
            ("/v1/image-storages?dataCenterId=\(bench.storage)", 0), ("/v1/image-storages?status=connected", 1),
            ("/v1/image-storages?state=disabled", 0), ("/v1/image-storages?hostAddress=192.0.2.7", 1),
            ("/v1/images?imageStorageId=\(bench.storage)", 1), ("/v1/images?status=creating", 0),
            ("/v1/images?exported=false", 1), ("/v1/images?format=raw&type=disk", 1),
            ("/v1/images?contentDigest=\(bench.agents.facts(bench.image).contentDigest)", 1),
            ("/v1/users?role=viewer", 1), ("/v1/jobs?state=queued", 0), ("/v1/api-tokens", 0),
        ] {
            let answer = try await bench.send(.get, uri)
            #expect(answer.code == 200, "\(uri): \(answer.text)")
            #expect(answer.tree["items"].list.count == count, "\(uri)")
        }
    }
}
