import AgentLink
import Foundation
import Inventory
import Model
import Scheduler
import Secrets
import Wire

/// Takes over what a mount path already holds. Source: seed, "Retrieve Existing Images".
struct RetrieveImages: Sendable {
    let rooms: Rooms

    func run(_ storage: ImageStorageRecord, _ context: StepContext) async throws(StepFailure) {
        guard let agent = storage.agent else { throw .wait("the agent is not connected yet") }
        var after: ImageID?
        repeat {
            let page: ListImagesVerb.Reply
            do throws(AgentLinkError) {
                page = try await rooms.agents.call(ListImagesVerb(after: after), to: agent)
            } catch {
                throw error.stepFailure
            }
            for refused in try await take(page.images, storage) { context.note(refused) }
            // A page that does not go forward would be asked for again for ever.
            let last = page.images.last?.declaration.id
            after = page.hasMore && last != after ? last : nil
        } while after != nil
        try await takeLooseFiles(storage, agent, context)
    }

    // Answers what could not be taken over, for people.
    private func take(
        _ images: [ImageFacts], _ storage: ImageStorageRecord
    ) async throws(StepFailure) -> [String] {
        try await rooms.step { transaction throws(OperationError) in
            var refused: [String] = []
            for facts in images.prefix(OperationsLimits.retrievePage) {
                let given = facts.declaration
                if let known = try transaction.find(ImageRecord.self, given.id) {
                    if known.imageStorageID != storage.id {
                        refused.append("image \(given.id) is known on another image storage and was left out")
                    }
                    continue
                }
                // Names in a store that somebody else wrote are checked like typed ones.
                let name = (try? ResourceName(given.name))?.text ?? "image \(given.id)"
                let description = (try? Description(given.description))?.text ?? ""
                var image = ImageRecord(
                    id: given.id, imageStorageID: storage.id, name: name, description: description, type: given.type,
                    format: given.format, sourceKind: .retrieved, sourceText: storage.mountPath,
                    createdAt: given.createdAt)
                image.take(facts)
                image.status = .ready
                try transaction.insert(image)
            }
            return refused
        }
    }

    // One job each, in one transaction: asked again, a file that has its image is passed over.
    private func takeLooseFiles(
        _ storage: ImageStorageRecord, _ agent: AgentAddress, _ context: StepContext
    ) async throws(StepFailure) {
        let files: [ListLooseFilesVerb.File]
        do throws(AgentLinkError) { files = try await rooms.agents.call(ListLooseFilesVerb(), to: agent).files } catch {
            throw error.stepFailure
        }
        let rooms = self.rooms
        let requestedBy = context.job.requestedBy
        let jobs = try await rooms.step { transaction throws(OperationError) in
            var jobs: [JobRecord] = []
            let known = Set(
                try transaction.all(ImageRecord.self, where: "imageStorageID", is: [storage.id.description])
                    .filter { $0.sourceKind == .hostPath }.map(\.sourceText))
            for file in files where !known.contains(file.path) {
                let base = (file.path as NSString).lastPathComponent
                let stem = (base as NSString).deletingPathExtension
                let name = (try? ResourceName(stem))?.text ?? "retrieved image"
                let image = ImageRecord(
                    id: rooms.randomness.id(), imageStorageID: storage.id, name: name,
                    description: "Found as \(file.path)", type: file.format == .iso ? .system : .disk,
                    format: file.format, sourceKind: .hostPath, sourceText: file.path, createdAt: transaction.now)
                try transaction.insert(image)
                jobs.append(
                    try rooms.scheduler.insert(
                        transaction, type: AddImage.name, arguments: AddImageArguments(imageID: image.id),
                        resource: image.reference, concurrencyKey: AddImage.key(storage.id),
                        requestedBy: requestedBy))
            }
            return jobs
        }
        for job in jobs { await rooms.scheduler.enqueue(job) }
    }

    /// Forgets what was taken over; the store keeps it.
    func undo(_ storage: ImageStorageRecord) async throws(StepFailure) {
        let jobs = try await rooms.step { transaction throws(OperationError) in
            try transaction.unfinishedJobs(ofStorage: storage.id).filter { $0.type == AddImage.name }
        }
        try await rooms.cancelAndWait(jobs)
        try await rooms.step { transaction throws(OperationError) in
            for image in try transaction.all(ImageRecord.self, where: "imageStorageID", is: [storage.id.description]) {
                try transaction.delete(ImageRecord.self, image.id)
            }
        }
    }
}

extension Rooms {
    /// Withdraws jobs and waits until they have ended.
    func cancelAndWait(_ jobs: [JobRecord]) async throws(StepFailure) {
        for job in jobs {
            do throws(SchedulerError) { _ = try await scheduler.cancel(job.id) } catch {
                switch error {
                case .finished, .notCancellable, .inventory(.notFound): continue
                case .inventory(let error): throw .retry(Failure(code: "internal", detail: "\(error)"))
                case .cancelled: throw .cancelled
                }
            }
        }
        for job in jobs {
            do throws(SchedulerError) { try await scheduler.waitUntilEnded(job.id) } catch {
                throw error == .cancelled ? .cancelled : .retry(Failure(code: "internal", detail: "\(error)"))
            }
        }
    }
}
