import Glibc
import Synchronization

/// A bounded number of threads for calls that block. Threads start when there is work and end when there is none.
package final class WorkerThreads: Sendable {
    private struct State {
        var queue: [@Sendable () -> Void] = []
        var head = 0
        var threadCount = 0

        mutating func pop() -> (@Sendable () -> Void)? {
            guard head < queue.count else {
                queue.removeAll(keepingCapacity: true)
                head = 0
                return nil
            }
            defer { head += 1 }
            return queue[head]
        }
    }

    private final class Start {
        let threads: WorkerThreads
        init(_ threads: WorkerThreads) { self.threads = threads }
    }

    private let countMax: Int
    private let state = Mutex(State())

    /// Creates the threads' owner; none runs yet.
    package init(countMax: Int) { self.countMax = countMax }

    /// Runs `body` on one of the threads and answers what it answers.
    package func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withCheckedContinuation { continuation in
            start { continuation.resume(returning: body()) }
        }
    }

    /// Runs `body` on one of the threads, some time.
    func start(_ body: @escaping @Sendable () -> Void) {
        let needsThread = state.withLock { state in
            state.queue.append(body)
            guard state.threadCount < countMax else { return false }
            state.threadCount += 1
            return true
        }
        guard needsThread else { return }
        var thread = pthread_t()
        let raw = Unmanaged.passRetained(Start(self)).toOpaque()
        let started = pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                Unmanaged<Start>.fromOpaque(raw).takeRetainedValue().threads.work()
                return nil
            }, raw)
        if started == 0 {
            pthread_detach(thread)
        } else {
            // The system has no more threads: late is better than never.
            Unmanaged<Start>.fromOpaque(raw).release()
            work()
        }
    }

    private func work() {
        while true {
            let next = state.withLock { state -> (@Sendable () -> Void)? in
                guard let next = state.pop() else {
                    state.threadCount -= 1
                    return nil
                }
                return next
            }
            guard let next else { return }
            next()
        }
    }
}
