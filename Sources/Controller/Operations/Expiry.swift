import AgentLink
import Inventory
import Logging
import Model
import Wire

/// Throws away what its time has come: uploads that nobody came back for, ended sessions, old jobs.
struct Expiry: Sendable {
    let rooms: Rooms

    /// Until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            await round()
            // A cancelled pause ends the loop.
            do { try await rooms.sleep(OperationsLimits.expiryPause) } catch { return }
        }
    }

    /// Once.
    func round() async {
        do throws(OperationError) {
            try await expireUploads()
            let now = rooms.clock.now()
            try await rooms.change { transaction throws(OperationError) in
                try transaction.deleteEndedSessions(
                    idleSince: now.adding(seconds: -OperationsLimits.sessionIdleSeconds))
                let days = try transaction.count("job.retention-days")
                _ = try transaction.deleteJobs(finishedBefore: now.adding(seconds: -Int64(days) * 86_400))
            }
        } catch { rooms.log.error("a round of expiry failed", metadata: ["error": "\(error.detail)"]) }
    }

    private struct Expired: Sendable {
        var upload: UploadRecord
        var storage: ImageStorageRecord?
    }

    // Forgotten first, so that no image can be made of bytes that are going. The agent throws away what it holds by its
    // own clock when it cannot be told now.
    private func expireUploads() async throws(OperationError) {
        let now = rooms.clock.now()
        let expired = try await rooms.change { transaction throws(OperationError) in
            var expired: [Expired] = []
            for upload in try transaction.uploads(expiredBefore: now) {
                expired.append(
                    Expired(
                        upload: upload, storage: try transaction.find(ImageStorageRecord.self, upload.imageStorageID)))
                try transaction.delete(UploadRecord.self, upload.id)
                try transaction.audit(.controller, "upload.expire", upload.reference)
            }
            return expired
        }
        for item in expired {
            if let agent = item.storage?.agent {
                do throws(AgentLinkError) {
                    _ = try await rooms.agents.call(RemoveUploadVerb(id: item.upload.id), to: agent)
                } catch {
                    rooms.log.info("an expired upload is left to its agent", metadata: ["why": "\(error.words)"])
                }
            }
        }
    }
}
