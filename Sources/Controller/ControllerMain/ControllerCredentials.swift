import Identity
import Logging
import Model
import Secrets
import Synchronization
import Transport
import Wire

/// The controller's own certificate towards agents. Its key lives only in memory; a new one is made at every start and at
/// two thirds of its life.
final class ControllerCredentials: Sendable {
    /// Who the controller is on the wire: new at every start, since agents only ask for the role.
    let identity: PeerIdentity
    /// What new connections use.
    let box: CredentialBox
    private let authority: Authority
    private let clock: WallClock
    private let log: Logger
    private let issuedAt: Mutex<Timestamp>

    /// Makes the first certificate.
    init(authority: Authority, clock: WallClock, log: Logger) throws(ControllerError) {
        self.authority = authority
        self.clock = clock
        self.log = log
        identity = PeerIdentity(role: .controller, id: Randomness.system.id())
        let now = clock.now()
        issuedAt = Mutex(now)
        let first = try ControllerCredentials.issue(authority, identity, clock)
        do throws(LinkError) { box = try CredentialBox(first) } catch {
            throw ControllerError("the controller's certificate cannot be used: \(error)")
        }
    }

    /// Makes the next certificate when two thirds of the life of this one are over.
    func renewWhenDue() throws(ControllerError) {
        let now = clock.now()
        guard now >= issuedAt.withLock({ $0 }).adding(seconds: IdentityLimits.peerSeconds * 2 / 3) else { return }
        let next = try ControllerCredentials.issue(authority, identity, clock)
        do throws(LinkError) { try box.replace(next) } catch {
            throw ControllerError("the controller's certificate cannot be used: \(error)")
        }
        issuedAt.withLock { $0 = now }
        log.info("renewed the controller's certificate")
    }

    private static func issue(
        _ authority: Authority, _ identity: PeerIdentity, _ clock: WallClock
    ) throws(ControllerError) -> Credentials {
        var generator = SystemRandomNumberGenerator()
        do throws(IdentityError) {
            let pair = KeyPair()
            let issued = try authority.issue(
                requestPEM: try pair.request(), to: identity, now: clock.now(), using: &generator)
            let verifier = try PeerVerifier(rootsPEM: authority.certificatePEM, clock: clock)
            return Credentials(
                certificatePEM: issued.pem, keyPEM: pair.pem, authorityPEM: authority.certificatePEM,
                check: { chain in try await verifier.verify(chain: chain).identity })
        } catch {
            throw ControllerError("the controller's certificate could not be made: \(error)")
        }
    }
}
