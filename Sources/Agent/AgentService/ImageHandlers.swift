import Model
import Storage
import Volumes
import Wire

extension AgentService {
    func listImages(_ verb: ListImagesVerb) async throws(AgentFailure) -> ListImagesVerb.Reply {
        let store = store
        let images = try await onThread { () throws(StorageError) in try store.images() }
        var page: [ImageFacts] = []
        var byteCount = 0
        for facts in images where verb.after.map({ $0 < facts.declaration.id }) ?? true {
            byteCount += 1024 + 2 * (facts.declaration.name.utf8.count + facts.declaration.description.utf8.count)
            guard page.count < ServiceLimits.pageImageCountMax, byteCount <= ServiceLimits.pageByteCountMax else {
                return ListImagesVerb.Reply(images: page, hasMore: true)
            }
            page.append(facts)
        }
        return ListImagesVerb.Reply(images: page, hasMore: false)
    }

    func listLooseFiles(_ verb: ListLooseFilesVerb) async throws(AgentFailure) -> ListLooseFilesVerb.Reply {
        let mountPath = settings.mountPath
        return try await onThread { () throws(StorageError) in
            do throws(VolumeError) {
                let volume = try PosixVolume(hostPath: mountPath)
                var files: [ListLooseFilesVerb.File] = []
                for name in try volume.list("") {
                    guard files.count < ServiceLimits.looseFileCountMax else { break }
                    guard let dot = name.lastIndex(of: "."),
                        let format = ImageFormat(rawValue: name[name.index(after: dot)...].lowercased()),
                        let facts = try volume.facts(name), facts.kind == .file
                    else { continue }
                    files.append(
                        ListLooseFilesVerb.File(
                            path: mountPath + "/" + name, format: format, sizeBytes: facts.byteCount))
                }
                return ListLooseFilesVerb.Reply(files: files)
            } catch { throw .volume(detail: error.description, during: "list the mount path") }
        }
    }

    func updateImage(_ verb: UpdateImageVerb) async throws(AgentFailure) -> ImageFacts {
        let store = store
        return try await onThread { () throws(StorageError) in
            try store.update(verb.id, name: verb.imageName, description: verb.description)
        }
    }

    func removeImage(_ verb: RemoveImageVerb) async throws(AgentFailure) -> Done {
        let (store, contents) = (store, contents)
        try await onThread { () throws(StorageError) in
            contents.forget(verb.id)
            try store.remove(verb.id)
        }
        return Done()
    }
}
