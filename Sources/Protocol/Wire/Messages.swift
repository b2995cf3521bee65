import FoundationEssentials

/// The JSON of messages: sorted keys, at most 1 MiB.
package enum Messages {
    private struct Request<V: AgentVerb>: Codable {
        var verb: String
        var arguments: V
    }
    private struct VerbName: Decodable { var verb: String }

    /// A request's body: `{"arguments":{…},"verb":"…"}`.
    package static func request<V: AgentVerb>(_ verb: V) throws(WireError) -> [UInt8] {
        try encode(Request(verb: V.name, arguments: verb))
    }

    /// The name of the verb in a request.
    package static func verbName(_ body: [UInt8]) throws(WireError) -> String {
        try decode(VerbName.self, from: body).verb
    }

    /// The arguments of a request.
    package static func arguments<V: AgentVerb>(of type: V.Type, from body: [UInt8]) throws(WireError) -> V {
        try decode(Request<V>.self, from: body).arguments
    }

    /// The bytes of a reply, failure or progress.
    package static func encode(_ value: some Encodable) throws(WireError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes: [UInt8]
        do { bytes = Array(try encoder.encode(value)) } catch { throw .badMessage("cannot be written: \(error)") }
        guard bytes.count <= WireLimits.messageByteCountMax else {
            throw .badMessage("\(bytes.count) bytes, at most \(WireLimits.messageByteCountMax) are allowed")
        }
        return bytes
    }

    /// Reads a message; unknown fields are skipped.
    package static func decode<T: Decodable>(_ type: T.Type, from bytes: [UInt8]) throws(WireError) -> T {
        guard bytes.count <= WireLimits.messageByteCountMax else { throw .badMessage("\(bytes.count) bytes") }
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
            throw .badMessage(describe(error))
        }
    }

    private static func describe(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return "\(error)" }
        let context: DecodingError.Context
        switch error {
        case .typeMismatch(_, let found), .valueNotFound(_, let found), .dataCorrupted(let found): context = found
        case .keyNotFound(let key, let found):
            return "no '\(key.stringValue)' at /" + found.codingPath.map(\.stringValue).joined(separator: "/")
        @unknown default: return "\(error)"
        }
        let path = context.codingPath.map(\.stringValue).joined(separator: "/")
        return "at /\(path): \(context.debugDescription)"
    }
}
