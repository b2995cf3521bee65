import Foundation
internal import GRDB
import Model

/// An answer that is given again for the same idempotency key.
package struct StoredAnswer: Sendable, Equatable, Codable {
    package var status: Int
    /// Header names and values.
    package var headers: [String: String]
    package var body: [UInt8]

    /// Creates an answer.
    package init(status: Int, headers: [String: String], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// What is known of an idempotency key.
package enum IdempotencyOutcome: Sendable, Equatable {
    /// Never seen, or longer than 24 hours ago; it is claimed now. Go on, then `remember` or `forget`.
    case fresh
    /// The same request was answered before.
    case replay(StoredAnswer)
    /// The key was used for another request.
    case conflict
    /// The first request with the key is still under way.
    case inProgress
}

extension Transaction {
    /// Claims a key for a request, or tells what came of it.
    package func claim(
        key: String, caller: String, route: String, bodyDigest: Digest
    ) throws(Failure) -> IdempotencyOutcome {
        let at = now
        return try run { db in
            let oldest = at.adding(seconds: -InventoryLimits.idempotencySeconds)
            try db.execute(sql: "DELETE FROM idempotency WHERE createdAt < ?", arguments: [oldest.description])
            let row = try Row.fetchOne(
                db, sql: "SELECT route, bodyDigest, answer FROM idempotency WHERE caller = ? AND key = ?",
                arguments: [caller, key])
            guard let row else {
                try db.execute(
                    sql: "INSERT INTO idempotency VALUES (?, ?, ?, ?, NULL, ?)",
                    arguments: [caller, key, route, Data(bodyDigest.bytes), at.description])
                return .fresh
            }
            guard row["route"] == route, (row["bodyDigest"] as Data) == Data(bodyDigest.bytes) else { return .conflict }
            guard let answer = row["answer"] as String? else { return .inProgress }
            return .replay(try JSONDecoder().decode(StoredAnswer.self, from: Data(answer.utf8)))
        }
    }

    /// Keeps the answer of a claimed key; one that is too large frees the key instead.
    package func remember(_ answer: StoredAnswer, key: String, caller: String) throws(Failure) {
        guard answer.body.count <= InventoryLimits.answerByteCountMax else {
            return try forget(key: key, caller: caller)
        }
        try run { db in
            let json = String(decoding: try JSONEncoder().encode(answer), as: UTF8.self)
            try db.execute(
                sql: "UPDATE idempotency SET answer = ? WHERE caller = ? AND key = ?", arguments: [json, caller, key])
        }
    }

    /// Frees a claimed key.
    package func forget(key: String, caller: String) throws(Failure) {
        try run { db in
            try db.execute(sql: "DELETE FROM idempotency WHERE caller = ? AND key = ?", arguments: [caller, key])
        }
    }
}
