import ControllerTestSupport
import Synchronization

/// Where a test steps in: a fault, a hold, or something to do before or after a call of a name.
final class Taps<Fault: Error & Sendable>: Sendable {
    /// Before: the call is not made. After: it was made, and its answer is lost.
    enum Moment: Sendable, CaseIterable { case before, after }
    typealias Action = @Sendable () async -> Fault?
    private struct Tap: Sendable {
        var name: String
        var moment: Moment
        var count: Int
        var action: Action
    }
    private let taps = Mutex<[Tap]>([])
    private let lines = Mutex<[String]>([])

    /// The names of the calls so far.
    var journal: [String] { lines.withLock { $0 } }

    func count(_ name: String) -> Int { journal.count { $0 == name } }

    func clear() {
        taps.withLock { $0 = [] }
        lines.withLock { $0 = [] }
    }

    /// Does something at the next `times` calls of a name; what it answers is thrown.
    func on(_ name: String, _ moment: Moment, times: Int = 1, _ action: @escaping Action) {
        taps.withLock { $0.append(Tap(name: name, moment: moment, count: times, action: action)) }
    }

    func fail(_ name: String, _ moment: Moment = .before, times: Int = .max, with fault: Fault) {
        on(name, moment, times: times) { fault }
    }

    /// Holds the next call of a name until the gate is opened; a caller who is cancelled gets `cut`.
    func hold(_ name: String, _ moment: Moment, cut: Fault) -> Gate {
        let gate = Gate()
        on(name, moment) { await gate.wait() ? nil : cut }
        return gate
    }

    /// Makes a call with what is tapped around it.
    func around<T: Sendable>(_ name: String, _ call: () async throws(Fault) -> T) async throws(Fault) -> T {
        lines.withLock { $0.append(name) }
        if let fault = await touch(name, .before) { throw fault }
        let answer = try await call()
        if let fault = await touch(name, .after) { throw fault }
        return answer
    }

    private func touch(_ name: String, _ moment: Moment) async -> Fault? {
        let action = taps.withLock { taps -> Action? in
            guard let index = taps.firstIndex(where: { $0.name == name && $0.moment == moment && $0.count > 0 })
            else { return nil }
            taps[index].count -= 1
            return taps[index].action
        }
        return await action?()
    }
}
