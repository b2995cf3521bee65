import API
import AgentLink
import ArgumentParser
import Bootstrap
import Foundation
import Hummingbird
import HummingbirdTLS
import Identity
import Inventory
import Logging
import Model
import NIOCore
import Operations
import Secrets
import ServiceLifecycle
import Transport
import Wire

/// Runs the controller.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the controller.")

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Option(help: "The address and port to listen on, such as 10.0.0.5:8443 or [::]:8443.")
    var listen: String = "0.0.0.0:8443"

    @Option(name: .customLong("name"), help: "Another name or address that clients use; goes into the certificate.")
    var names: [String] = []

    @Option(
        name: .customLong("bundle"), help: "A bundle of the agent, made by deploy/bundle; one for each architecture.",
        completion: .file())
    var bundles: [String] = []

    @Option(help: "What is logged: trace, debug, info, notice, warning, error or critical.")
    var logLevel: String = "info"

    func run() async throws {
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw ValidationError("--log-level is trace, debug, info, notice, warning, error or critical")
        }
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var log = Logger(label: "lamina")
        log.logLevel = level
        let place = try ListenAddress(listen)
        let directory = try DataDirectory.existing(at: dataDirectory.path)
        let parts = try await Composition.make(
            directory, place: place, names: names, bundles: loadBundles(), log: log)
        try await parts.run()
    }

    private func loadBundles() throws(ControllerError) -> [BundleFile] {
        do { return try bundles.map { path in try BundleFile.load(path) } } catch {
            throw ControllerError("a bundle cannot be used: \(error)")
        }
    }
}

/// An address and a port.
struct ListenAddress {
    var host: String
    var port: Int

    /// Reads `HOST:PORT` and `[IPV6]:PORT`.
    init(_ text: String) throws {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else { throw ValidationError("--listen is HOST:PORT, such as 0.0.0.0:8443") }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { throw ValidationError("--listen is HOST:PORT, such as 0.0.0.0:8443") }
        self.host = host
        self.port = port
    }
}
