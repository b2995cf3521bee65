internal import GRDB
import Model
import Synchronization

/// Those who listen for events, and what is known of running jobs in between.
final class EventHub: Sendable {
    private struct Listeners {
        var next = 0
        var open: [Int: AsyncStream<EventRecord>.Continuation] = [:]
        var progress: [JobID: JobProgress] = [:]
        var isFinished = false
    }
    private let listeners = Mutex(Listeners())

    /// Called on the writer's queue, or for what is not durable from anywhere.
    func publish(_ event: EventRecord) {
        let open = listeners.withLock { $0.open }
        for (id, continuation) in open {
            // A reader that lost an event must know: its stream ends, and it comes back with the last it saw.
            if case .dropped = continuation.yield(event) {
                continuation.finish()
                listeners.withLock { _ = $0.open.removeValue(forKey: id) }
            }
        }
    }

    func add(_ continuation: AsyncStream<EventRecord>.Continuation) {
        let id = listeners.withLock { listeners -> Int? in
            guard !listeners.isFinished else { return nil }
            listeners.next += 1
            listeners.open[listeners.next] = continuation
            return listeners.next
        }
        guard let id else {
            continuation.finish()
            return
        }
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            self.listeners.withLock { _ = $0.open.removeValue(forKey: id) }
        }
    }

    func progress(of job: JobID) -> JobProgress? { listeners.withLock { $0.progress[job] } }

    func note(_ progress: JobProgress?, of job: JobID) { listeners.withLock { $0.progress[job] = progress } }

    func finish() {
        let open = listeners.withLock { listeners in
            listeners.isFinished = true
            defer { listeners.open = [:] }
            return listeners.open
        }
        for continuation in open.values { continuation.finish() }
    }
}

extension EventHub {
    /// For `Record.showing`.
    var progress: (JobID) -> JobProgress? { { self.progress(of: $0) } }
}

extension Inventory {
    /// Durable events after `sequence` that are still kept and all that follow; nil: only what follows. The stream ends
    /// when the reader is too slow: it then asks again with the last sequence that it saw.
    package func events(after sequence: Int64?) async throws(InventoryError) -> AsyncStream<EventRecord> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: EventRecord.self, bufferingPolicy: .bufferingOldest(InventoryLimits.eventsWaitingMax))
        // On the writer's queue, where events are published: none is missed and none comes twice.
        try await write { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            if let sequence {
                for event in try transaction.events(after: sequence) { continuation.yield(event) }
            }
            transaction.room.hub.add(continuation)
        }
        return stream
    }

    /// The sequence of the newest durable event; 0 when there was none.
    package func lastEventSequence() async throws(InventoryError) -> Int64 {
        try await read { (transaction: Transaction<InventoryError>) throws(InventoryError) in
            try transaction.run { db in try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM event") ?? 0 }
        }
    }

    /// Shows a running job's progress to those who look and listen. Not durable; nil forgets it.
    package func note(_ progress: JobProgress?, of job: JobID) {
        hub.note(progress, of: job)
        guard let progress else { return }
        hub.publish(
            EventRecord(
                sequence: nil, type: .job, change: .progressed, id: job.description, at: clock.now(),
                progress: progress))
    }
}

extension Transaction {
    func events(after sequence: Int64) throws(Failure) -> [EventRecord] {
        try run { db in
            try Row.fetchAll(
                db,
                sql: "SELECT sequence, type, change, id, at FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?",
                arguments: [sequence, InventoryLimits.eventsKept]
            ).compactMap { row in
                guard let type = EventRecord.ResourceType(rawValue: row["type"]),
                    let change = EventRecord.Change(rawValue: row["change"])
                else { return nil }
                return EventRecord(
                    sequence: row["sequence"], type: type, change: change, id: row["id"],
                    at: try Timestamp(parsing: row["at"]), progress: nil)
            }
        }
    }
}
