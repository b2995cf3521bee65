import Foundation
internal import GRDB
import Model

extension Transaction {
    /// How many accounts there are.
    package func userCount() throws(Failure) -> Int { try run { db in try Stored<UserRecord>.fetchCount(db) } }

    /// The account of a name.
    package func user(named name: String) throws(Failure) -> UserRecord? {
        try run { db in try Stored<UserRecord>.filter(Column("name") == name).fetchOne(db)?.record }
    }

    /// Stores the hash of an account's password.
    package func setPasswordHash(_ hash: String, of user: UserID) throws(Failure) {
        try run { db in
            try db.execute(
                sql: "INSERT INTO password VALUES (?, ?) ON CONFLICT DO UPDATE SET hash = excluded.hash",
                arguments: [user.description, hash])
        }
    }

    /// The hash of an account's password.
    package func passwordHash(of user: UserID) throws(Failure) -> String? {
        try run { db in
            try String.fetchOne(
                db, sql: "SELECT hash FROM password WHERE userID = ?", arguments: [user.description])
        }
    }

    /// Adds a token; `digest` is the SHA-256 of its secret.
    package func insert(_ token: TokenRecord, digest: Digest) throws(Failure) {
        try insert(token)
        try run { db in
            try db.execute(
                sql: "INSERT INTO tokenDigest VALUES (?, ?)", arguments: [Data(digest.bytes), token.id.description])
        }
    }

    /// The token of a digest, and its account.
    package func token(digest: Digest) throws(Failure) -> (TokenRecord, UserRecord)? {
        let id = try run { db in
            try String.fetchOne(
                db, sql: "SELECT tokenID FROM tokenDigest WHERE digest = ?", arguments: [Data(digest.bytes)])
        }
        guard let id else { return nil }
        let token = try run { db in try Stored<TokenRecord>.fetchOne(db, key: id)?.record }
        guard let token, let user = try find(UserRecord.self, token.userID) else { return nil }
        return (token, user)
    }

    /// Ends sessions (and, if asked, API tokens) of an account; `except` stays.
    package func deleteTokens(of user: UserID, type: TokenType?, except: TokenID? = nil) throws(Failure) {
        try run { db in
            try db.execute(
                sql: "DELETE FROM token WHERE userID = ? AND (? IS NULL OR type = ?) AND id IS NOT ?",
                arguments: [user.description, type?.rawValue, type?.rawValue, except?.description])
        }
    }

    /// Removes sessions that ended: idle since before `idleSince`, or past their end.
    package func deleteEndedSessions(idleSince: Timestamp) throws(Failure) {
        let at = now
        try run { db in
            try db.execute(
                sql: "DELETE FROM token WHERE type = 'session' AND (lastUsedAt < ? OR expiresAt < ?)",
                arguments: [idleSince.description, at.description])
        }
    }
}
