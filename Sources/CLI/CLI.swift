// CLI: the `lamina` command. It speaks only the HTTP API of the controller.
//
// Hides: HTTP, problem documents, paging, resuming of transfers, the profile on disk.
// Invariants: a secret is never an argument (it would show in `ps`); what destroys data asks first; the exit code tells
// what kind of failure it was (`ExitStatus`).
// Is not: aware of images' bytes or of hosts; everything it knows comes from the API.
import ArgumentParser
import Foundation

/// The root command.
package struct Lamina: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "lamina",
        abstract: "Administer Lamina: image storages, images and jobs.",
        discussion: """
            Begin with `lamina login https://CONTROLLER:PORT`. A resource is named by its name or its id. \
            Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 not reachable.
            Environment: LAMINA_URL, LAMINA_TOKEN and LAMINA_CA (a PEM file) stand for what `login` stores.
            """,
        version: "lamina \(version)",
        subcommands: [
            LogIn.self, LogOut.self, WhoAmI.self, DataCenter.self, Storage.self, Image.self, Job.self, Event.self,
            Param.self, User.self, Token.self, Audit.self, Manual.self,
        ])

    /// The version of the command.
    package static let version = "0.1.0"

    package init() {}
}

/// The executable's entry.
@main
enum CLIMain {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        let status = await run(Array(CommandLine.arguments.dropFirst()))
        exit(status.rawValue)
    }

    /// Parses and runs a command line, prints what there is to print, and tells the exit status.
    static func run(_ arguments: [String]) async -> ExitStatus {
        do {
            var command = try Lamina.parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return .done
        } catch let error as CLIError {
            Terminal.complain(error.message)
            return error.exitStatus
        } catch {
            let code = Lamina.exitCode(for: error)
            let message = Lamina.fullMessage(for: error)
            if code.isSuccess {
                Terminal.print(message)
                return .done
            }
            Terminal.complain(plain: message)
            // What the parser did not refuse went wrong while it was done.
            return code == .validationFailure ? .wrongUsage : .failed
        }
    }
}
