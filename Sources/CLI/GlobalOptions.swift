import ArgumentParser
import Foundation

/// How results are written.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    /// For people.
    case table
    /// The API's own JSON.
    case json
}

/// Options that every command has.
struct GlobalOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "How results are written; json is the API's own.")
    var output: OutputFormat = .table

    @Option(name: .customLong("controller"), help: "The controller, instead of the one logged in to (or LAMINA_URL).")
    var controller: String?

    @Option(name: .customLong("ca"), help: "A PEM file with the controller's certificate authority (or LAMINA_CA).")
    var authorityFile: String?

    /// Runs `body` with a client for the profile, which is closed afterwards.
    func withAPI<R: Sendable>(_ body: (APIClient) async throws -> R) async throws -> R {
        let environment = ProcessInfo.processInfo.environment
        var profile = try Profile.load()
        if let given = controller ?? environment["LAMINA_URL"] {
            let address = try ControllerURL.normalised(given)
            // A stored token is only for the controller that gave it.
            if profile?.url != address { profile = Profile(url: address) }
        }
        guard var profile else {
            throw CLIError.notLoggedIn("not logged in: run `lamina login https://CONTROLLER:PORT` first")
        }
        if let file = authorityFile ?? environment["LAMINA_CA"] {
            profile.authorityPEM = try SecretOptions.contents(of: file)
        }
        if let token = environment["LAMINA_TOKEN"], !token.isEmpty { profile.token = token }
        guard profile.token != nil else {
            throw CLIError.notLoggedIn(
                "no token for \(profile.url): run `lamina login \(profile.url)` or set LAMINA_TOKEN")
        }
        return try await APIClient.with(profile, body)
    }
}

/// Whether to ask before data is destroyed.
struct ConfirmOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Do not ask before data is destroyed.")
    var yes = false
}

/// Whether to wait for a job.
struct WaitOptions: ParsableArguments {
    @Flag(inversion: .prefixedNo, help: "Wait for the work to end (the default on a terminal).")
    var wait: Bool?

    /// Whether to wait.
    var isWaiting: Bool { wait ?? Terminal.hasErrorTerminal }
}

/// Which part of a list to show.
struct ListOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "The most items to show.")
    var limit: Int = 50

    @Flag(help: "Show all items, however many.")
    var all = false

    // What begins with '-' is a value here: a descending order, or any text.
    @Option(
        name: .customShort("q"), parsing: .unconditional,
        help: "Only items whose name or description has this text.")
    var query: String?

    @Option(parsing: .unconditional, help: "Sort by this field, such as name or -createdAt.")
    var sort: String?

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit is at least 1") }
    }
}

/// The address of a controller.
package enum ControllerURL {
    /// Checks a URL and takes the slash from its end. Plain http is only for this very host.
    package static func normalised(_ text: String) throws(CLIError) -> String {
        var given = text.contains("://") ? text : "https://" + text
        while given.hasSuffix("/"), !given.hasSuffix("://") { given.removeLast() }
        guard let parts = URLComponents(string: given), let host = parts.host, !host.isEmpty,
            parts.scheme == "https" || parts.scheme == "http", parts.path.isEmpty, parts.query == nil,
            parts.user == nil
        else { throw .usage("'\(text)' is not the URL of a controller, such as https://lamina.example:8443") }
        guard parts.scheme == "https" || ["localhost", "127.0.0.1", "[::1]", "::1"].contains(host) else {
            throw .usage("plain http would send passwords in clear: use https")
        }
        return given
    }
}
