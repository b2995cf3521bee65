import Crypto
import FoundationEssentials
import Model
import SwiftASN1
import X509

/// A certificate that was issued.
package struct IssuedCertificate: Sendable, Equatable {
    /// The certificate in PEM.
    package var pem: String
    /// Its serial number in hexadecimal digits; what a deny list names.
    package var serial: String
    /// When it ends.
    package var expiresAt: Timestamp
}

/// The controller's certificate authority: a root that issues certificates of peers, and of the HTTPS server.
package struct Authority: Sendable {
    private let certificate: Certificate
    private let keyPair: KeyPair
    /// The root's certificate in PEM.
    package let certificatePEM: String

    /// The root's private key in PEM; sealed at rest.
    package var keyPEM: String { keyPair.pem }

    /// Makes a new root. `name` is for people who look at the certificate.
    package init(creating name: String, now: Timestamp, using generator: inout some RandomNumberGenerator)
        throws(IdentityError)
    {
        let pair = KeyPair()
        let subject = try Authority.named(name)
        certificate = try Authority.signed(
            Template(
                subject: subject, issuer: subject, key: .init(pair.key.publicKey),
                lifetimeSeconds: IdentityLimits.authoritySeconds),
            by: pair, now: now, using: &generator
        ) {
            Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
            Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            SubjectKeyIdentifier(hash: Certificate.PublicKey(pair.key.publicKey))
        }
        keyPair = pair
        certificatePEM = try Authority.pem(certificate)
    }

    /// Reads a root that was made before.
    package init(certificatePEM: String, keyPEM: String) throws(IdentityError) {
        keyPair = try KeyPair(pem: keyPEM)
        certificate = try CertificateFile.certificates(in: certificatePEM)[0]
        guard certificate.publicKey == Certificate.PublicKey(keyPair.key.publicKey) else {
            throw .unreadable(what: "authority", detail: "the key is not that of the certificate")
        }
        self.certificatePEM = try Authority.pem(certificate)
    }

    /// Issues the certificate of a peer for the key of `requestPEM`; nothing else of the request is used.
    package func issue(
        requestPEM: String, to peer: PeerIdentity, now: Timestamp, using generator: inout some RandomNumberGenerator
    ) throws(IdentityError) -> IssuedCertificate {
        let key = try Authority.checkedKey(ofRequest: requestPEM)
        let names = [
            GeneralName.uniformResourceIdentifier(PeerNames.id(peer.id)),
            GeneralName.uniformResourceIdentifier(PeerNames.role(peer.role)),
        ]
        // Agents ask each other for blobs, so an agent is a client as well.
        let usages: [ExtendedKeyUsage.Usage] = peer.role == .agent ? [.serverAuth, .clientAuth] : [.clientAuth]
        let issued = try leaf(
            key, named: peer.description, names: names, usages: usages, seconds: IdentityLimits.peerSeconds, now: now,
            using: &generator)
        return try Authority.described(issued)
    }

    /// Makes a key and a certificate for an HTTPS server under the given names and addresses.
    package func issueServer(
        names: [String], addresses: [IPAddress], now: Timestamp, using generator: inout some RandomNumberGenerator
    ) throws(IdentityError) -> (certificate: IssuedCertificate, key: KeyPair) {
        guard let first = names.first ?? addresses.first?.description else {
            throw .failed("a server certificate needs at least one name or address")
        }
        let pair = KeyPair()
        let all =
            names.map { GeneralName.dnsName($0) }
            + addresses.map { GeneralName.ipAddress(ASN1OctetString(contentBytes: $0.bytes[...])) }
        let issued = try leaf(
            .init(pair.key.publicKey), named: first, names: all, usages: [.serverAuth],
            seconds: IdentityLimits.serverSeconds, now: now, using: &generator)
        return (try Authority.described(issued), pair)
    }

    private func leaf(
        _ key: Certificate.PublicKey, named name: String, names: [GeneralName], usages: [ExtendedKeyUsage.Usage],
        seconds: Int64, now: Timestamp, using generator: inout some RandomNumberGenerator
    ) throws(IdentityError) -> Certificate {
        let usage: ExtendedKeyUsage
        do { usage = try ExtendedKeyUsage(usages) } catch { throw .failed("\(error)") }
        return try Authority.signed(
            Template(
                subject: try Authority.named(name), issuer: certificate.subject, key: key, lifetimeSeconds: seconds),
            by: keyPair, now: now, using: &generator
        ) {
            Critical(BasicConstraints.notCertificateAuthority)
            Critical(KeyUsage(digitalSignature: true))
            usage
            SubjectAlternativeNames(names)
            AuthorityKeyIdentifier(
                keyIdentifier: SubjectKeyIdentifier(hash: certificate.publicKey).keyIdentifier)
        }
    }

    private struct Template {
        var subject: DistinguishedName
        var issuer: DistinguishedName
        var key: Certificate.PublicKey
        var lifetimeSeconds: Int64
    }

    private static func signed(
        _ template: Template, by signer: KeyPair, now: Timestamp, using generator: inout some RandomNumberGenerator,
        @ExtensionsBuilder extensions: () throws -> Result<Certificate.Extensions, any Error>
    ) throws(IdentityError) -> Certificate {
        // RFC 5280, 4.1.2.2: positive, at most 20 bytes, and unpredictable.
        var serial: [UInt8] = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
        serial[0] = serial[0] & 0x7f | 0x40
        do {
            return try Certificate(
                version: .v3, serialNumber: .init(bytes: serial), publicKey: template.key,
                notValidBefore: now.adding(seconds: -IdentityLimits.backdateSeconds).date,
                notValidAfter: now.adding(seconds: template.lifetimeSeconds).date, issuer: template.issuer,
                subject: template.subject, signatureAlgorithm: .ecdsaWithSHA256,
                extensions: Certificate.Extensions(builder: extensions), issuerPrivateKey: .init(signer.key))
        } catch { throw .failed("a certificate could not be made: \(error)") }
    }

    private static func checkedKey(ofRequest pem: String) throws(IdentityError) -> Certificate.PublicKey {
        guard pem.utf8.count <= IdentityLimits.pemByteCountMax else {
            throw .unreadable(what: "certificate request", detail: "\(pem.utf8.count) bytes")
        }
        let request: CertificateSigningRequest
        do { request = try CertificateSigningRequest(pemEncoded: pem) } catch {
            throw .unreadable(what: "certificate request", detail: "\(error)")
        }
        guard P256.Signing.PublicKey(request.publicKey) != nil else { throw .badRequest("its key is not P-256") }
        guard request.publicKey.isValidSignature(request.signature, for: request) else {
            throw .badRequest("its signature is not of its key")
        }
        return request.publicKey
    }

    private static func named(_ name: String) throws(IdentityError) -> DistinguishedName {
        do {
            return try DistinguishedName {
                OrganizationName("Lamina")
                CommonName(String(name.prefix(64)))
            }
        } catch { throw .failed("'\(name)' cannot be the name of a certificate: \(error)") }
    }

    private static func described(_ certificate: Certificate) throws(IdentityError) -> IssuedCertificate {
        IssuedCertificate(
            pem: try pem(certificate), serial: Hex.encode(certificate.serialNumber.bytes),
            expiresAt: Timestamp(certificate.notValidAfter))
    }

    private static func pem(_ certificate: Certificate) throws(IdentityError) -> String {
        do { return try certificate.serializeAsPEM().pemString + "\n" } catch {
            throw .failed("a certificate could not be written: \(error)")
        }
    }
}

extension Timestamp {
    var date: Date { Date(timeIntervalSince1970: Double(milliseconds) / 1000) }
    init(_ date: Date) { self.init(milliseconds: Int64(date.timeIntervalSince1970 * 1000)) }
}
