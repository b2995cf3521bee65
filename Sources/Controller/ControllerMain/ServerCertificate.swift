import Foundation
import Identity
import Model
import NIOCore
import NIOSSL
import Synchronization

/// The certificate of the controller's HTTPS, from its own authority. Its key lives only in memory: a new one is made at
/// every start and at two thirds of its life.
final class ServerCertificate: Sendable {
    private struct Material: Sendable {
        var chain: [NIOSSLCertificateSource]
        var key: NIOSSLPrivateKeySource
    }

    private let authority: Authority
    private let names: [String]
    private let addresses: [IPAddress]
    private let clock: WallClock
    private let material: Mutex<Material>

    /// Makes the first certificate.
    init(authority: Authority, names: [String], addresses: [IPAddress], clock: WallClock) throws(ControllerError) {
        self.authority = authority
        self.names = names
        self.addresses = addresses
        self.clock = clock
        material = Mutex(try ServerCertificate.issue(authority, names, addresses, clock))
    }

    /// Makes the next certificate; new connections get it.
    func renew() throws(ControllerError) {
        let next = try ServerCertificate.issue(authority, names, addresses, clock)
        material.withLock { $0 = next }
    }

    private static func issue(
        _ authority: Authority, _ names: [String], _ addresses: [IPAddress], _ clock: WallClock
    ) throws(ControllerError) -> Material {
        var generator = SystemRandomNumberGenerator()
        do {
            let (certificate, key) = try authority.issueServer(
                names: names, addresses: addresses, now: clock.now(), using: &generator)
            let chain = try NIOSSLCertificate.fromPEMBytes(Array(certificate.pem.utf8))
            return Material(
                chain: chain.map { .certificate($0) },
                key: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.pem.utf8), format: .pem)))
        } catch {
            throw ControllerError("the HTTPS certificate could not be made: \(error)")
        }
    }

    /// The TLS configuration of the server; every handshake asks for the certificate of the moment.
    var configuration: TLSConfiguration {
        let now = material.withLock { $0 }
        var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: now.chain, privateKey: now.key)
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        configuration.sslContextCallback = { [self] _, promise in
            let now = material.withLock { $0 }
            var change = NIOSSLContextConfigurationOverride()
            change.certificateChain = now.chain
            change.privateKey = now.key
            promise.succeed(change)
        }
        return configuration
    }
}

/// The names and addresses that clients may call a controller by.
struct ServerNames {
    var names: [String] = []
    var addresses: [IPAddress] = []

    /// This host as `host` (what the controller listens on) and as `others` (`--name`).
    init(host: String, others: [String]) {
        for text in [host] + others { add(text) }
        add("localhost")
        add("127.0.0.1")
        add("::1")
        add(ProcessInfo.processInfo.hostName)
        let isWildcard = (try? IPAddress(parsing: host))?.isUnspecified ?? false
        guard isWildcard, let devices = try? System.enumerateDevices() else { return }
        for device in devices {
            if let text = device.address?.ipAddress { add(text) }
        }
    }

    private mutating func add(_ text: String) {
        if let address = try? IPAddress(parsing: text) {
            guard !address.isUnspecified, !address.isLinkLocal, !addresses.contains(address) else { return }
            addresses.append(address)
        } else if (try? HostAddress(text)) != nil, !names.contains(text) {
            names.append(text)
        }
    }
}
