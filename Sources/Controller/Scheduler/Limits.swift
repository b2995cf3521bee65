/// The bounds of this room.
package enum SchedulerLimits {
    /// How often a step that failed for a passing reason is tried, unless it says otherwise.
    package static let attemptsMax = 5
    /// How often an undo is tried before the job ends without it.
    package static let undoAttemptsMax = 8
    /// The first pause before a step is tried again; it doubles.
    package static let retryDelayMin: Duration = .seconds(1)
    /// The longest pause before a step is tried again.
    package static let retryDelayMax: Duration = .seconds(30)
    /// The longest pause while something is waited for that comes back by itself.
    package static let waitDelayMax: Duration = .seconds(5)
    /// The pause when the inventory fails.
    package static let inventoryDelay: Duration = .seconds(5)
    /// The shortest time between two events of a job's progress, in milliseconds.
    package static let progressMilliseconds: Int64 = 250
    /// The time over which a rate is measured, in milliseconds.
    package static let rateMilliseconds: Int64 = 1_000
    /// Between two looks at a job that another one waits for.
    package static let lookDelay: Duration = .milliseconds(100)
    /// Notes that one step leaves.
    package static let notesMax = 50
    /// Bytes of a step's output or a job's arguments.
    package static let jsonByteCountMax = 1 << 20
}
