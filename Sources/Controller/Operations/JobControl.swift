import Inventory
import Model
import Scheduler

extension Operations {
    /// Withdraws a job: what it did is undone. Answers at once; the job ends by itself.
    package func cancelJob(_ id: JobID, caller: Caller) async throws(OperationError) -> JobRecord {
        try await allow(caller, .operator, "job.cancel")
        let job = try await rooms.read { transaction throws(OperationError) in
            try transaction.get(JobRecord.self, id)
        }
        if job.resourceType == ImageStorageRecord.shape.kind { try await allow(caller, .admin, "job.cancel") }
        let cancelled: JobRecord
        do throws(SchedulerError) { cancelled = try await rooms.scheduler.cancel(id) } catch {
            switch error {
            case .finished(let state):
                throw .conflict(code: "job-finished", detail: "the job is \(state.rawValue) already")
            case .notCancellable:
                throw .conflict(code: "job-not-cancellable", detail: "a job of the type '\(job.type)' runs to its end")
            case .inventory(let error): throw OperationError(error)
            case .cancelled: throw .internal(detail: "cancelled")
            }
        }
        try await rooms.change { transaction throws(OperationError) in
            try transaction.audit(caller, "job.cancel", cancelled.reference, .done, cancelled.type)
        }
        return cancelled
    }
}
