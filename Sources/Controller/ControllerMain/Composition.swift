import API
import AgentLink
import Bootstrap
import Foundation
import Hummingbird
import HummingbirdCore
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
import UnixSignals
import Wire

/// The rooms of a running controller, introduced to each other.
struct Composition {
    /// How long requests may go on after SIGTERM.
    private static let drainMax = Duration.seconds(15)

    let inventory: Inventory
    let operations: Operations
    let agents: AgentConnections
    let credentials: ControllerCredentials
    let certificate: ServerCertificate
    let place: ListenAddress
    let directory: DataDirectory
    let api: LaminaAPI
    let ending: EndSignal
    let log: Logger

    /// Makes the rooms; nothing runs yet.
    static func make(
        _ directory: DataDirectory, place: ListenAddress, names: [String], bundles: [BundleFile], log: Logger
    ) async throws(ControllerError) -> Composition {
        let inventory = try directory.openInventory(mayCreateKey: false)
        let authority: Authority
        do throws(OperationError) {
            authority = try await Operations.openAuthority(
                inventory: inventory, clock: .system, randomness: .system)
        } catch { throw ControllerError(error.detail) }
        let credentials = try ControllerCredentials(authority: authority, clock: .system, log: log)
        let agents = AgentConnections(
            dialer: SocketDialer(credentials: credentials.box),
            hello: Hello(identity: credentials.identity, softwareVersion: Controller.version), time: .continuous(),
            log: log)
        let operations = Operations(
            inventory: inventory, agents: agents, hosts: SSHBootstrap(), authority: authority, bundles: bundles,
            clock: .system, randomness: .system, log: log)
        let served = ServerNames(host: place.host, others: names)
        let certificate = try ServerCertificate(
            authority: authority, names: served.names, addresses: served.addresses, clock: .system)
        let ending = EndSignal()
        let api = LaminaAPI(
            APIEnvironment(
                operations: operations, version: Controller.version, authorityPEM: authority.certificatePEM,
                clock: .system, ending: ending, log: log))
        return Composition(
            inventory: inventory, operations: operations, agents: agents, credentials: credentials,
            certificate: certificate, place: place, directory: directory, api: api, ending: ending, log: log)
    }

    /// Runs until SIGTERM or SIGINT. Requests may end; jobs are left to go on at the next start.
    func run() async throws {
        let control = try ControlSocket(path: directory.control, inventory: inventory, log: log)
        var configuration = ServiceGroupConfiguration(
            services: [
                OperationsService(operations: operations, agents: agents),
                RenewalService(credentials: credentials, certificate: certificate, log: log), try application(),
                EndingService(ending: ending),
            ], gracefulShutdownSignals: [.sigterm, .sigint], logger: log)
        configuration.maximumGracefulShutdownDuration = Composition.drainMax
        try await ServiceGroup(configuration: configuration).run()
        control.close()
        try inventory.close()
        log.info("ended")
    }

    private func application() throws -> some ApplicationProtocol {
        let counter = ConnectionCounter()
        let http = HTTPServerBuilder.http1(
            configuration: .init(
                additionalChannelHandlers: [PaceHandler(counter: counter)], idleTimeout: ConnectionLimits.idleMax))
        let log = self.log
        let host = place.host
        return Application(
            router: api.router(), server: try .tls(http, tlsConfiguration: certificate.configuration),
            configuration: ApplicationConfiguration(address: .hostname(host, port: place.port)),
            onServerRunning: { channel in
                log.info("listening", metadata: ["address": "\(host)", "port": "\(channel.localAddress?.port ?? 0)"])
            }, logger: quiet)
    }

    /// Hummingbird tells of every connection at its own levels; what matters of a request is told by the API.
    private var quiet: Logger {
        var quiet = log
        quiet.logLevel = max(log.logLevel, .notice)
        return quiet
    }
}

/// Runs the jobs and the loops until the end.
struct OperationsService: Service {
    let operations: Operations
    let agents: AgentConnections

    func run() async throws {
        await cancelWhenGracefulShutdown { await operations.run() }
        await agents.close()
    }
}

/// Renews the certificates: that of the controller towards agents, and that of HTTPS.
struct RenewalService: Service {
    /// How often the ages are looked at: well below a third of the shortest life.
    private static let interval = Duration.seconds(6 * 3600)
    private static let serverInterval = Duration.seconds(IdentityLimits.serverSeconds * 2 / 3)

    let credentials: ControllerCredentials
    let certificate: ServerCertificate
    let log: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var serverAge = Duration.zero
            while !Task.isCancelled {
                // The only error of a sleep is cancellation, which the loop looks at.
                try? await Task.sleep(for: RenewalService.interval)
                guard !Task.isCancelled else { return }
                serverAge += RenewalService.interval
                do throws(ControllerError) {
                    try credentials.renewWhenDue()
                    if serverAge >= RenewalService.serverInterval {
                        try certificate.renew()
                        serverAge = .zero
                    }
                } catch {
                    log.error("a certificate was not renewed", metadata: ["reason": "\(error)"])
                }
            }
        }
    }
}

/// Tells long answers to end, before the server waits for them.
struct EndingService: Service {
    let ending: EndSignal

    func run() async throws {
        await cancelWhenGracefulShutdown {
            // Sleeps until cancelled, which is the end.
            try? await Task.sleep(for: .seconds(Int64(Int32.max)))
        }
        ending.raise()
    }
}
