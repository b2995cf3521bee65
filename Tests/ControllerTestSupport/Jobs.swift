import Inventory
import Model

/// Something in the test itself went wrong.
package struct TestTrouble: Error {
    /// What.
    package let words: String

    /// Creates it.
    package init(_ words: String) { self.words = words }
}

extension Inventory {
    /// The job as soon as `condition` holds for it; looks again at each of its events, durable or not.
    package func job(_ id: JobID, when condition: (JobRecord) -> Bool) async throws -> JobRecord {
        let events = try await events(after: nil)
        guard let now = try await find(JobRecord.self, id) else { throw TestTrouble("there is no job \(id)") }
        if condition(now) { return now }
        for await event in events where event.type == .job && event.id == id.description {
            guard let job = try await find(JobRecord.self, id) else { throw TestTrouble("the job is gone") }
            if condition(job) { return job }
        }
        throw TestTrouble("the inventory was closed before the job was so")
    }

    /// The job when it has ended.
    package func ended(_ id: JobID) async throws -> JobRecord { try await job(id) { $0.state.isFinal } }
}

extension InventoryBench {
    /// An id that a test can repeat.
    package static func makeID<Kind>(_ number: UInt64) -> ID<Kind> { ID(random: (number, number)) }
}
