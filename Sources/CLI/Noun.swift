import Foundation
import Model
import NIOHTTP1

/// A kind of resource: where it is, what it is called and how a list of it looks.
package struct Noun: Sendable {
    /// The collection's path.
    package let path: String
    /// The word for one.
    package let word: String
    /// The columns of a list.
    package let columns: [Column]

    package static let dataCenter = Noun(
        path: "/v1/data-centers", word: "data center",
        columns: [Column("ID", "id"), Column("NAME", "name"), Column("DESCRIPTION", "description")])
    package static let storage = Noun(
        path: "/v1/image-storages", word: "image storage",
        columns: [
            Column("ID", "id"), Column("NAME", "name"), Column("TYPE", "type"), Column("STATE", "state"),
            Column("STATUS", "status"), Column("HOST", "host", "address"), Column("MOUNT PATH", "mountPath"),
            .bytes("AVAILABLE", "capacity", "availableBytes"), .bytes("TOTAL", "capacity", "totalBytes"),
        ])
    static let image = Noun(
        path: "/v1/images", word: "image",
        columns: [
            Column("ID", "id"), Column("NAME", "name"), Column("TYPE", "type"), Column("FORMAT", "format"),
            Column("STATUS", "status"), .bytes("SIZE", "virtualSizeBytes"), .bytes("STORED", "storedBytes"),
            Column("CREATED", "createdAt"),
        ])
    package static let job = Noun(
        path: "/v1/jobs", word: "job",
        columns: [
            Column("ID", "id"), Column("TYPE", "type"), Column("STATE", "state"),
            Column("PROGRESS") { JobLine.percent($0) }, Column("RESOURCE") { JobLine.resource($0) },
            Column("BY", "requestedBy"), Column("CREATED", "createdAt"),
        ])
    static let user = Noun(
        path: "/v1/users", word: "user",
        columns: [Column("ID", "id"), Column("NAME", "name"), Column("ROLE", "role"), Column("CREATED", "createdAt")])
    static let token = Noun(
        path: "/v1/api-tokens", word: "API token",
        columns: [
            Column("ID", "id"), Column("NAME", "name"), Column("ROLE", "role"), Column("EXPIRES", "expiresAt"),
            Column("LAST USED", "lastUsedAt"),
        ])
    static let param = Noun(
        path: "/v1/system-parameters", word: "system parameter",
        columns: [
            Column("NAME", "name"), Column("VALUE", "value"), Column("DEFAULT", "default"),
            Column("DESCRIPTION", "description"),
        ])
    package static let audit = Noun(
        path: "/v1/audit-log", word: "audit record",
        columns: [
            Column("TIME", "createdAt"), Column("WHO", "username"), Column("ADDRESS", "address"),
            Column("ACTION", "action"), Column("RESOURCE") { JobLine.resource($0) }, Column("OUTCOME", "outcome"),
        ])

    /// The path of one.
    func path(_ id: String, _ verb: String? = nil) -> String {
        path + "/" + APIClient.escaped(id) + (verb.map { "/" + $0 } ?? "")
    }
}

extension APIClient {
    /// The whole of a list, or its first `limit` items, page after page.
    func list(
        _ noun: Noun, options: ListOptions, filters: [(String, String?)] = []
    ) async throws(CLIError) -> (items: [JSONValue], hasMore: Bool) {
        var items: [JSONValue] = []
        var cursor: String?
        repeat {
            let wanted = options.all ? 500 : min(500, options.limit - items.count)
            var query = [("limit", String(wanted))]
            query += filters.compactMap { name, value in value.map { (name, $0) } }
            if let text = options.query { query.append(("q", text)) }
            if let sort = options.sort { query.append(("sort", sort)) }
            if let cursor { query.append(("cursor", cursor)) }
            let page = try await send(.GET, noun.path, query: query).json
            items += page["items"].array ?? []
            cursor = page["nextCursor"].text
        } while cursor != nil && (options.all || items.count < options.limit)
        return (items, cursor != nil)
    }

    /// Finds one by its id or its name.
    /// - Throws: `.notFound` for none; `.usage` when several bear the name.
    func find(_ noun: Noun, _ nameOrID: String, filters: [(String, String?)] = []) async throws(CLIError) -> JSONValue {
        if (try? ID<ImageKind>(parsing: nameOrID)) != nil {
            do { return try await send(.GET, noun.path(nameOrID)).json } catch {
                // A name may look like an id: only then go on with names.
                guard case .problem(let problem) = error, problem.status == 404 else { throw error }
            }
        }
        var query = [("name", nameOrID), ("limit", "10")]
        query += filters.compactMap { name, value in value.map { (name, $0) } }
        let page = try await send(.GET, noun.path, query: query).json
        let items = page["items"].array ?? []
        guard let first = items.first else {
            throw .notFound("there is no \(noun.word) with the name or id '\(CellText.harmless(nameOrID))'")
        }
        guard items.count == 1 else {
            let ids = items.compactMap { $0["id"].text }.joined(separator: "\n  - ")
            throw .usage("several have the name '\(CellText.harmless(nameOrID))'; use an id:\n  - \(ids)")
        }
        return first
    }

    /// The id of one named by its id or name.
    func id(_ noun: Noun, _ nameOrID: String, filters: [(String, String?)] = []) async throws(CLIError) -> String {
        let found = try await find(noun, nameOrID, filters: filters)
        guard let id = found["id"].text else { throw .unexpectedAnswer("a \(noun.word) came without an id") }
        return id
    }
}

extension GlobalOptions {
    /// Prints a list.
    func show(_ found: (items: [JSONValue], hasMore: Bool), of noun: Noun) {
        switch output {
        case .json:
            Terminal.print(JSONValue.object(["items": .list(found.items)]).pretty)
        case .table:
            Terminal.print(Table.render(found.items, noun.columns))
            if found.hasMore { Terminal.note("There are more: use --all or --limit.") }
        }
    }

    /// Prints one resource or answer.
    func show(_ item: JSONValue) {
        Terminal.print(output == .json ? item.pretty : Table.details(item))
    }

    /// Prints `item` as JSON, or a sentence for people.
    func report(_ item: JSONValue, _ sentence: String) {
        Terminal.print(output == .json ? item.pretty : sentence)
    }
}
