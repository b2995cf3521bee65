import Foundation
import HTTPTypes
import Hummingbird
import Inventory
import Logging
import Model
import NIOCore
import Operations

/// What accompanies a request through the router.
package struct APIContext: RequestContext {
    package var coreContext: CoreRequestContextStorage
    /// The client's address, without its port.
    package let address: String

    /// Takes over what the server knows of the connection.
    package init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        address = source.channel.remoteAddress?.ipAddress ?? "-"
    }
}

/// A request whose caller is known and whose JSON fits the route's schema.
struct APIRequest: Sendable {
    let http: Request
    let context: APIContext
    /// Who asks; of no meaning on open routes.
    let caller: Caller
    /// The query, decoded; every name is one that the route declares.
    let query: [String: String]
    /// The body of a JSON route, checked; empty else.
    let bodyBytes: [UInt8]
    /// The same, as a tree.
    let body: JSONNode?

    /// A header field.
    func header(_ name: HTTPField.Name) -> String? { http.headers[name] }

    /// The id in the path. One that is none names nothing: 404.
    func id<Kind>(_ kind: String, _ type: ID<Kind>.Type = ID<Kind>.self) throws(APIError) -> ID<Kind> {
        let text = pathValue("id")
        do throws(InvalidValue) { return try ID<Kind>(parsing: text) } catch {
            throw APIError(OperationError.notFound(kind: kind, id: String(text.unicodeScalars.prefix(80))))
        }
    }

    /// A parameter of the path.
    func pathValue(_ name: String) -> String {
        let text = context.parameters.get(name) ?? ""
        return text.removingPercentEncoding ?? text
    }

    /// The revision in `If-Match`.
    func ifMatch() throws(APIError) -> Int? { try EntityTag.revision(inIfMatch: header(.ifMatch)) }

    /// The body as a type; a value that its type refuses is named by its JSON pointer.
    func decode<T: Decodable>(_ type: T.Type) throws(APIError) -> T {
        do { return try JSONDecoder().decode(type, from: Data(bodyBytes)) } catch let error as DecodingError {
            throw APIRequest.invalid(error)
        } catch {
            throw .malformed("the body cannot be read")
        }
    }

    private static func invalid(_ error: DecodingError) -> APIError {
        let context: DecodingError.Context
        var path: [any CodingKey]
        switch error {
        case .dataCorrupted(let found):
            (context, path) = (found, found.codingPath)
        case .keyNotFound(let key, let found):
            (context, path) = (found, found.codingPath + [key])
        case .typeMismatch(_, let found), .valueNotFound(_, let found):
            (context, path) = (found, found.codingPath)
        @unknown default: return .malformed("the body cannot be read")
        }
        let pointer = path.map { Schema.pointerPart($0.intValue.map(String.init) ?? $0.stringValue) }.joined()
        return .invalid(pointer, context.debugDescription)
    }
}

/// Takes the query of a URI apart.
enum QueryText {
    /// The parameters; one that comes twice or cannot be decoded is refused.
    static func parse(_ text: String?) throws(APIError) -> [String: String] {
        guard let text, !text.isEmpty else { return [:] }
        var out: [String: String] = [:]
        for part in text.split(separator: "&") {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let decoded = sides.map { $0.replacing("+", with: " ").removingPercentEncoding }
            guard let name = decoded[0], let value = decoded.count > 1 ? decoded[1] : "" else {
                throw .malformed("the query is not percent-encoded UTF-8")
            }
            guard out.updateValue(value, forKey: name) == nil else { throw .invalid(name, "this is given twice") }
        }
        return out
    }
}
