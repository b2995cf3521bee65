import Crypto
import FoundationEssentials
import Model
import SwiftASN1
@_spi(FixedExpiryValidationTime) import X509

/// How a peer is named in its certificate: two URIs among the subject's alternative names.
enum PeerNames {
    static let idPrefix = "urn:uuid:"
    static let rolePrefix = "urn:lamina:role:"

    static func id(_ id: PeerID) -> String { idPrefix + id.description }
    static func role(_ role: PeerRole) -> String { rolePrefix + role.rawValue }
}

/// A peer whose certificate was checked.
package struct VerifiedPeer: Sendable, Equatable {
    /// Who it is.
    package var identity: PeerIdentity
    /// Its certificate's serial number in hexadecimal digits.
    package var serial: String
    /// When its certificate ends.
    package var expiresAt: Timestamp
}

/// Serial numbers of certificates that were withdrawn before their end.
package struct DeniedSerials: Sendable, Codable, Equatable {
    /// Serial numbers in hexadecimal digits, lower case.
    package var serials: Set<String>

    /// Creates a list.
    package init(_ serials: Set<String> = []) { self.serials = serials }
}

/// Says who a chain of certificates belongs to.
package struct PeerVerifier: Sendable {
    private let roots: [Certificate]
    private let denied: DeniedSerials
    private let clock: WallClock

    /// Creates a verifier that trusts the roots in `rootsPEM`, several one after the other while they roll over.
    package init(rootsPEM: String, denied: DeniedSerials = DeniedSerials(), clock: WallClock) throws(IdentityError) {
        roots = try CertificateFile.certificates(in: rootsPEM)
        self.denied = denied
        self.clock = clock
    }

    /// Verifies the chain that a peer showed, its own certificate first, and reads who it is.
    package func verify(chain: [[UInt8]]) async throws(IdentityError) -> VerifiedPeer {
        guard !chain.isEmpty, chain.count <= IdentityLimits.chainCountMax else {
            throw .untrusted("a chain of \(chain.count) certificates")
        }
        let leaf: Certificate
        do { leaf = try Certificate(derEncoded: chain[0]) } catch {
            throw .unreadable(what: "peer certificate", detail: "\(error)")
        }
        let now = clock.now().date
        // Said first, because "expired" and "not yet" are what an admin can mend.
        guard leaf.notValidBefore <= now else { throw .untrusted("it is not valid yet: compare the hosts' clocks") }
        guard now <= leaf.notValidAfter else { throw .untrusted("it has expired") }
        var verifier = Verifier(rootCertificates: CertificateStore(roots)) {
            RFC5280Policy(fixedExpiryValidationTime: now)
        }
        // Roots issue peers directly: their path length is 0, and there are no certificates between.
        let result = await verifier.validate(leaf: leaf, intermediates: CertificateStore([]))
        guard case .validCertificate = result else { throw .untrusted("no trusted authority issued it") }
        let peer = try CertificateFile.peer(leaf)
        guard !denied.serials.contains(peer.serial) else { throw .denied(serial: peer.serial) }
        return peer
    }
}

/// Certificates in files.
package enum CertificateFile {
    /// Who the first certificate in `pem` says it belongs to. It is not verified: only for one's own certificate.
    package static func owner(of pem: String) throws(IdentityError) -> VerifiedPeer {
        try peer(certificates(in: pem)[0])
    }

    /// Whether `keyPair` is the key of the first certificate in `pem`.
    package static func isKey(_ keyPair: KeyPair, of pem: String) throws(IdentityError) -> Bool {
        try certificates(in: pem)[0].publicKey == Certificate.PublicKey(keyPair.key.publicKey)
    }

    /// Every certificate in a text; at least one.
    static func certificates(in pem: String) throws(IdentityError) -> [Certificate] {
        guard pem.utf8.count <= IdentityLimits.pemByteCountMax else {
            throw .unreadable(what: "certificate", detail: "\(pem.utf8.count) bytes")
        }
        let found: [Certificate]
        do { found = try PEMDocument.parseMultiple(pemString: pem).map { try Certificate(pemDocument: $0) } } catch {
            throw .unreadable(what: "certificate", detail: "\(error)")
        }
        guard !found.isEmpty else { throw .unreadable(what: "certificate", detail: "there is none") }
        return found
    }

    /// The identity in a certificate: exactly one id, exactly one role, and the usage that the role needs.
    static func peer(_ certificate: Certificate) throws(IdentityError) -> VerifiedPeer {
        let names: SubjectAlternativeNames?
        let usage: ExtendedKeyUsage?
        do {
            names = try certificate.extensions.subjectAlternativeNames
            usage = try certificate.extensions.extendedKeyUsage
        } catch { throw .noIdentity("its extensions cannot be read: \(error)") }
        var ids: [String] = []
        var roles: [String] = []
        for case .uniformResourceIdentifier(let uri) in names ?? SubjectAlternativeNames() {
            if uri.hasPrefix(PeerNames.idPrefix) { ids.append(String(uri.dropFirst(PeerNames.idPrefix.count))) }
            if uri.hasPrefix(PeerNames.rolePrefix) { roles.append(String(uri.dropFirst(PeerNames.rolePrefix.count))) }
        }
        guard ids.count == 1, roles.count == 1, let role = PeerRole(rawValue: roles[0]) else {
            throw .noIdentity("it must have one id and one role")
        }
        let id: PeerID
        do { id = try PeerID(parsing: ids[0]) } catch { throw .noIdentity(error.reason) }
        let needed: ExtendedKeyUsage.Usage = role == .agent ? .serverAuth : .clientAuth
        guard usage?.contains(needed) == true else { throw .noIdentity("it may not be used by a \(role.rawValue)") }
        return VerifiedPeer(
            identity: PeerIdentity(role: role, id: id), serial: Hex.encode(certificate.serialNumber.bytes),
            expiresAt: Timestamp(certificate.notValidAfter))
    }
}
