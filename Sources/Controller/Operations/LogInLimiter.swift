import Model

/// Counts failed log-ins by account and by address. The first few cost nothing; then every further failure doubles the
/// pause before the next try is looked at. Tries that run count as failures until they end, so that many at once gain
/// nothing. A struct machine: no clock of its own.
struct LogInLimiter: Sendable {
    private struct Entry: Sendable {
        var failures = 0
        var last: Timestamp
        var openAt: Timestamp
        /// Tries whose password is being compared.
        var running = 0
    }
    private var entries: [String: Entry] = [:]

    /// Begins a try; whoever begins one ends it.
    /// - Returns: seconds to wait before one of these may try again; nil: the try has begun.
    mutating func begin(_ keys: [String], at now: Timestamp) -> Int? {
        let waits = keys.compactMap { key -> Int64? in
            guard let entry = entries[key] else { return nil }
            if entry.openAt > now { return (entry.openAt.milliseconds - now.milliseconds + 999) / 1000 }
            let isForgotten = now > entry.last.adding(seconds: OperationsLimits.logInMemorySeconds)
            let failures = isForgotten ? 0 : entry.failures
            return entry.running > 0 && failures + entry.running >= OperationsLimits.logInFailuresFree ? 1 : nil
        }
        if let wait = waits.max() { return Int(wait) }
        makeRoom(now)
        for key in keys { entries[key, default: Entry(last: now, openAt: now)].running += 1 }
        return nil
    }

    /// A try is over, whatever came of it.
    mutating func end(_ keys: [String]) {
        for key in keys {
            entries[key]?.running -= 1
            if let entry = entries[key], entry.running <= 0, entry.failures == 0 { entries[key] = nil }
        }
    }

    /// A log-in failed.
    mutating func failed(_ keys: [String], at now: Timestamp) {
        for key in keys {
            var entry = entries[key] ?? Entry(last: now, openAt: now)
            if now > entry.last.adding(seconds: OperationsLimits.logInMemorySeconds) { entry.failures = 0 }
            entry.failures += 1
            entry.last = now
            let over = entry.failures - OperationsLimits.logInFailuresFree
            let pause = over > 0 ? min(Int64(1) << min(over, 20), OperationsLimits.logInPauseSecondsMax) : 0
            entry.openAt = now.adding(seconds: pause)
            entries[key] = entry
        }
    }

    /// A log-in succeeded: the account is forgiven, the address is not (it may be trying many).
    mutating func succeeded(account key: String) { entries[key]?.failures = 0 }

    // A flood of invented names must not take memory, and must not push out those who are paused.
    private mutating func makeRoom(_ now: Timestamp) {
        guard entries.count >= OperationsLimits.logInEntriesMax else { return }
        entries = entries.filter {
            $0.value.running > 0 || $0.value.openAt > now
                || now < $0.value.last.adding(seconds: OperationsLimits.logInMemorySeconds)
        }
        if entries.count >= OperationsLimits.logInEntriesMax {
            let oldest = entries.filter { $0.value.running == 0 }.sorted { $0.value.openAt < $1.value.openAt }
                .prefix(entries.count / 2)
            for (key, _) in oldest { entries[key] = nil }
        }
    }
}
