import Model
import NIOCore
import NIOSSL
import Synchronization
import Wire

/// What an end shows, and how it checks what the other end shows.
package struct Credentials: Sendable {
    /// Its certificate in PEM.
    package var certificatePEM: String
    /// Its private key in PEM.
    package var keyPEM: String
    /// The roots it trusts in PEM.
    package var authorityPEM: String
    /// Checks the other end's certificate.
    package var check: PeerCheck

    /// Creates credentials.
    package init(certificatePEM: String, keyPEM: String, authorityPEM: String, check: @escaping PeerCheck) {
        self.certificatePEM = certificatePEM
        self.keyPEM = keyPEM
        self.authorityPEM = authorityPEM
        self.check = check
    }
}

/// The credentials of the connections to come; replacing them leaves the present connections alone.
package final class CredentialBox: Sendable {
    struct Material: Sendable {
        var client: NIOSSLContext
        var server: NIOSSLContext
        var check: PeerCheck
    }

    /// The name of the protocol in TLS (ALPN).
    static let protocolName = "lamina/1"

    private let material: Mutex<Material>

    /// Creates a box; throws `.untrusted` when the certificate and the key cannot be read or do not belong together.
    package init(_ credentials: Credentials) throws(LinkError) {
        material = Mutex(try CredentialBox.material(of: credentials))
    }

    /// Uses `credentials` from now on. On an error nothing has changed.
    package func replace(_ credentials: Credentials) throws(LinkError) {
        let made = try CredentialBox.material(of: credentials)
        material.withLock { $0 = made }
    }

    var current: Material { material.withLock { $0 } }

    private static func material(of given: Credentials) throws(LinkError) -> Material {
        do {
            let chain = try NIOSSLCertificate.fromPEMBytes(Array(given.certificatePEM.utf8))
            let roots = try NIOSSLCertificate.fromPEMBytes(Array(given.authorityPEM.utf8))
            let key = NIOSSLPrivateKeySource.privateKey(
                try NIOSSLPrivateKey(bytes: Array(given.keyPEM.utf8), format: .pem))
            var client = TLSConfiguration.makeClientConfiguration()
            client.certificateChain = chain.map { .certificate($0) }
            client.privateKey = key
            client.trustRoots = .certificates(roots)
            // The name in the certificate is an id and is checked by `PeerCheck`; the address says nothing.
            client.certificateVerification = .noHostnameVerification
            client.minimumTLSVersion = .tlsv13
            client.applicationProtocols = [protocolName]
            client.shutdownTimeout = TransportLimits.shutdownMax
            var server = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: key)
            server.trustRoots = .certificates(roots)
            server.certificateVerification = .noHostnameVerification
            server.minimumTLSVersion = .tlsv13
            server.applicationProtocols = [protocolName]
            server.shutdownTimeout = TransportLimits.shutdownMax
            return Material(
                client: try NIOSSLContext(configuration: client), server: try NIOSSLContext(configuration: server),
                check: given.check)
        } catch { throw .untrusted("this end's certificate or key cannot be used: \(error)") }
    }
}

/// What the check of a peer's certificate came to; set once, on the way through the handshake.
final class PeerVerdict: Sendable {
    private let result = Mutex<Result<PeerIdentity, LinkError>?>(nil)

    var value: Result<PeerIdentity, LinkError>? { result.withLock { $0 } }

    /// The callback for TLS: runs the check in a task, since it must not hold the event loop.
    func callback(
        check: @escaping PeerCheck, accepts: @escaping @Sendable (PeerIdentity) -> LinkError?
    ) -> NIOSSLCustomVerificationCallback {
        { chain, promise in
            let verdict = self
            let der: [[UInt8]]
            do { der = try chain.map { try $0.toDERBytes() } } catch {
                verdict.result.withLock { $0 = .failure(.untrusted("unreadable certificate: \(error)")) }
                promise.succeed(.failed)
                return
            }
            Task {
                do {
                    let peer = try await check(der)
                    if let refusal = accepts(peer) { throw refusal }
                    verdict.result.withLock { $0 = .success(peer) }
                    promise.succeed(.certificateVerified)
                } catch {
                    let refusal = error as? LinkError ?? .untrusted("\(error)")
                    verdict.result.withLock { $0 = .failure(refusal) }
                    promise.succeed(.failed)
                }
            }
        }
    }
}
