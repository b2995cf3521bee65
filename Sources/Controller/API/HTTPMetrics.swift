import Synchronization

/// Counts of requests, for `/metrics`.
final class HTTPMetrics: Sendable {
    /// Upper bounds of the buckets of durations, in seconds.
    static let bucketBounds: [Double] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]

    struct Series: Hashable, Sendable {
        var method: String
        var route: String
        var code: Int
    }

    struct Durations: Sendable {
        var buckets = [UInt64](repeating: 0, count: HTTPMetrics.bucketBounds.count)
        var count: UInt64 = 0
        var sum = 0.0
    }

    struct State: Sendable {
        var requests: [Series: UInt64] = [:]
        var durations: [String: Durations] = [:]
    }

    private let state = Mutex(State())

    /// Counts one request. Only routes of the table and usual methods become labels: outsiders cannot make new ones.
    func count(method: String, route: String, status: Int, duration: Duration) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(method) ? method : "other"
        let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
        state.withLock { state in
            state.requests[Series(method: known, route: route, code: status), default: 0] += 1
            var durations = state.durations[route] ?? Durations()
            durations.count += 1
            durations.sum += seconds
            for (index, bound) in HTTPMetrics.bucketBounds.enumerated() where seconds <= bound {
                durations.buckets[index] += 1
            }
            state.durations[route] = durations
        }
    }

    /// What was counted so far.
    var snapshot: State { state.withLock { $0 } }
}
