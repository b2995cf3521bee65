import Inventory
import Model

/// How a kind of resource is listed: the query parameters, and the columns of the inventory that they mean.
struct ListShape: Sendable {
    /// A filter: the name in the API, the column, and what its value must be.
    struct Filter: Sendable {
        var name: String
        var column: String
        var schema: Schema

        init(_ name: String, _ column: String? = nil, _ schema: Schema = .text(max: 512)) {
            self.name = name
            self.column = column ?? name
            self.schema = schema
        }
    }

    var filters: [Filter]
    var sorts: [String]
    var isSearchable = true

    /// The parameters, for the declaration of the route.
    var parameters: [RouteParameter] {
        var out = [
            RouteParameter(
                name: "limit", schema: .integer(minimum: 1, maximum: Int64(Limits.pageItemCountMax)),
                description: "The most items of the page; \(Limits.pageItemCountStandard) when absent."),
            RouteParameter(name: "cursor", schema: .text, description: "The nextCursor of the page before."),
        ]
        if !sorts.isEmpty {
            let values = sorts.flatMap { [$0, "-" + $0] }
            out.append(
                RouteParameter(
                    name: "sort", schema: .string(.init(values: values)), description: "The order; '-' is descending."))
        }
        if isSearchable {
            out.append(
                RouteParameter(
                    name: "q", schema: .text(max: Limits.searchCountMax),
                    description: "Only items whose name or description has this text."))
        }
        return out
            + filters.map {
                RouteParameter(name: $0.name, schema: $0.schema, description: "Only items with this \($0.name).")
            }
    }

    /// The inventory's query for a request.
    func query(_ request: APIRequest) throws(APIError) -> Query {
        var query = Query(limit: Limits.pageItemCountStandard)
        for parameter in parameters {
            guard let text = request.query[parameter.name] else { continue }
            if parameter.name == "limit" {
                query.limit = try ListShape.limit(text)
            } else {
                try ListShape.check(text, parameter)
            }
        }
        query.cursor = request.query["cursor"]
        query.sort = request.query["sort"]
        query.search = request.query["q"]
        for filter in filters {
            if let text = request.query[filter.name] { query.filters[filter.column] = [text] }
        }
        return query
    }

    static func limit(_ text: String?) throws(APIError) -> Int {
        guard let text else { return Limits.pageItemCountStandard }
        guard let limit = Int(text), (1...Limits.pageItemCountMax).contains(limit) else {
            throw .invalid("limit", "this must be a whole number from 1 to \(Limits.pageItemCountMax)")
        }
        return limit
    }

    private static func check(_ text: String, _ parameter: RouteParameter) throws(APIError) {
        do { try parameter.schema.check(.string(text)) } catch {
            throw .invalid(parameter.name, error.detail)
        }
        if case .string(let rule) = parameter.schema, rule.format == "uuid",
            (try? ID<ImageKind>(parsing: text)) == nil
        {
            throw .invalid(parameter.name, "this must be an id")
        }
    }
}

/// A page as it is sent.
struct PageView<Item: Encodable & Sendable>: Encodable, Sendable {
    var items: [Item]
    var nextCursor: String?

    init<R: Sendable>(_ page: Page<R>, _ view: (R) -> Item) {
        items = page.items.map(view)
        nextCursor = page.nextCursor
    }
}
