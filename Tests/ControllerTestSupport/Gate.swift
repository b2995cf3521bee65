import Synchronization

/// A door at which tasks wait until a test opens it, or until they are cancelled.
package final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var arrivals = 0
        var next = 0
        var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
        /// Cancelled before they began to wait.
        var gone: Set<Int> = []
    }
    private let state = Mutex(State())

    /// Creates a closed gate.
    package init() {}

    /// How many came to it.
    package var arrivals: Int { state.withLock { $0.arrivals } }

    /// Waits until it is open. False: the task was cancelled.
    @discardableResult
    package func wait() async -> Bool {
        let number = state.withLock { state in
            state.arrivals += 1
            state.next += 1
            return state.next
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.isOpen || state.gone.remove(number) != nil { return true }
                    state.waiting[number] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { state -> CheckedContinuation<Void, Never>? in
                if let waiting = state.waiting.removeValue(forKey: number) { return waiting }
                state.gone.insert(number)
                return nil
            }?.resume()
        }
        return !Task.isCancelled
    }

    /// Lets everyone through, now and later.
    package func open() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [:] }
            return state.waiting.values
        }
        for continuation in waiting { continuation.resume() }
    }
}
