import ArgumentParser
import Wire

// AgentMain: the program lamina-agent; it makes the clock, the randomness and the rooms, and hands them to each other.

/// The agent of one image storage, and what else the program does on its host.
@main
struct LaminaAgent: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-agent", abstract: "Keeps the images of one image storage.",
        version: "lamina-agent \(softwareVersion)", subcommands: [Serve.self, Host.self, StoreTools.self])

    /// The version of this software.
    static let softwareVersion = "0.1.0"
}
