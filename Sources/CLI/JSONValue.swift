import Foundation

/// Any JSON value. The command line shows what the API sends; it does not need a type for every resource.
package enum JSONValue: Sendable, Equatable, Codable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case list([JSONValue])
    case object([String: JSONValue])

    /// Reads any value.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// Writes the value.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// A member of an object; `.null` when there is none.
    package subscript(_ key: String) -> JSONValue {
        guard case .object(let members) = self else { return .null }
        return members[key] ?? .null
    }

    /// The value at a path of members.
    package subscript(path path: [String]) -> JSONValue { path.reduce(self) { $0[$1] } }

    /// The text of a string.
    package var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The value of an integer.
    package var integer: Int64? {
        guard case .integer(let value) = self else { return nil }
        return value
    }

    /// The value of any number.
    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// The value of a boolean.
    package var bool: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    /// The elements of a list.
    package var array: [JSONValue]? {
        guard case .list(let values) = self else { return nil }
        return values
    }

    /// Whether the value is `null` or missing.
    package var isNull: Bool { self == .null }

    /// Parses JSON; nil when it is none.
    package static func parse(_ data: Data) -> JSONValue? {
        do { return try JSONDecoder().decode(JSONValue.self, from: data) } catch { return nil }
    }

    /// JSON for people: sorted and indented.
    package var pretty: String { rendered([.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]) }

    /// JSON in one line.
    package var compact: String { rendered([.sortedKeys, .withoutEscapingSlashes]) }

    private func rendered(_ format: JSONEncoder.OutputFormatting) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = format
        // Only a number that JSON cannot write (NaN) could fail, and no JSON text parses to one.
        guard let data = try? encoder.encode(self) else { return "null" }
        return String(decoding: data, as: UTF8.self)
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    /// A string.
    package init(stringLiteral value: String) { self = .string(value) }
    /// An integer.
    package init(integerLiteral value: Int64) { self = .integer(value) }
    /// A boolean.
    package init(booleanLiteral value: Bool) { self = .bool(value) }
}

/// An object that is built member by member; members without a value are left out.
struct JSONObject {
    private(set) var members: [String: JSONValue] = [:]

    mutating func set(_ key: String, _ value: String?) { members[key] = value.map(JSONValue.string) }
    mutating func set(_ key: String, _ value: Int?) { members[key] = value.map { .integer(Int64($0)) } }
    mutating func set(_ key: String, _ value: UInt64?) { members[key] = value.map { .integer(Int64(clamping: $0)) } }
    mutating func set(_ key: String, _ value: Bool?) { members[key] = value.map(JSONValue.bool) }
    mutating func set(_ key: String, _ value: JSONObject) { members[key] = value.json }
    mutating func set(_ key: String, raw value: JSONValue) { members[key] = value }

    var isEmpty: Bool { members.isEmpty }
    var json: JSONValue { .object(members) }
}
