import Model

/// The states of a job, as in the API.
package enum JobState: String, Codable, Sendable {
    case queued, running, succeeded, failed, cancelled

    /// Whether nothing more will happen.
    package var isFinal: Bool { self != .queued && self != .running }
}

/// The states of a step.
package enum JobStepState: String, Codable, Sendable {
    case pending, running, done, undone, failed
}

/// A step of a job. Its output is durable before the next step begins.
package struct JobStep: Codable, Sendable, Equatable {
    package var name: String
    package var state: JobStepState
    package var startedAt: Timestamp?
    package var finishedAt: Timestamp?
    /// What the step found out, in JSON, for the steps after it and for its undo. Never a secret; not shown by the API.
    package var output: String?
    /// Why it could not be undone; what it left is told in the job's error.
    package var undoFailure: String?

    /// Creates a step that has not begun.
    package init(name: String) {
        self.name = name
        state = .pending
    }
}

/// Where a job stands.
package struct JobProgress: Codable, Sendable, Equatable {
    /// 0 to 1 over all of the job.
    package var fraction: Double
    package var doneBytes: UInt64
    package var totalBytes: UInt64?
    package var bytesPerSecond: UInt64
    package var etaSeconds: Int?
    /// What the storage had already.
    package var reusedBytes: UInt64
    /// What crossed a network.
    package var transferredBytes: UInt64
    /// The phase in words of the API: `fetch`, `inspect`, `slice`, `commit`, or the step's name.
    package var phase: String?

    /// Creates a progress; the one of a job that has not begun by default.
    package init(
        fraction: Double = 0, doneBytes: UInt64 = 0, totalBytes: UInt64? = nil, bytesPerSecond: UInt64 = 0,
        etaSeconds: Int? = nil, reusedBytes: UInt64 = 0, transferredBytes: UInt64 = 0, phase: String? = nil
    ) {
        self.fraction = fraction
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
        self.bytesPerSecond = bytesPerSecond
        self.etaSeconds = etaSeconds
        self.reusedBytes = reusedBytes
        self.transferredBytes = transferredBytes
        self.phase = phase
    }
}

/// What a job is about.
package struct ResourceReference: Codable, Sendable, Equatable {
    /// Such as `image`.
    package var type: String
    package var id: String

    /// Creates a reference.
    package init(type: String, id: String) {
        self.type = type
        self.id = id
    }
}

/// A durable run of an operation.
package struct JobRecord: Record, Equatable {
    package typealias Kind = JobKind
    package static let shape = RecordShape(
        table: "job", kind: "job", filters: ["type", "state", "resourceType", "resourceID", "requestedBy"],
        sorts: ["createdAt", "updatedAt"], searches: ["type", "requestedBy"])
    package let id: JobID
    /// Such as `add-image`.
    package let type: String
    package var state: JobState
    package var progress: JobProgress
    package var steps: [JobStep]
    package var error: Failure?
    package let resourceType: String
    package let resourceID: String
    /// What the job waits for while it is running or queued; for people.
    package var waitingFor: String?
    /// What the admin should know although the job goes on.
    package var notes: [String]
    /// The user's name.
    package let requestedBy: String
    /// JSON of the operation. Never a secret; not shown by the API.
    package let arguments: String
    /// Jobs of one key run at most so many at once as the key's limit says.
    package let concurrencyKey: String?
    /// The steps that were done are being undone.
    package var isUndoing: Bool
    package var isCancelRequested: Bool
    package var startedAt: Timestamp?
    package var finishedAt: Timestamp?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp
    package var revision: Int

    /// A running job shows the progress that was reported last.
    package func showing(_ progress: (JobID) -> JobProgress?) -> JobRecord {
        guard state == .running, let live = progress(id) else { return self }
        var shown = self
        shown.progress = live
        return shown
    }

    /// What the job is about.
    package var resource: ResourceReference { ResourceReference(type: resourceType, id: resourceID) }

    /// Creates a queued job.
    package init(
        id: JobID, type: String, stepNames: [String], arguments: String, resource: ResourceReference,
        concurrencyKey: String?, requestedBy: String, createdAt: Timestamp
    ) {
        self.id = id
        self.type = type
        state = .queued
        progress = JobProgress()
        steps = stepNames.map(JobStep.init(name:))
        resourceType = resource.type
        resourceID = resource.id
        self.requestedBy = requestedBy
        self.arguments = arguments
        self.concurrencyKey = concurrencyKey
        notes = []
        isUndoing = false
        isCancelRequested = false
        self.createdAt = createdAt
        updatedAt = createdAt
        revision = 1
    }
}
