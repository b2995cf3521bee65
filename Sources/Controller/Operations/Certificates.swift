import Identity
import Inventory
import Model
import Secrets

/// A signed certificate and the roots that vouch for it.
struct SignedCertificate: Sendable {
    var certificatePEM: String
    var authorityPEM: String
    var issuedAt: Timestamp
    var expiresAt: Timestamp
}

/// Random numbers for the certificates' serials, from the source that the Mains give.
struct RandomNumbers: RandomNumberGenerator {
    let randomness: Randomness

    mutating func next() -> UInt64 { randomness.bytes(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

extension Rooms {
    /// Signs an agent's request: the certificate names the storage, whatever the request says.
    func sign(_ requestPEM: String, for storage: ImageStorageID) throws(OperationError) -> SignedCertificate {
        var numbers = RandomNumbers(randomness: randomness)
        let now = clock.now()
        do throws(IdentityError) {
            let issued = try authority.issue(
                requestPEM: requestPEM, to: .agent(of: storage), now: now, using: &numbers)
            return SignedCertificate(
                certificatePEM: issued.pem, authorityPEM: authority.certificatePEM, issuedAt: now,
                expiresAt: issued.expiresAt)
        } catch { throw .host(code: "certificate-refused", detail: "\(error)") }
    }
}

extension Operations {
    /// The controller's CA from the inventory, where its key is sealed; made at the first start.
    package static func openAuthority(
        inventory: Inventory, clock: WallClock, randomness: Randomness
    ) async throws(OperationError) -> Authority {
        try await inventory.write { transaction throws(OperationError) in
            let keyPlace = SealedPlace(table: "controller", row: "authority", field: "key")
            let certificatePlace = SealedPlace(table: "controller", row: "authority", field: "certificate")
            do throws(IdentityError) {
                if let key = try unsealed(transaction, keyPlace), let pem = try unsealed(transaction, certificatePlace)
                {
                    return try Authority(certificatePEM: pem, keyPEM: key)
                }
                var numbers = RandomNumbers(randomness: randomness)
                let made = try Authority(creating: "Lamina controller", now: clock.now(), using: &numbers)
                try seal(transaction, made.keyPEM, keyPlace)
                try seal(transaction, made.certificatePEM, certificatePlace)
                return made
            } catch { throw .internal(detail: "the certificate authority cannot be used: \(error)") }
        }
    }

    private static func unsealed(
        _ transaction: Transaction<OperationError>, _ place: SealedPlace
    ) throws(IdentityError) -> String? {
        do throws(OperationError) {
            return try transaction.unseal(at: place).map { String(decoding: $0, as: UTF8.self) }
        } catch { throw .failed(error.detail) }
    }

    private static func seal(
        _ transaction: Transaction<OperationError>, _ text: String, _ place: SealedPlace
    ) throws(IdentityError) {
        do throws(OperationError) { try transaction.seal(Array(text.utf8), at: place) } catch {
            throw .failed(error.detail)
        }
    }
}
