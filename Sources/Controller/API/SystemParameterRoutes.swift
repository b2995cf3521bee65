import HTTPTypes
import Inventory
import Model
import Operations

/// A system parameter as it is sent.
struct SystemParameterView: Codable, Sendable {
    var name: String
    var value: JSONNode
    var `default`: JSONNode
    var description: String
    var updatedAt: Timestamp?

    init(_ parameter: SystemParameter) {
        name = parameter.name
        value = SystemParameterView.json(parameter.value)
        `default` = SystemParameterView.json(parameter.standard)
        description = parameter.description
        updatedAt = parameter.updatedAt
    }

    static func json(_ value: SystemParameter.Value) -> JSONNode {
        switch value {
        case .text(let text): .string(text)
        case .count(let count): .integer(Int64(count))
        case .flag(let flag): .bool(flag)
        case .networks(let networks): .array(networks.map { .string($0.description) })
        }
    }

    /// A value as it came; whether it fits the parameter is for Operations to say.
    static func value(_ node: JSONNode?) throws(APIError) -> SystemParameter.Value {
        switch node {
        case .string(let text): return .text(text)
        case .integer(let count): return .count(Int(count))
        case .bool(let flag): return .flag(flag)
        case .array(let nodes):
            var networks: [CIDR] = []
            for (index, node) in nodes.enumerated() {
                guard let text = node.string else { throw .invalid("/value/\(index)", "this must be a text") }
                do throws(InvalidValue) { networks.append(try CIDR(parsing: text)) } catch {
                    throw .invalid("/value/\(index)", error.reason)
                }
            }
            return .networks(networks)
        default: throw .invalid("/value", "a value is a text, a whole number, true or false, or a list of networks")
        }
    }

    static let schema = Schema.object(
        "SystemParameter",
        [
            .required("name", .text, "Its name."), .required("value", .anything, "Its value."),
            .required("default", .anything, "Its value when nobody set it."),
            .required("description", .text, "What it does."), .optional("updatedAt", .dateTime, "When it was set."),
        ])

    static let patch = Schema.object("SystemParameterPatch", [.required("value", .anything, "The new value.")])
}

/// `/v1/system-parameters`.
enum SystemParameterRoutes {
    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .get, "/v1/system-parameters", "List the system parameters.", access: .role(.viewer),
                answers: [.json(.ok, "All of them.", SystemParameterView.schema.page("SystemParameterPage"))]
            ) { request in
                let all = try await operations.listSystemParameters(caller: request.caller)
                return .json(PageView(Page(items: all, nextCursor: nil), SystemParameterView.init))
            },
            Route(
                .get, "/v1/system-parameters/{name}", "Show a system parameter.", access: .role(.viewer),
                answers: [.resource(.ok, SystemParameterView.schema)]
            ) { request in
                let found = try await operations.systemParameter(request.pathValue("name"), caller: request.caller)
                return .resource(SystemParameterView(found), revision: found.revision)
            },
            Route(
                .patch, "/v1/system-parameters/{name}", "Set a system parameter.", access: .role(.admin),
                body: .mergePatch(SystemParameterView.patch), parameters: [.ifMatch],
                answers: [.resource(.ok, SystemParameterView.schema)]
            ) { request in
                let value = try SystemParameterView.value(request.body?["value"])
                let set = try await operations.setSystemParameter(
                    request.pathValue("name"), value, ifMatch: request.ifMatch(), caller: request.caller)
                return .resource(SystemParameterView(set), revision: set.revision)
            },
        ]
    }
}
