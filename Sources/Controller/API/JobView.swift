import Inventory
import Model

/// A job as it is sent.
struct JobView: Codable, Sendable {
    var id: JobID
    var type: String
    var state: String
    var progress: ProgressView
    var steps: [Step]
    var error: Problem?
    var resource: Resource
    var waitingFor: String?
    var notes: [String]
    var requestedBy: String
    var createdAt: Timestamp
    var updatedAt: Timestamp
    var startedAt: Timestamp?
    var finishedAt: Timestamp?

    struct Step: Codable, Sendable {
        var name: String
        var state: String
        var startedAt: Timestamp?
        var finishedAt: Timestamp?
    }

    struct Resource: Codable, Sendable {
        var type: String
        var id: String
    }

    /// Why it failed: a problem without an HTTP status, since it is no answer to a request.
    struct Problem: Codable, Sendable {
        var type: String
        var title: String
        var detail: String
        var code: String
        var field: String?

        init(_ failure: Failure) {
            type = "urn:lamina:problem:" + failure.code
            title = "The job failed"
            detail = failure.detail
            code = failure.code
            field = failure.field
        }

        static let schema = Schema.object(
            "JobProblem",
            [
                .required("type", .text, "A URN that names the kind of problem."),
                .required("title", .text, "In short."),
                .required("detail", .text, "What was wrong and what to do next."),
                .required("code", .text, "A stable code, such as checksum-mismatch."),
                .optional("field", .text, "What of the request is to blame: a JSON pointer."),
            ])
    }

    init(_ job: JobRecord) {
        id = job.id
        type = job.type
        state = job.state.rawValue
        progress = ProgressView(job.progress)
        steps = job.steps.map {
            Step(name: $0.name, state: $0.state.rawValue, startedAt: $0.startedAt, finishedAt: $0.finishedAt)
        }
        error = job.error.map(Problem.init)
        resource = Resource(type: job.resourceType, id: job.resourceID)
        waitingFor = job.waitingFor
        notes = job.notes
        requestedBy = job.requestedBy
        createdAt = job.createdAt
        updatedAt = job.updatedAt
        startedAt = job.startedAt
        finishedAt = job.finishedAt
    }

    static let schema = Schema.object(
        "Job",
        [
            .required("id", .uuid, "Its id."), .required("type", .text, "What it does, such as add-image."),
            .required("state", .values("queued", "running", "succeeded", "failed", "cancelled"), "How it stands."),
            .required("progress", ProgressView.schema, "How far it is."),
            .required(
                "steps",
                .array(
                    .object(
                        "JobStep",
                        [
                            .required("name", .text, "Its name."),
                            .required(
                                "state", .values("pending", "running", "done", "undone", "failed"), "How it stands."),
                            .optional("startedAt", .dateTime, "When it began."),
                            .optional("finishedAt", .dateTime, "When it ended."),
                        ]), countMax: nil), "Its steps, in order."),
            .optional("error", Problem.schema, "Why it failed."),
            .required(
                "resource",
                .object(
                    "ResourceReference",
                    [.required("type", .text, "Such as image."), .required("id", .text, "Its id.")]),
                "What it is about."),
            .optional("waitingFor", .text, "What it waits for, in words."),
            .required("notes", .array(.text, countMax: nil), "What an admin should know of it, in whole sentences."),
            .required("requestedBy", .text, "The user who asked for it."),
            .required("createdAt", .dateTime, "When it was asked for."),
            .required("updatedAt", .dateTime, "When it last changed."),
            .optional("startedAt", .dateTime, "When it began."), .optional("finishedAt", .dateTime, "When it ended."),
        ])
}

/// How far a job is.
struct ProgressView: Codable, Sendable {
    var fraction: Double
    var doneBytes: UInt64
    var totalBytes: UInt64?
    var bytesPerSecond: UInt64
    var etaSeconds: Int?
    var reusedBytes: UInt64
    var transferredBytes: UInt64
    var phase: String?

    init(_ progress: JobProgress) {
        fraction = progress.fraction.isFinite ? min(1, max(0, progress.fraction)) : 0
        doneBytes = progress.doneBytes
        totalBytes = progress.totalBytes
        bytesPerSecond = progress.bytesPerSecond
        etaSeconds = progress.etaSeconds
        reusedBytes = progress.reusedBytes
        transferredBytes = progress.transferredBytes
        phase = progress.phase
    }

    static let schema = Schema.object(
        "Progress",
        [
            .required("fraction", .number, "0 to 1 over the whole job."),
            .required("doneBytes", .byteCount, "Bytes done in this phase."),
            .optional("totalBytes", .byteCount, "Bytes of this phase; absent when not known."),
            .required("bytesPerSecond", .byteCount, "The rate."),
            .optional("etaSeconds", .count, "Seconds that are left, by the rate."),
            .required("reusedBytes", .byteCount, "Bytes that the storage had already."),
            .required("transferredBytes", .byteCount, "Bytes that crossed a network."),
            .optional("phase", .text, "fetch, inspect, slice, commit, or the step's name."),
        ])
}
