extension Schema {
    /// This shape as JSON Schema 2020-12, as OpenAPI 3.1 has it. Named shapes become references and are added to
    /// `components`.
    func document(_ components: inout [String: JSONNode]) -> JSONNode {
        switch self {
        case .anything: return .object([:])
        case .boolean: return .object(["type": .string("boolean")])
        case .number: return .object(["type": .string("number")])
        case .integer(let minimum, let maximum):
            var out: [String: JSONNode] = ["type": .string("integer"), "format": .string("int64")]
            if minimum != .min { out["minimum"] = .integer(minimum) }
            if maximum != .max { out["maximum"] = .integer(maximum) }
            return .object(out)
        case .string(let rule): return rule.document
        case .array(let element, let countMax):
            var out: [String: JSONNode] = ["type": .string("array"), "items": element.document(&components)]
            if let countMax { out["maxItems"] = .integer(Int64(countMax)) }
            return .object(out)
        case .nullable(let inner):
            return .object(["anyOf": .array([inner.document(&components), .object(["type": .string("null")])])])
        case .named(let name, let inner):
            if components[name] == nil {
                components[name] = .object([:])
                components[name] = inner.document(&components)
            }
            return .object(["$ref": .string("#/components/schemas/\(name)")])
        case .object(let rule): return rule.document(&components)
        }
    }
}

extension Schema.StringRule {
    fileprivate var document: JSONNode {
        var out: [String: JSONNode] = ["type": .string("string")]
        if let format { out["format"] = .string(format) }
        if let values { out["enum"] = .array(values.map(JSONNode.string)) }
        if let countMax { out["maxLength"] = .integer(Int64(countMax)) }
        if let example { out["examples"] = .array([.string(example)]) }
        return .object(out)
    }
}

extension Schema.ObjectRule {
    fileprivate func document(_ components: inout [String: JSONNode]) -> JSONNode {
        var properties: [String: JSONNode] = [:]
        for field in fields {
            guard case .object(var shape) = field.schema.document(&components) else { continue }
            shape["description"] = .string(field.description)
            if field.isSecret { shape["writeOnly"] = .bool(true) }
            properties[field.name] = .object(shape)
        }
        var out: [String: JSONNode] = ["type": .string("object"), "properties": .object(properties)]
        out["additionalProperties"] = .bool(false)
        let required = fields.filter(\.isRequired).map(\.name)
        if !required.isEmpty { out["required"] = .array(required.map(JSONNode.string)) }
        if !oneOf.isEmpty {
            out["oneOf"] = .array(oneOf.map { .object(["required": .array([.string($0)])]) })
        }
        return .object(out)
    }
}
