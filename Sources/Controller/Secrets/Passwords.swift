import Crypto
import CryptoExtras
import Dispatch
import Foundation
import Model
import Synchronization

/// What a password costs to check. Stored with every hash, so that it may be raised later.
package struct ScryptCost: Hashable, Sendable {
    /// The logarithm of the number of rounds.
    package var logarithm: Int
    /// The block size factor.
    package var blockSize: Int
    /// The parallelism factor.
    package var parallelism: Int

    /// Creates a cost.
    package init(logarithm: Int, blockSize: Int, parallelism: Int) {
        self.logarithm = logarithm
        self.blockSize = blockSize
        self.parallelism = parallelism
    }

    /// 32 MiB and about 0.1 s of a core.
    package static let standard = ScryptCost(logarithm: 15, blockSize: 8, parallelism: 1)
}

/// Hashes and checks passwords with scrypt on threads of its own, a few at a time.
package final class Passwords: Sendable {
    private struct Load {
        var waiting = 0
        var next = 0
    }
    private let cost: ScryptCost
    private let randomness: Randomness
    private let workers: [DispatchQueue]
    private let load = Mutex(Load())

    /// Creates the workers.
    package init(cost: ScryptCost = .standard, randomness: Randomness) {
        self.cost = cost
        self.randomness = randomness
        workers = (0..<SecretsLimits.hashingMax).map { DispatchQueue(label: "lamina.passwords.\($0)") }
    }

    /// The text to store: `scrypt$1$ln,r,p$salt$hash`.
    package func hash(_ password: Secret) async throws(SecretsError) -> String {
        let salt = randomness.bytes(16)
        let cost = self.cost
        return try await onWorker { () -> Result<String, SecretsError> in
            guard let hash = Passwords.derive(password, salt: salt, cost: cost) else { return .failure(.malformedHash) }
            let numbers = "\(cost.logarithm),\(cost.blockSize),\(cost.parallelism)"
            return .success("scrypt$1$\(numbers)$\(Hex.encode(salt))$\(Hex.encode(hash))")
        }
    }

    /// Whether `password` is the one that `stored` was made of. `stored` nil (no such account) takes as long and is false.
    package func verify(_ password: Secret, against stored: String?) async throws(SecretsError) -> Bool {
        let randomness = self.randomness
        let cost = self.cost
        return try await onWorker { () -> Result<Bool, SecretsError> in
            guard let stored else {
                _ = Passwords.derive(password, salt: randomness.bytes(16), cost: cost)
                return .success(false)
            }
            guard let (storedCost, salt, hash) = Passwords.parse(stored),
                let derived = Passwords.derive(password, salt: salt, cost: storedCost)
            else { return .failure(.malformedHash) }
            return .success(ConstantTime.isEqual(derived, hash))
        }
    }

    private func onWorker<T: Sendable>(
        _ work: @escaping @Sendable () -> Result<T, SecretsError>
    ) async throws(SecretsError) -> T {
        let worker = load.withLock { load -> DispatchQueue? in
            guard load.waiting < SecretsLimits.waitingMax else { return nil }
            load.waiting += 1
            load.next = (load.next + 1) % workers.count
            return workers[load.next]
        }
        guard let worker else { throw .busy }
        let result = await withCheckedContinuation { continuation in
            worker.async { continuation.resume(returning: work()) }
        }
        load.withLock { $0.waiting -= 1 }
        return try result.get()
    }

    private static func derive(_ password: Secret, salt: [UInt8], cost: ScryptCost) -> [UInt8]? {
        let bytes = Array(password.reveal.utf8)
        guard bytes.count <= SecretsLimits.passwordByteCountMax else {
            // Too long to be anyone's password, but it must not answer faster than a wrong one.
            return derive(Secret("-"), salt: salt, cost: cost).map { $0.map { ~$0 } }
        }
        let key = try? KDF.Scrypt.deriveKey(
            from: bytes, salt: salt, outputByteCount: 32, rounds: 1 << cost.logarithm, blockSize: cost.blockSize,
            parallelism: cost.parallelism)
        return key?.withUnsafeBytes { Array($0) }
    }

    private static func parse(_ stored: String) -> (ScryptCost, [UInt8], [UInt8])? {
        let parts = stored.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0] == "scrypt", parts[1] == "1", let salt = Hex.decode(parts[3]),
            let hash = Hex.decode(parts[4]), hash.count == 32
        else { return nil }
        let numbers = parts[2].split(separator: ",").compactMap { Int($0) }
        guard numbers.count == 3, (1...20).contains(numbers[0]), (1...32).contains(numbers[1]),
            (1...16).contains(numbers[2])
        else { return nil }
        return (ScryptCost(logarithm: numbers[0], blockSize: numbers[1], parallelism: numbers[2]), salt, hash)
    }
}

/// Comparisons whose time tells nothing of what is compared.
package enum ConstantTime {
    /// Whether two byte strings are equal; the time depends on their lengths only.
    package static func isEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        var difference: UInt8 = 0
        for index in a.indices { difference |= a[index] ^ b[index] }
        return difference == 0
    }
}
