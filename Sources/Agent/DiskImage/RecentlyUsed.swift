import Synchronization

/// Keeps what was used last, up to a number of values.
final class RecentlyUsed<Value: AnyObject & Sendable>: Sendable {
    private struct State {
        var values: [UInt64: (value: Value, usedAt: UInt64)] = [:]
        var now: UInt64 = 0
    }
    private let state = Mutex(State())
    private let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    func value(for key: UInt64) -> Value? {
        state.withLock { state in
            guard let index = state.values.index(forKey: key) else { return nil }
            state.now += 1
            state.values.values[index].usedAt = state.now
            return state.values.values[index].value
        }
    }

    func insert(_ value: Value, for key: UInt64) {
        state.withLock { state in
            state.now += 1
            if state.values.count >= capacity, state.values[key] == nil,
                let oldest = state.values.min(by: { $0.value.usedAt < $1.value.usedAt })
            {
                state.values[oldest.key] = nil
            }
            state.values[key] = (value, state.now)
        }
    }
}
