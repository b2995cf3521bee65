/// A clock that only goes forward, and waits. A parameter, so that tests choose it; the real one is made in the Mains.
package struct MonotonicClock: Sendable {
    /// The time since a fixed moment.
    package let now: @Sendable () -> Duration
    /// Waits; ends early, without an error, when the task is cancelled.
    package let sleep: @Sendable (Duration) async -> Void

    /// Creates a clock from functions.
    package init(now: @escaping @Sendable () -> Duration, sleep: @escaping @Sendable (Duration) async -> Void) {
        self.now = now
        self.sleep = sleep
    }

    /// The clock of the system, from the moment of this call.
    package static func continuous() -> MonotonicClock {
        let clock = ContinuousClock()
        let start = clock.now
        return MonotonicClock(
            now: { clock.now - start },
            sleep: { duration in
                // The only error is cancellation, which is an early end here.
                do { try await clock.sleep(for: duration) } catch { return }
            })
    }
}
