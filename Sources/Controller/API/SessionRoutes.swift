import HTTPTypes
import Inventory
import Model
import Operations

/// A log-in.
struct LogInBody: Codable, Sendable {
    var username: String
    var password: String

    static let schema = Schema.object(
        "LogIn",
        [
            .required("username", .text(max: 256), "The account's name."),
            .secret("password", .text(max: 1024), "Its password.", isRequired: true),
        ])
}

/// A token that a log-in gave.
struct SessionView: Codable, Sendable {
    var token: String?
    var expiresAt: Timestamp?
    var role: String
    var username: String

    static let schema = Schema.object(
        "Session",
        [
            .optional("token", .text, "The bearer token; only when it was just made."),
            .optional("expiresAt", .dateTime, "When it ends at the latest; it ends earlier when idle."),
            .required("role", .oneOf(Role.self), "What it allows."),
            .required("username", .text, "The account's name."),
        ])
}

/// Another password for oneself.
struct PasswordBody: Codable, Sendable {
    var currentPassword: String
    var newPassword: String

    static let schema = Schema.object(
        "PasswordChange",
        [
            .secret("currentPassword", .text(max: 1024), "The password until now.", isRequired: true),
            .secret("newPassword", .text(max: 1024), "The new password.", isRequired: true),
        ])
}

/// `/v1/sessions`.
enum SessionRoutes {
    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .post, "/v1/sessions", "Log in.", access: .open, body: .json(LogInBody.schema),
                answers: [.json(.created, "A token.", SessionView.schema)]
            ) { request in
                let body = try request.decode(LogInBody.self)
                let logIn: LogIn
                do throws(OperationError) {
                    logIn = try await operations.logIn(
                        username: body.username, password: Secret(body.password), address: request.context.address)
                } catch {
                    guard case .unauthenticated = error else { throw error }
                    throw APIError(
                        status: .unauthorized, code: "authentication-failed",
                        detail: "the user name or the password is not right", headers: APIError.unauthenticated.headers)
                }
                return .json(
                    SessionView(
                        token: logIn.token.reveal, expiresAt: logIn.session.expiresAt, role: logIn.user.role.rawValue,
                        username: logIn.user.name), status: .created)
            },
            Route(
                .get, "/v1/sessions/current", "Show who this token belongs to.", access: .role(.viewer),
                answers: [.json(.ok, "The account and its role.", SessionView.schema)]
            ) { request in
                .json(SessionView(role: request.caller.role.rawValue, username: request.caller.username))
            },
            Route(
                .delete, "/v1/sessions/current", "Log out: this token ends.", access: .role(.viewer),
                answers: [.empty(.noContent, "It ended.")]
            ) { request in
                try await operations.logOut(caller: request.caller)
                return .empty()
            },
            Route(
                .put, "/v1/sessions/current/password", "Change one's own password.", access: .role(.viewer),
                body: .json(PasswordBody.schema), answers: [.empty(.noContent, "It was changed.")]
            ) { request in
                let body = try request.decode(PasswordBody.self)
                do throws(OperationError) {
                    try await operations.changeOwnPassword(
                        current: Secret(body.currentPassword), new: Secret(body.newPassword), caller: request.caller)
                } catch {
                    guard case .invalid(let field, let detail) = error else { throw error }
                    // `/current` and `/new` there are `/currentPassword` and `/newPassword` here.
                    throw OperationError.invalid(field: field + "Password", detail: detail)
                }
                return .empty()
            },
        ]
    }
}
