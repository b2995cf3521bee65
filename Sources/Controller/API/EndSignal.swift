import Synchronization

/// Tells answers that have no end of their own that the controller ends.
package final class EndSignal: Sendable {
    private struct State: Sendable {
        var isRaised = false
        var next = 0
        var waiting: [Int: @Sendable () -> Void] = [:]
    }

    private let state = Mutex(State())

    /// Creates a signal that is not raised.
    package init() {}

    /// Raises it; all that wait are told once.
    package func raise() {
        let waiting = state.withLock { state in
            state.isRaised = true
            defer { state.waiting = [:] }
            return state.waiting
        }
        for tell in waiting.values { tell() }
    }

    /// Calls `tell` when the signal is raised, or at once when it was.
    /// - Returns: a number for `forget`.
    func whenRaised(_ tell: @escaping @Sendable () -> Void) -> Int {
        let number: Int? = state.withLock { state in
            guard !state.isRaised else { return nil }
            state.next += 1
            state.waiting[state.next] = tell
            return state.next
        }
        guard let number else {
            tell()
            return 0
        }
        return number
    }

    /// Does not call what waits under `number` any more.
    func forget(_ number: Int) { state.withLock { $0.waiting[number] = nil } }
}
