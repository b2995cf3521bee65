import Foundation
import Inventory
import Model

/// Why a step did not do its work.
package enum StepFailure: Error, Sendable, Equatable {
    /// For good: what was done is undone.
    case failed(Failure)
    /// Perhaps only now: it is tried again, a few times.
    case retry(Failure)
    /// Something must come back first, however long that takes; words for people.
    case wait(String)
    /// The step noticed that its task was cancelled.
    case cancelled
}

/// What a step is given.
package struct StepContext: Sendable {
    /// The job as it was when the step began.
    package let job: JobRecord
    /// Tells where the step is; may be called as often as one likes, from anywhere.
    package let report: @Sendable (JobProgress) -> Void

    /// Tells the admin something that is no failure; kept with the step's end.
    package let note: @Sendable (String) -> Void

    /// Creates a context.
    package init(
        job: JobRecord, report: @escaping @Sendable (JobProgress) -> Void, note: @escaping @Sendable (String) -> Void
    ) {
        self.job = job
        self.report = report
        self.note = note
    }

    /// The job's arguments.
    package func arguments<T: Decodable>(_ type: T.Type) throws(StepFailure) -> T {
        try StepContext.decode(type, job.arguments, "the job's arguments")
    }

    /// What an earlier step found out; nil when it has not run or had nothing to say.
    package func output<T: Decodable>(of step: String, as type: T.Type) throws(StepFailure) -> T? {
        guard let text = job.steps.first(where: { $0.name == step })?.output else { return nil }
        return try StepContext.decode(type, text, "the output of '\(step)'")
    }

    private static func decode<T: Decodable>(_ type: T.Type, _ text: String, _ what: String) throws(StepFailure) -> T {
        do { return try JSONDecoder().decode(type, from: Data(text.utf8)) } catch {
            throw .failed(Failure(code: "internal", detail: "\(what) cannot be read; another version wrote them"))
        }
    }
}

/// A step: run and undo. Both may be asked again after they succeeded, and after they were cut short at any point.
package struct JobStepType: Sendable {
    /// Unique in its job; kept in the inventory.
    package let name: String
    /// How often `.retry` is tried.
    package let attemptsMax: Int
    /// Does the work and answers JSON for later steps.
    package let run: @Sendable (StepContext) async throws(StepFailure) -> String?
    /// Takes it back; also called for a step that failed or was cut short, which may have done a part. Nil: there is
    /// nothing to take back.
    package let undo: (@Sendable (StepContext) async throws(StepFailure) -> Void)?

    /// Creates a step.
    package init(
        _ name: String, attemptsMax: Int = SchedulerLimits.attemptsMax,
        run: @escaping @Sendable (StepContext) async throws(StepFailure) -> String?,
        undo: (@Sendable (StepContext) async throws(StepFailure) -> Void)? = nil
    ) {
        self.name = name
        self.attemptsMax = attemptsMax
        self.run = run
        self.undo = undo
    }
}

/// A kind of job.
package struct JobType: Sendable {
    /// Kept in the inventory; never renamed.
    package let name: String
    /// In order. A released job's steps are never renamed or reordered: unfinished jobs hold their names.
    package let steps: [JobStepType]
    /// Whether an admin may cancel it.
    package let isCancellable: Bool
    /// Called in the transaction that ends the job, with its final state. Must bear that what it looks for is gone.
    package let ended: @Sendable (Transaction<SchedulerError>, JobRecord) throws(SchedulerError) -> Void

    /// Creates a kind of job.
    package init(
        name: String, steps: [JobStepType], isCancellable: Bool = true,
        ended: @escaping @Sendable (Transaction<SchedulerError>, JobRecord) throws(SchedulerError) -> Void = {
            _, _ throws(SchedulerError) in
        }
    ) {
        self.name = name
        self.steps = steps
        self.isCancellable = isCancellable
        self.ended = ended
    }
}
