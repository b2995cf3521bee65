import Synchronization

/// Why there is no next piece.
package enum RequestEnd: Error, Sendable, Equatable {
    /// The asker withdrew.
    case cancelled
    /// The link was cut.
    case cut
}

/// Pieces of data on their way from the link to a handler: at most two wait, then the link is held back.
final class PieceBox: Sendable {
    private static let countMax = 2

    fileprivate struct State {
        var pieces: [[UInt8]] = []
        /// `.success(nil)`: all came.
        var end: Result<[UInt8]?, RequestEnd>?
        var isClosed = false
        var taker: CheckedContinuation<Result<[UInt8]?, RequestEnd>, Never>?
        var giver: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    /// Hands a piece in; returns when there is room for another, or nobody wants it.
    func give(_ piece: [UInt8]) async {
        await withCheckedContinuation { continuation in
            let taker = state.withLock { state -> CheckedContinuation<Result<[UInt8]?, RequestEnd>, Never>? in
                guard !state.isClosed, state.end == nil else {
                    continuation.resume()
                    return nil
                }
                if let taker = state.taker {
                    state.taker = nil
                    continuation.resume()
                    return taker
                }
                state.pieces.append(piece)
                if state.pieces.count < PieceBox.countMax { continuation.resume() } else { state.giver = continuation }
                return nil
            }
            taker?.resume(returning: .success(piece))
        }
    }

    /// Nothing more comes. What came before the end of a cut link is still handed out.
    func finish(_ end: Result<[UInt8]?, RequestEnd>) {
        let (taker, giver) = state.withLock { state in
            guard state.end == nil else {
                return (CheckedContinuation<Result<[UInt8]?, RequestEnd>, Never>?.none, state.takeGiver())
            }
            state.end = end
            defer { state.taker = nil }
            return (state.taker, state.takeGiver())
        }
        taker?.resume(returning: end)
        giver?.resume()
    }

    /// The next piece; nil when all came.
    func take() async throws(RequestEnd) -> [UInt8]? {
        let result = await withCheckedContinuation { continuation in
            let (ready, giver) = state.withLock {
                state -> (Result<[UInt8]?, RequestEnd>?, CheckedContinuation<Void, Never>?) in
                if !state.pieces.isEmpty { return (.success(state.pieces.removeFirst()), state.takeGiver()) }
                if let end = state.end { return (end, nil) }
                state.taker = continuation
                return (nil, nil)
            }
            giver?.resume()
            if let ready { continuation.resume(returning: ready) }
        }
        return try result.get()
    }

    /// Nobody takes any more.
    func close() {
        let giver = state.withLock { state in
            state.isClosed = true
            state.pieces = []
            return state.takeGiver()
        }
        giver?.resume()
    }
}

extension PieceBox.State {
    fileprivate mutating func takeGiver() -> CheckedContinuation<Void, Never>? {
        defer { giver = nil }
        return giver
    }
}
