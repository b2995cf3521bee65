import Foundation
internal import GRDB
import Model

/// The settings there are, and what each may be. Source: api.md, "system parameters".
package enum SystemParameters {
    /// What a setting may be.
    enum Rule: Sendable {
        case oneOf([String])
        case count(ClosedRange<Int>)
        case flag
        case networks
    }

    struct Definition: Sendable {
        let name: String
        let standard: SystemParameter.Value
        let rule: Rule
        let description: String
    }

    /// The most networks of a list.
    package static let networksMax = 1_000

    static let all: [Definition] = [
        Definition(
            name: "image.deletion-policy", standard: .text("delayed"), rule: .oneOf(["delayed", "immediate", "never"]),
            description: "What deleting an image does once there is a recycle bin; until then it deletes at once."),
        Definition(
            name: "image.retention-days", standard: .count(3), rule: .count(0...3650),
            description: "Days that a deleted image stays in the recycle bin."),
        Definition(
            name: "upload.expiry-hours", standard: .count(24), rule: .count(1...720),
            description: "Hours after which an upload without activity is thrown away."),
        Definition(
            name: "agent.ping-seconds", standard: .count(5), rule: .count(1...300),
            description: "Seconds between two pings of an agent; after three misses it is disconnected."),
        Definition(
            name: "job.retention-days", standard: .count(30), rule: .count(1...3650),
            description: "Days that a finished job is kept."),
        Definition(
            name: "url-import.allow-private-networks", standard: .flag(true), rule: .flag,
            description: "Whether images may be fetched from private networks."),
        Definition(
            name: "url-import.deny", standard: .networks(denied), rule: .networks,
            description: "Networks that images are never fetched from."),
    ]

    private static var denied: [CIDR] {
        // Constants, checked by a test: a text that does not parse would leave a hole.
        ["127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"].compactMap { try? CIDR(parsing: $0) }
    }

    /// Why a value is not allowed; nil when it is.
    package static func objection(to value: SystemParameter.Value, for name: String) -> String? {
        guard let definition = all.first(where: { $0.name == name }) else { return "there is no such parameter" }
        switch (definition.rule, value) {
        case (.oneOf(let words), .text(let text)):
            return words.contains(text) ? nil : "one of \(words.joined(separator: ", "))"
        case (.count(let range), .count(let count)):
            return range.contains(count) ? nil : "a number from \(range.lowerBound) to \(range.upperBound)"
        case (.flag, .flag): return nil
        case (.networks, .networks(let networks)):
            return networks.count <= networksMax ? nil : "at most \(networksMax) networks"
        case (.oneOf(let words), _): return "one of \(words.joined(separator: ", "))"
        case (.count(let range), _): return "a number from \(range.lowerBound) to \(range.upperBound)"
        case (.flag, _): return "true or false"
        case (.networks, _): return "a list of networks in CIDR notation"
        }
    }
}

extension Transaction {
    /// All settings, by name.
    package func systemParameters() throws(Failure) -> [SystemParameter] {
        var parameters: [SystemParameter] = []
        for definition in SystemParameters.all.sorted(by: { $0.name < $1.name }) {
            if let parameter = try systemParameter(definition.name) { parameters.append(parameter) }
        }
        return parameters
    }

    /// A setting; nil when there is none of that name.
    package func systemParameter(_ name: String) throws(Failure) -> SystemParameter? {
        guard let definition = SystemParameters.all.first(where: { $0.name == name }) else { return nil }
        var parameter = SystemParameter(
            name: name, value: definition.standard, standard: definition.standard, description: definition.description,
            updatedAt: nil, revision: 1)
        try run { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT value, updatedAt, revision FROM systemParameter WHERE name = ?",
                    arguments: [name])
            else { return }
            let json: String = row["value"]
            parameter.value = try JSONDecoder().decode(SystemParameter.Value.self, from: Data(json.utf8))
            parameter.updatedAt = try Timestamp(parsing: row["updatedAt"])
            parameter.revision = row["revision"]
        }
        return parameter
    }

    /// Stores a setting that `SystemParameters.objection` has nothing against.
    package func setSystemParameter(_ name: String, _ value: SystemParameter.Value) throws(Failure) {
        let at = now
        try run { db in
            let json = String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
            try db.execute(
                sql: """
                    INSERT INTO systemParameter VALUES (?, ?, ?, 2)
                    ON CONFLICT DO UPDATE SET value = excluded.value, updatedAt = excluded.updatedAt,
                        revision = revision + 1
                    """, arguments: [name, json, at.description])
        }
    }

    /// A number setting.
    package func count(_ name: String) throws(Failure) -> Int {
        guard case .count(let count)? = try systemParameter(name)?.value else {
            preconditionFailure("\(name) is no number setting")
        }
        return count
    }
}
