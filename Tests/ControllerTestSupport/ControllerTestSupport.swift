// What the tests of the controller's rooms share: a directory that goes away, a clock that stands, random bytes that
// do not differ from run to run.
import Foundation
import Inventory
import Model
import Secrets
import Synchronization

/// A directory that is removed with the object.
package final class TemporaryDirectory: Sendable {
    /// Its path.
    package let path: String

    /// Makes one.
    package init() throws {
        var template = Array((NSTemporaryDirectory() + "lamina-test-XXXXXX").utf8CString)
        guard let made = mkdtemp(&template) else { throw CocoaError(.fileWriteUnknown) }
        path = String(cString: made)
    }

    deinit {
        // A directory that cannot be removed is the system's to clean.
        try? FileManager.default.removeItem(atPath: path)
    }
}

/// A clock that moves only when told to.
package final class ManualClock: Sendable {
    private let time = Mutex<Int64>(1_790_000_000_000)

    /// Creates a clock at a fixed moment.
    package init() {}

    /// The clock as a parameter.
    package var wall: WallClock { WallClock { Timestamp(milliseconds: self.time.withLock { $0 }) } }

    /// Moves on.
    package func advance(seconds: Int64) { time.withLock { $0 += seconds * 1000 } }

    /// Moves on.
    package func advance(milliseconds: Int64) { time.withLock { $0 += milliseconds } }
}

extension Randomness {
    /// SplitMix64: the same bytes in every run.
    package static func seeded(_ seed: UInt64) -> Randomness {
        let state = SeededState(seed)
        return Randomness { count in
            state.value.withLock { value in
                (0..<count).map { _ in
                    value &+= 0x9e37_79b9_7f4a_7c15
                    var mixed = value
                    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
                    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
                    return UInt8(truncatingIfNeeded: mixed ^ (mixed >> 31))
                }
            }
        }
    }
}

private final class SeededState: Sendable {
    let value: Mutex<UInt64>
    init(_ seed: UInt64) { value = Mutex(seed) }
}

/// An inventory in a directory of its own; `reopen` is what a restart of the controller does.
package final class InventoryBench: Sendable {
    /// Where it is.
    package let directory: TemporaryDirectory
    /// Its clock.
    package let clock = ManualClock()
    /// Its randomness.
    package let randomness = Randomness.seeded(1)
    private let open: Mutex<Inventory>

    /// The inventory's path.
    package var path: String { directory.path + "/inventory.sqlite" }

    /// Opens a copy that `Inventory.backUp` made: the inventory as another controller finds it after a crash.
    package init(opening copy: String) throws {
        directory = try TemporaryDirectory()
        try FileManager.default.copyItem(atPath: copy, toPath: directory.path + "/inventory.sqlite")
        open = Mutex(
            try Inventory.open(
                path: directory.path + "/inventory.sqlite", sealer: InventoryBench.sealer(), clock: clock.wall))
    }

    /// A path for such a copy that goes away with the bench.
    package static func copyPath(in bench: InventoryBench) -> String { bench.directory.path + "/copy.sqlite" }

    /// The inventory as it is open now.
    package var inventory: Inventory { open.withLock { $0 } }

    /// The sealer with the bench's key.
    package static func sealer(_ byte: UInt8 = 7) -> Sealer {
        guard let sealer = Sealer(key: [UInt8](repeating: byte, count: 32), randomness: .seeded(UInt64(byte))) else {
            preconditionFailure("32 bytes are a key")
        }
        return sealer
    }

    /// Makes an empty inventory.
    package init() throws {
        directory = try TemporaryDirectory()
        open = Mutex(
            try Inventory.open(
                path: directory.path + "/inventory.sqlite", sealer: InventoryBench.sealer(), clock: clock.wall))
    }

    /// Closes it, if it is open, and opens it again.
    package func reopen() throws {
        try inventory.close()
        let fresh = try Inventory.open(path: path, sealer: InventoryBench.sealer(), clock: clock.wall)
        open.withLock { $0 = fresh }
    }

    /// A transaction with the inventory's own error.
    @discardableResult
    package func write<T: Sendable>(
        _ body: @escaping @Sendable (Transaction<InventoryError>) throws(InventoryError) -> T
    ) async throws(InventoryError) -> T { try await inventory.write(body) }
}

/// Waits until something is so, without sleeping; gives up after so many turns.
package func eventually(_ turns: Int = 200_000, _ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<turns {
        if try await condition() { return true }
        await Task.yield()
    }
    return false
}
