import Model
import Storage
import Wire

extension AgentService {
    func ingest(_ verb: IngestVerb, _ request: IncomingRequest) async throws(AgentFailure) -> IngestVerb.Reply {
        if let reply = runs.finished(verb.session), reply.facts.declaration.id == verb.declaration.id {
            // Still there, and with the name that it has by now?
            let store = store
            if let facts = try? await onThread({ () throws(StorageError) in try store.image(verb.declaration.id) }) {
                return IngestVerb.Reply(facts: facts, notes: reply.notes)
            }
        }
        let (store, settings, runs) = (store, settings, runs)
        let run = try runs.join(verb) { (run) throws(AgentFailure) in
            try IngestWork(run: run, store: store, settings: settings, runs: runs).perform()
        }
        return try await wait(for: run, reportingTo: request)
    }

    /// Waits for a run; it goes on when the asker goes away.
    private func wait(for run: IngestRun, reportingTo request: IncomingRequest) async throws(AgentFailure)
        -> IngestVerb.Reply
    {
        var reported = -1
        var reportedAt = Duration.zero
        while true {
            if let result = run.result {
                await request.report(run.standing.progress)
                return try result.get()
            }
            if request.isOver {
                throw AgentFailure(
                    code: .cancelled, detail: "the asker went away; the ingest goes on", isRetryable: true)
            }
            let (progress, version) = run.standing
            let now = time.now()
            if version != reported || now - reportedAt >= ServiceLimits.reportPauseMax {
                await request.report(progress)
                (reported, reportedAt) = (version, now)
            }
            await time.sleep(ServiceLimits.reportPause)
        }
    }

    func abandon(_ verb: AbandonVerb) async throws(AgentFailure) -> Done {
        if let run = runs.cancel(verb.session) {
            // It looks often whether it was cancelled; the caller bounds the wait by its own patience.
            while run.result == nil, !Task.isCancelled { await time.sleep(.milliseconds(10)) }
        }
        let store = store
        try await onThread { () throws(StorageError) in try store.abandon(verb.session) }
        return Done()
    }
}
