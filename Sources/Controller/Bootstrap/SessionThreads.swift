import Foundation
import Synchronization

/// Own threads for blocking sessions: at most `Limits.sessionsMax` at once, the rest wait in line.
/// libssh2 blocks and one session belongs to one thread, so none of this may run on the cooperative pool.
final class SessionThreads: Sendable {
    private struct State {
        var running = 0
        var waiting: [@Sendable () -> Void] = []
    }
    private let state = Mutex(State())

    /// Runs `body` on a thread of its own. When the task is cancelled, `cancellation` is, and `body` ends soon after.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (Cancellation) throws(BootstrapError) -> Value
    ) async throws(BootstrapError) -> Value {
        let cancellation = Cancellation()
        let result: Result<Value, BootstrapError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                enqueue {
                    do throws(BootstrapError) {
                        if cancellation.isCancelled { throw .cancelled }
                        continuation.resume(returning: .success(try body(cancellation)))
                    } catch {
                        // A connection that we cut ourselves breaks in many ways; they all mean the same.
                        continuation.resume(returning: .failure(cancellation.isCancelled ? .cancelled : error))
                    }
                }
            }
        } onCancel: {
            cancellation.cancel()
        }
        return try result.get()
    }

    private func enqueue(_ work: @escaping @Sendable () -> Void) {
        let startsThread = state.withLock { state in
            state.waiting.append(work)
            guard state.running < Limits.sessionsMax else { return false }
            state.running += 1
            return true
        }
        if startsThread { Thread.detachNewThread { [self] in drain() } }
    }

    private func drain() {
        while true {
            let next: (@Sendable () -> Void)? = state.withLock { state in
                if state.waiting.isEmpty {
                    state.running -= 1
                    return nil
                }
                return state.waiting.removeFirst()
            }
            guard let next else { return }
            next()
        }
    }
}

/// Ends a session from another thread: its socket is shut down, so that whatever waits for it wakes up.
final class Cancellation: Sendable {
    private struct State {
        var isCancelled = false
        var socket: Int32 = -1
    }
    private let state = Mutex(State())

    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    func cancel() {
        state.withLock { state in
            state.isCancelled = true
            if state.socket >= 0 { shutdown(state.socket, Int32(SHUT_RDWR)) }
        }
    }

    /// Names the socket to shut down; -1 before it is closed, so that no other file is ever hit.
    func watch(_ socket: Int32) {
        state.withLock { state in
            state.socket = socket
            if state.isCancelled, socket >= 0 { shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }
}
