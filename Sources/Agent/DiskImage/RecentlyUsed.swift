import Synchronization

/// Keeps what was used last, up to a number of values.
///
/// Two generations: what is used goes to the young one; when that has half of all values, it becomes the old one, and
/// the old one's values, which nobody used since, are let go. So no step takes longer when more is kept.
final class RecentlyUsed<Value: AnyObject & Sendable>: Sendable {
    private struct State {
        var young: [UInt64: Value] = [:]
        var old: [UInt64: Value] = [:]

        mutating func use(_ value: Value, for key: UInt64, half: Int) {
            if young.count >= half {
                old = young
                young.removeAll(keepingCapacity: true)
            }
            young[key] = value
        }
    }
    private let state = Mutex(State())
    private let half: Int

    /// - Parameter capacity: the most values, at least 2.
    init(capacity: Int) { half = max(1, capacity / 2) }

    func value(for key: UInt64) -> Value? {
        state.withLock { state in
            if let value = state.young[key] { return value }
            guard let value = state.old[key] else { return nil }
            state.use(value, for: key, half: half)
            return value
        }
    }

    func insert(_ value: Value, for key: UInt64) {
        state.withLock { $0.use(value, for: key, half: half) }
    }
}
