import HTTPTypes
import Inventory
import Model
import Operations

/// `/v1/jobs`.
enum JobRoutes {
    static let list = ListShape(
        filters: [
            .init("type"), .init("state", nil, .values("queued", "running", "succeeded", "failed", "cancelled")),
            .init("resourceType"), .init("resourceId", "resourceID"), .init("requestedBy"),
        ], sorts: ["createdAt", "updatedAt"])

    /// The answer to a cancel.
    struct Cancelled: Encodable, Sendable {
        var job: JobView

        static let schema = Schema.object("JobAnswer", [.required("job", JobView.schema, "The job as it is now.")])
    }

    static func all(_ environment: APIEnvironment) -> [Route] {
        let operations = environment.operations
        return [
            Route(
                .get, "/v1/jobs", "List jobs.", access: .role(.viewer), parameters: list.parameters,
                answers: [.json(.ok, "A page.", JobView.schema.page("JobPage"))]
            ) { request in
                var query = try list.query(request)
                query.sort = query.sort ?? "-createdAt"
                let page = try await operations.list(JobRecord.self, query, caller: request.caller)
                return .json(PageView(page, JobView.init))
            },
            Route(
                .get, "/v1/jobs/{id}", "Show a job.", access: .role(.viewer), answers: [.resource(.ok, JobView.schema)]
            ) { request in
                let job = try await operations.find(JobRecord.self, request.id("job"), caller: request.caller)
                return .resource(JobView(job), revision: job.revision)
            },
            Route(
                .post, "/v1/jobs/{id}/cancel", "Cancel a job; what it made is undone.", access: .role(.operator),
                answers: [.accepted(Cancelled.schema)]
            ) { request in
                let job = try await operations.cancelJob(request.id("job"), caller: request.caller)
                return .accepted(Cancelled(job: JobView(job)), job: job.id)
            },
        ]
    }
}
