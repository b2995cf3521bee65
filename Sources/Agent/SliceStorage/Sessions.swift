import Model
import Storage
import Volumes

extension SliceStore {
    /// Makes a session known, in memory and on the disk.
    func ensureSession(_ id: SessionID) throws(StorageError) {
        try checkOpen()
        let now = options.monotonicSeconds()
        let isKnown = core.with { core in
            core.touch(id, at: now)
            return core.sessions[id] != nil
        }
        if isKnown { return }
        try mutation.with { (_) throws(StorageError) in
            try checkEpoch()
            try admit(0, for: id)
            try during("make the session") { () throws(VolumeError) in
                if try volume.facts(StorePaths.session(id)) == nil { try volume.makeDirectory(StorePaths.session(id)) }
                try volume.syncDirectory(StorePaths.sessions)
            }
            core.with { core in
                if core.sessions[id] == nil { core.sessions[id] = SessionState(activeAt: now) }
            }
        }
    }

    /// Ends a session: its directory is renamed, which is durable and needs no space; then what only it made goes.
    func endSession(_ id: SessionID) throws(StorageError) {
        try mutation.with { (_) throws(StorageError) in
            try checkEpoch()
            let (source, target) = (StorePaths.session(id), StorePaths.endedSession(id))
            let isThere = try during("look at the session") { () throws(VolumeError) in try volume.facts(source) != nil
            }
            if isThere {
                try withReserve { () throws(StorageError) in
                    // An earlier end of the same session that still waits for its blobs: its journal comes first.
                    if try during("look at the session", { () throws(VolumeError) in try volume.facts(target) }) != nil
                    {
                        try mergeJournals(id)
                    }
                    try during("end the session") { () throws(VolumeError) in
                        try volume.rename(source, to: target)
                        try volume.syncDirectory(StorePaths.sessions)
                    }
                }
            }
            core.with { core in
                core.end(id)
                if isThere { core.leftovers.insert(.session(id)) }
            }
        }
        try sweep()
    }

    // The blobs of the ended session are taken over by the one that ends now, and the old directory goes.
    private func mergeJournals(_ id: SessionID) throws(StorageError) {
        let ended = StorePaths.endedSession(id)
        let old = try Journal.read(volume, path: ended + "/" + StorePaths.journalName, session: id).blobs
        let journal = try Journal(volume, session: id)
        for blob in old.sorted() { try journal.append(blob) }
        try during("remove an ended session") { () throws(VolumeError) in
            for name in try volume.list(ended) { try volume.unlink(ended + "/" + name) }
            try volume.removeDirectory(ended)
        }
    }

    /// Ends a session and removes all that only it made.
    package func abandon(_ session: SessionID) throws(StorageError) {
        try checkOpen()
        try core.with { (core) throws(StorageError) in
            guard let state = core.sessions[session] else { return }
            if state.isIngesting || state.isStaging { throw .sessionBusy(session) }
        }
        // The manifest that it did not come to publish.
        let temporary = StorePaths.imageTemporary(session)
        try during("remove a temporary") { () throws(VolumeError) in
            if try volume.facts(temporary) != nil { try volume.unlink(temporary) }
        }
        try endSession(session)
    }

    /// The open sessions.
    package func sessions() throws(StorageError) -> [OpenSession] {
        let now = options.monotonicSeconds()
        return try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            return core.sessions.map { id, state in
                OpenSession(id: id, stagedBytes: state.stagedBytes, idleSeconds: state.idle(at: now))
            }.sorted { $0.id < $1.id }
        }
    }

    /// Abandons the sessions that did nothing for `seconds` of running time. To be called every now and then.
    /// - Returns: the sessions that ended.
    package func expireSessions(idleFor seconds: UInt64) throws(StorageError) -> [SessionID] {
        let now = options.monotonicSeconds()
        let expired = try core.with { (core) throws(StorageError) in
            try Self.checkOpen(core)
            return core.sessions.filter {
                !$0.value.isIngesting && !$0.value.isStaging && $0.value.idle(at: now) >= seconds
            }
            .map(\.key).sorted()
        }
        for id in expired { try abandon(id) }
        keepIdle()
        return expired
    }

    /// Keeps how long sessions have been idle, so that a restart of the agent does not start their time anew.
    func keepIdle() {
        let now = options.monotonicSeconds()
        let idle = core.with { core in core.sessions.mapValues { $0.idle(at: now) } }
        // Losing it makes a session live longer, no more.
        try? index.setIdle(idle)
    }
}

extension SessionState {
    /// Seconds without activity; none while someone works on it.
    func idle(at now: UInt64) -> UInt64 {
        isStaging || isIngesting ? 0 : idleBefore + (now > activeAt ? now - activeAt : 0)
    }
}
