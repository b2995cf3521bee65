// ControllerMain: the executable lamina-controller, and the composition root of the controller.
//
// Hides: where files lie, which room gets which other room, signals.
// Invariants: here, and only here, clocks, randomness and the network are made; a second controller on the same data
// directory is refused; SIGTERM lets requests end and leaves jobs to go on at the next start.
// Is not: a place for decisions about images or storages.
import ArgumentParser
import Foundation

/// The root command.
struct Controller: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "lamina-controller", abstract: "The controller of Lamina.",
        version: "lamina-controller \(version)", subcommands: [Initialise.self, Serve.self, BackUp.self])
}

@main
enum ControllerMain {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try Controller.parseAsRoot(Array(CommandLine.arguments.dropFirst()))
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as ControllerError {
            fail(error.description, 1)
        } catch {
            let code = Controller.exitCode(for: error)
            let message = Controller.fullMessage(for: error)
            if code.isSuccess {
                print(message)
                exit(0)
            }
            // The argument parser's own errors are wrong usage; all others are failures of what was tried.
            fail(message, code == .validationFailure ? 2 : 1)
        }
    }

    private static func fail(_ message: String, _ status: Int32) -> Never {
        FileHandle.standardError.write(Data(("lamina-controller: " + message + "\n").utf8))
        exit(status)
    }
}

/// Why the controller could not do what its command line asked.
struct ControllerError: Error, CustomStringConvertible {
    /// What was wrong and what to do.
    let description: String

    init(_ description: String) { self.description = description }
}
