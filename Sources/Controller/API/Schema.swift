/// The shape of a JSON value: requests are checked against it, and the OpenAPI document shows it.
indirect enum Schema: Sendable {
    case string(StringRule)
    case integer(minimum: Int64, maximum: Int64)
    case number
    case boolean
    case array(Schema, countMax: Int?)
    case object(ObjectRule)
    /// Any JSON value.
    case anything
    /// The value or `null`.
    case nullable(Schema)
    /// A shape with a name in the document's components.
    case named(String, Schema)

    /// What a string must be.
    struct StringRule: Sendable {
        /// The format of JSON Schema, such as `uuid`.
        var format: String?
        /// The only values there are.
        var values: [String]?
        /// The most characters.
        var countMax: Int?
        /// An example for readers.
        var example: String?
    }

    /// What an object must have.
    struct ObjectRule: Sendable {
        var fields: [Field]
        /// Exactly one of these must be present.
        var oneOf: [String] = []
    }

    /// A member of an object.
    struct Field: Sendable {
        var name: String
        var schema: Schema
        var isRequired: Bool
        var description: String
        /// Accepted, never returned.
        var isSecret = false
    }
}

extension Schema {
    static let text = Schema.string(StringRule())
    static let uuid = Schema.string(StringRule(format: "uuid"))
    static let dateTime = Schema.string(StringRule(format: "date-time"))
    static let digest = Schema.string(StringRule(countMax: 80, example: "sha256:9f86d081884c7d65…"))
    static let network = Schema.string(StringRule(countMax: 64, example: "10.1.0.0/24"))
    static let byteCount = Schema.integer(minimum: 0, maximum: .max)
    static let count = Schema.integer(minimum: 0, maximum: .max)
    static let concurrency = Schema.integer(minimum: 1, maximum: 16)
    static let name = Schema.string(StringRule(countMax: 512))
    static let description = Schema.string(StringRule(countMax: 8192))

    static func text(max: Int) -> Schema { .string(StringRule(countMax: max)) }

    /// The values of a Swift enumeration.
    static func oneOf<E: CaseIterable & RawRepresentable>(_ type: E.Type) -> Schema where E.RawValue == String {
        .string(StringRule(values: E.allCases.map(\.rawValue)))
    }

    static func values(_ values: String...) -> Schema { .string(StringRule(values: values)) }

    /// An object with a name in the document.
    static func object(_ name: String, _ fields: [Field], oneOf: [String] = []) -> Schema {
        .named(name, .object(ObjectRule(fields: fields, oneOf: oneOf)))
    }

    /// The shape itself, without its name.
    var resolved: Schema {
        if case .named(_, let inner) = self { return inner.resolved }
        return self
    }

    /// The fields of an object; none for anything else.
    var fields: [Field] {
        if case .object(let rule) = resolved { return rule.fields }
        return []
    }

    /// A page of this shape.
    func page(_ name: String) -> Schema {
        .object(
            name,
            [
                .required("items", .array(self, countMax: nil), "The items, in order."),
                .optional("nextCursor", .text, "Where the next page begins; absent on the last."),
            ])
    }
}

extension Schema.Field {
    static func required(_ name: String, _ schema: Schema, _ description: String) -> Self {
        .init(name: name, schema: schema, isRequired: true, description: description)
    }
    static func optional(_ name: String, _ schema: Schema, _ description: String) -> Self {
        .init(name: name, schema: schema, isRequired: false, description: description)
    }
    static func secret(_ name: String, _ schema: Schema, _ description: String, isRequired: Bool = false) -> Self {
        .init(name: name, schema: schema, isRequired: isRequired, description: description, isSecret: true)
    }
}
