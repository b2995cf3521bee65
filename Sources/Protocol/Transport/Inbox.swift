import Synchronization
import Wire

/// Received frames on their way from the event loop to the one task that takes them.
final class Inbox: Sendable {
    private struct State {
        var frames: [Frame] = []
        var head = 0
        var byteCount = 0
        var isPaused = false
        var end: Result<Frame?, LinkError>?
        var waiter: CheckedContinuation<Result<Frame?, LinkError>, Never>?
        var isCancelPending = false

        var count: Int { frames.count - head }

        mutating func pop() -> Frame? {
            guard head < frames.count else { return nil }
            let frame = frames[head]
            frames[head] = Frame(.ping)  // lets go of the payload
            head += 1
            byteCount -= frame.payload.count
            if head == frames.count {
                frames.removeAll(keepingCapacity: true)
                head = 0
            }
            return frame
        }
    }

    private let state = Mutex(State())

    /// Whether nothing more should be read from the socket for now.
    var isPaused: Bool { state.withLock { $0.isPaused } }

    /// Puts frames in; called on the event loop.
    func put(_ frames: [Frame]) {
        let handOver = state.withLock { state -> (CheckedContinuation<Result<Frame?, LinkError>, Never>, Frame)? in
            guard state.end == nil else { return nil }
            for frame in frames {
                state.frames.append(frame)
                state.byteCount += frame.payload.count
            }
            let taken = state.waiter.flatMap { waiter in state.pop().map { (waiter, $0) } }
            if taken != nil { state.waiter = nil }
            state.isPaused =
                state.byteCount >= TransportLimits.inboxByteCountMax
                || state.count >= TransportLimits.inboxFrameCountMax
            return taken
        }
        if let (waiter, frame) = handOver { waiter.resume(returning: .success(frame)) }
    }

    /// Nothing more comes. The first end counts; frames that wait are still given out unless `drops`.
    func finish(_ end: Result<Frame?, LinkError>, drops: Bool = false) {
        let waiter = state.withLock { state -> CheckedContinuation<Result<Frame?, LinkError>, Never>? in
            if drops {
                state.frames = []
                state.head = 0
                state.byteCount = 0
            }
            guard state.end == nil else { return nil }
            state.end = end
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: end)
    }

    /// Takes a frame; `resumes` is called when the socket may be read again.
    func take(resumes: @Sendable () -> Void) async -> Result<Frame?, LinkError> {
        let early = state.withLock { state -> Result<Frame?, LinkError>? in
            state.isCancelPending = false
            return Inbox.ready(&state)
        }
        let result: Result<Frame?, LinkError>
        if let early {
            result = early
        } else {
            result = await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let ready = state.withLock { state -> Result<Frame?, LinkError>? in
                        if state.isCancelPending { return .failure(.cancelled) }
                        precondition(state.waiter == nil, "one task receives")
                        if let ready = Inbox.ready(&state) { return ready }
                        state.waiter = continuation
                        return nil
                    }
                    if let ready { continuation.resume(returning: ready) }
                }
            } onCancel: {
                let waiter = state.withLock { state -> CheckedContinuation<Result<Frame?, LinkError>, Never>? in
                    state.isCancelPending = true
                    defer { state.waiter = nil }
                    return state.waiter
                }
                waiter?.resume(returning: .failure(.cancelled))
            }
        }
        let mayRead = state.withLock { state in
            guard state.isPaused, state.byteCount < TransportLimits.inboxByteCountMax / 2,
                state.count < TransportLimits.inboxFrameCountMax / 2
            else { return false }
            state.isPaused = false
            return true
        }
        if mayRead { resumes() }
        return result
    }

    private static func ready(_ state: inout State) -> Result<Frame?, LinkError>? {
        if let frame = state.pop() { return .success(frame) }
        return state.end
    }
}

/// Counts the bytes on their way to the socket and holds senders back.
final class Outbox: Sendable {
    private struct State {
        var byteCount = 0
        var end: LinkError?
        var waiters: [CheckedContinuation<LinkError?, Never>] = []
    }

    private let state = Mutex(State())

    /// Announces bytes that will be written.
    func add(_ count: Int) throws(LinkError) {
        let end = state.withLock { state in
            if state.end == nil { state.byteCount += count }
            return state.end
        }
        if let end { throw end }
    }

    /// Waits until there is room.
    func room() async throws(LinkError) {
        let end = await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> LinkError?? in
                if let end = state.end { return .some(end) }
                if state.byteCount <= TransportLimits.outboxByteCountMax { return .some(nil) }
                state.waiters.append(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
        if let end { throw end }
    }

    /// Bytes were written.
    func wrote(_ count: Int) {
        let waiters = state.withLock { state -> [CheckedContinuation<LinkError?, Never>] in
            state.byteCount -= count
            guard state.byteCount <= TransportLimits.outboxByteCountLow else { return [] }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: nil) }
    }

    /// Nothing more can be written. The first end counts.
    func finish(_ end: LinkError) {
        let waiters = state.withLock { state -> [CheckedContinuation<LinkError?, Never>] in
            if state.end == nil { state.end = end }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: end) }
    }
}
