/// What the exit code of `lamina` says. The numbers are part of the interface. Source: docs/cli.md, "Exit codes".
package enum ExitStatus: Int32, Sendable {
    /// It was done.
    case done = 0
    /// It was tried and failed.
    case failed = 1
    /// The command line was wrong; nothing was tried.
    case wrongUsage = 2
    /// What was named does not exist.
    case notFound = 3
    /// Not logged in, or the role is too weak.
    case notAllowed = 4
    /// The controller could not be reached.
    case notReachable = 5
}

/// Why a command did not do what was asked.
package enum CLIError: Error, Sendable {
    /// The controller answered with a problem document.
    case problem(Problem)
    /// A name that fits nothing, or an id that does not exist.
    case notFound(String)
    /// No profile and no token.
    case notLoggedIn(String)
    /// The controller did not answer.
    case notReachable(String)
    /// Arguments that the parser cannot judge.
    case usage(String)
    /// A file on this host, with the path and what happened.
    case file(String)
    /// The answer was not what the API promises.
    case unexpectedAnswer(String)
    /// The job ended, but not well.
    case jobFailed(String)
    /// The person at the terminal said no.
    case declined
    /// What was received is not what was sent.
    case damaged(String)

    /// The exit status for this error.
    package var exitStatus: ExitStatus {
        switch self {
        case .problem(let problem):
            switch problem.status {
            case 404: .notFound
            case 401, 403: .notAllowed
            default: .failed
            }
        case .notFound: .notFound
        case .notLoggedIn: .notAllowed
        case .notReachable: .notReachable
        case .usage: .wrongUsage
        case .file, .unexpectedAnswer, .jobFailed, .declined, .damaged: .failed
        }
    }

    /// The words for standard error.
    package var message: String {
        switch self {
        case .problem(let problem): problem.text
        case .notFound(let text), .notLoggedIn(let text), .notReachable(let text), .usage(let text), .file(let text),
            .unexpectedAnswer(let text), .jobFailed(let text), .damaged(let text):
            text
        case .declined: "nothing was changed"
        }
    }
}

/// A problem document (RFC 9457) as the API sends it.
package struct Problem: Sendable, Equatable {
    /// The HTTP status.
    package var status: Int
    /// The stable code.
    package var code: String
    /// What was wrong and what to do.
    package var detail: String
    /// The JSON pointer of the field at fault.
    package var field: String?
    /// What stands in the way, one line each.
    package var items: [String]

    /// Reads a problem document; an answer that is none gets words of its own.
    package init(status: Int, body: JSONValue?) {
        self.status = status
        code = body?["code"].text ?? "http-\(status)"
        detail =
            body?["detail"].text ?? body?["title"].text
            ?? "the controller answered with status \(status) and no explanation"
        field = body?["field"].text
        items = (body?["items"].array ?? []).map { item in
            let name = item["name"].text ?? item["id"].text ?? "?"
            guard let reason = item["reason"].text else { return name }
            return "\(name): \(reason)"
        }
    }

    /// The problem for a person.
    package var text: String {
        var out = detail + " (" + code
        if let field { out += ", field " + field }
        out += ")"
        for item in items { out += "\n  - " + item }
        return out
    }
}
