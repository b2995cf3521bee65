import Inventory
import Model
import Synchronization

/// Takes a step's reports as they come and lets through at most four a second; a change of phase passes at once and is
/// also handed on to be made durable. Adds the rate and the time that is left.
final class ProgressSink: Sendable {
    private struct State {
        var latest: JobProgress
        var shownAt: Int64?
        var measuredAt: Int64
        var measuredBytes: UInt64
        var bytesPerSecond: UInt64 = 0
        var isFirst = true
        var notes: [String] = []
    }
    /// The first report of an attempt and those at changes of phase; ended by `finish`.
    let phases: AsyncStream<JobProgress>
    private let continuation: AsyncStream<JobProgress>.Continuation
    private let state: Mutex<State>
    private let clock: WallClock
    private let show: @Sendable (JobProgress) -> Void

    init(from progress: JobProgress, clock: WallClock, show: @escaping @Sendable (JobProgress) -> Void) {
        (phases, continuation) = AsyncStream.makeStream(of: JobProgress.self, bufferingPolicy: .bufferingNewest(1))
        state = Mutex(
            State(latest: progress, measuredAt: clock.now().milliseconds, measuredBytes: progress.doneBytes))
        self.clock = clock
        self.show = show
    }

    /// The last report.
    var latest: JobProgress { state.withLock { $0.latest } }

    /// What the step had to say.
    var notes: [String] { state.withLock { $0.notes } }

    func note(_ words: String) {
        state.withLock { state in
            if state.notes.count < SchedulerLimits.notesMax { state.notes.append(words) }
        }
    }

    func finish() { continuation.finish() }

    func report(_ given: JobProgress) {
        let now = clock.now().milliseconds
        let (shown, isNewPhase) = state.withLock { state -> (JobProgress?, Bool) in
            var progress = given
            let isNewPhase = state.isFirst || progress.phase != state.latest.phase
            state.isFirst = false
            if isNewPhase || progress.doneBytes < state.measuredBytes {
                (state.measuredAt, state.measuredBytes, state.bytesPerSecond) = (now, progress.doneBytes, 0)
            } else if now - state.measuredAt >= SchedulerLimits.rateMilliseconds {
                let rate = Double(progress.doneBytes - state.measuredBytes) * 1000 / Double(now - state.measuredAt)
                // Half of the last rate: quick to follow, slow to jump.
                let last = Double(state.bytesPerSecond)
                let smooth = state.bytesPerSecond == 0 ? rate : (rate + last) / 2
                (state.measuredAt, state.measuredBytes) = (now, progress.doneBytes)
                state.bytesPerSecond = UInt64(min(smooth, 1e15))
            }
            progress.bytesPerSecond = state.bytesPerSecond
            progress.fraction = min(max(progress.fraction.isFinite ? progress.fraction : 0, 0), 1)
            if let total = progress.totalBytes, total > progress.doneBytes, state.bytesPerSecond > 0 {
                progress.etaSeconds = Int(min((total - progress.doneBytes) / state.bytesPerSecond, 1 << 31))
            }
            state.latest = progress
            let isDue = isNewPhase || now - (state.shownAt ?? .min / 2) >= SchedulerLimits.progressMilliseconds
            if isDue { state.shownAt = now }
            return (isDue ? progress : nil, isNewPhase)
        }
        guard let shown else { return }
        show(shown)
        if isNewPhase { continuation.yield(shown) }
    }
}
