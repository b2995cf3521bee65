extension Schema {
    /// Checks a value; the error names the first thing that is wrong by its JSON pointer. Unknown fields are refused.
    func check(_ value: JSONNode, at pointer: String = "") throws(APIError) {
        switch self {
        case .named(_, let inner): try inner.check(value, at: pointer)
        case .anything: return
        case .nullable(let inner):
            if value == .null { return }
            try inner.check(value, at: pointer)
        case .boolean:
            guard case .bool = value else { throw .invalid(pointer, "this must be true or false") }
        case .number:
            switch value {
            case .integer, .number: return
            default: throw .invalid(pointer, "this must be a number")
            }
        case .integer(let minimum, let maximum): try Schema.check(value, minimum, maximum, at: pointer)
        case .string(let rule): try rule.check(value, at: pointer)
        case .array(let element, let countMax):
            guard case .array(let values) = value else { throw .invalid(pointer, "this must be a list") }
            if let countMax, values.count > countMax {
                throw .invalid(pointer, "this list may have at most \(countMax) entries")
            }
            for (index, value) in values.enumerated() { try element.check(value, at: "\(pointer)/\(index)") }
        case .object(let rule): try rule.check(value, at: pointer)
        }
    }

    private static func check(
        _ value: JSONNode, _ minimum: Int64, _ maximum: Int64, at pointer: String
    ) throws(APIError) {
        guard case .integer(let number) = value else {
            throw .invalid(pointer, "this must be a whole number" + range(minimum, maximum))
        }
        guard number >= minimum, number <= maximum else {
            throw .invalid(pointer, "\(number) is out of range: this must be a whole number" + range(minimum, maximum))
        }
    }

    private static func range(_ minimum: Int64, _ maximum: Int64) -> String {
        switch (minimum, maximum) {
        case (.min, .max): ""
        case (let least, .max): " of at least \(least)"
        default: " from \(minimum) to \(maximum)"
        }
    }

    /// A name as a part of a JSON pointer (RFC 6901).
    static func pointerPart(_ name: String) -> String {
        var out = ""
        for character in name {
            switch character {
            case "~": out += "~0"
            case "/": out += "~1"
            default: out.append(character)
            }
        }
        return "/" + out
    }
}

extension Schema.StringRule {
    func check(_ value: JSONNode, at pointer: String) throws(APIError) {
        guard case .string(let text) = value else { throw .invalid(pointer, "this must be a text") }
        if let values, !values.contains(text) {
            throw .invalid(pointer, "this must be one of: " + values.joined(separator: ", "))
        }
        if let countMax, text.unicodeScalars.count > countMax {
            throw .invalid(pointer, "this may have at most \(countMax) characters")
        }
    }
}

extension Schema.ObjectRule {
    func check(_ value: JSONNode, at pointer: String) throws(APIError) {
        guard case .object(let members) = value else { throw .invalid(pointer, "this must be an object") }
        for name in members.keys.sorted() where !fields.contains(where: { $0.name == name }) {
            let known = fields.map(\.name).joined(separator: ", ")
            throw .invalid(
                pointer + Schema.pointerPart(String(name.prefix(200))),
                known.isEmpty ? "there are no fields here" : "there is no such field; there are: \(known)")
        }
        for field in fields {
            guard let member = members[field.name] else {
                guard !field.isRequired else { throw .invalid("\(pointer)/\(field.name)", "this field is needed") }
                continue
            }
            try field.schema.check(member, at: "\(pointer)/\(field.name)")
        }
        guard !oneOf.isEmpty else { return }
        let given = oneOf.filter { members[$0] != nil }
        guard given.count == 1 else {
            throw .invalid(
                "\(pointer)/\(given.last ?? oneOf[0])", "give exactly one of: " + oneOf.joined(separator: ", "))
        }
    }
}
