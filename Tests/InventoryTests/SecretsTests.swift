// Goal: secrets stay secret, and proofs of identity are checked rightly.
// Method: known answers, and every way a sealed value can be wrong.
import ControllerTestSupport
import Foundation
import Model
import Secrets
import Testing

@Suite struct Sealing {
    private let place = SealedPlace(table: "t", row: "r", field: "f")

    @Test func opensAtItsPlaceOnly() throws {
        let sealer = InventoryBench.sealer()
        let sealed = try sealer.seal(Array("password".utf8), at: place)
        #expect(try sealer.open(sealed, at: place) == Array("password".utf8))
        #expect(try sealer.seal(Array("password".utf8), at: place) != sealed)
        for other in [
            SealedPlace(table: "u", row: "r", field: "f"), SealedPlace(table: "t", row: "s", field: "f"),
            SealedPlace(table: "t", row: "r", field: "g"), SealedPlace(table: "tr", row: "", field: "f"),
        ] {
            #expect(throws: SecretsError.cannotOpen) { try sealer.open(sealed, at: other) }
        }
        #expect(throws: SecretsError.cannotOpen) { try InventoryBench.sealer(8).open(sealed, at: place) }
    }

    @Test func everyFlippedBitIsNoticed() throws {
        let sealer = InventoryBench.sealer()
        let sealed = try sealer.seal([1, 2, 3], at: place)
        for index in sealed.indices {
            var damaged = sealed
            damaged[index] ^= 1
            #expect(throws: SecretsError.self) { try sealer.open(damaged, at: place) }
        }
        for count in 0..<sealed.count {
            #expect(throws: SecretsError.self) { try sealer.open(Array(sealed.prefix(count)), at: place) }
        }
        #expect(throws: SecretsError.unknownVersion(2)) { try sealer.open([2] + sealed.dropFirst(), at: place) }
    }

    // Made by another implementation (Python's `cryptography`): AES-256-GCM with the key 07 x 32, the nonce 10...1b and
    // the associated data 01 "lamina-sealed" 00000001 "t" 00000001 "r" 00000001 "f".
    @Test func versionOneIsPinned() throws {
        let golden = "01101112131415161718191a1bab7c863349f265b24a657fe3ad37b9e08d2f0dff6b39"
        let sealed = try #require(Hex.decode(golden))
        #expect(try InventoryBench.sealer().open(sealed, at: place) == Array("golden".utf8))
    }

    @Test func keyFileIsMadeOnceAndGuarded() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/key"
        #expect(throws: SecretsError.self) {
            try Sealer.open(keyFile: path, mayCreate: false, randomness: .seeded(1))
        }
        let sealed = try Sealer.open(keyFile: path, randomness: .seeded(1)).seal([9], at: place)
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["key"])
        #expect(try Sealer.open(keyFile: path, randomness: .seeded(2)).open(sealed, at: place) == [9])
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        #expect(throws: SecretsError.self) { try Sealer.open(keyFile: path, randomness: .seeded(1)) }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
        #expect(throws: SecretsError.self) { try Sealer.open(keyFile: path, randomness: .seeded(1)) }
    }
}

@Suite struct PasswordHashes {
    private let passwords = Passwords(
        cost: ScryptCost(logarithm: 4, blockSize: 8, parallelism: 1), randomness: .seeded(3))

    @Test func rightAndWrong() async throws {
        let stored = try await passwords.hash(Secret("correct horse"))
        #expect(stored.hasPrefix("scrypt$1$4,8,1$"))
        #expect(try await passwords.verify(Secret("correct horse"), against: stored))
        #expect(try await !passwords.verify(Secret("correct horsf"), against: stored))
        #expect(try await !passwords.verify(Secret(""), against: stored))
        #expect(try await !passwords.verify(Secret(String(repeating: "x", count: 5000)), against: stored))
        #expect(try await !passwords.verify(Secret("correct horse"), against: nil))
        #expect(try await passwords.hash(Secret("correct horse")) != stored)
    }

    // RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1), its first 32 bytes.
    @Test func knownAnswer() async throws {
        let salt = Hex.encode(Array("SodiumChloride".utf8))
        let hash = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        #expect(try await passwords.verify(Secret("pleaseletmein"), against: "scrypt$1$14,8,1$\(salt)$\(hash)"))
    }

    @Test(arguments: ["", "scrypt", "scrypt$2$4,8,1$00$00", "scrypt$1$99,8,1$00$00", "bcrypt$1$4,8,1$00$00"])
    func damagedHashes(_ stored: String) async throws {
        await #expect(throws: SecretsError.malformedHash) {
            try await passwords.verify(Secret("x"), against: stored)
        }
    }
}

@Suite struct Tokens {
    @Test func formAndDigest() throws {
        let token = BearerToken(randomness: .seeded(5))
        #expect(token.secret.reveal.hasPrefix("lamina_"))
        #expect(token.secret.reveal.count == 50)
        let read = try #require(BearerToken(token.secret.reveal))
        #expect(read.digest == token.digest)
        #expect("\(token.secret)" == "(secret)")
        for wrong in ["", "lamina_", "lamina_x", token.secret.reveal + "x", "x" + token.secret.reveal.dropFirst()] {
            #expect(BearerToken(wrong) == nil)
        }
    }

    @Test func comparing() {
        #expect(ConstantTime.isEqual([1, 2], [1, 2]))
        #expect(!ConstantTime.isEqual([1, 2], [1, 3]))
        #expect(!ConstantTime.isEqual([1, 2], [1]))
    }
}
