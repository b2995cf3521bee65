import DiskImage
import Model
import Storage
import Synchronization
import Wire

/// Images that are being read in a container, kept for the next range of the same reader.
final class Contents: Sendable {
    private struct Key: Hashable {
        var id: ImageID
        var format: ImageFormat
    }

    private let store: any ImageStore
    /// The most recently used is last.
    private let open = Mutex<[(key: Key, image: any RenderedImage)]>([])

    init(store: any ImageStore) { self.store = store }

    /// The image's content in a container. Blocks.
    func rendered(_ id: ImageID, _ format: ImageFormat) throws(AgentFailure) -> any RenderedImage {
        let key = Key(id: id, format: format)
        // An image that was removed is not read, even when it is still open here.
        do throws(StorageError) { _ = try store.image(id) } catch {
            forget(id)
            throw AgentFailure(error)
        }
        let kept = open.withLock { open -> (any RenderedImage)? in
            guard let place = open.firstIndex(where: { $0.key == key }) else { return nil }
            let found = open.remove(at: place)
            open.append(found)
            return found.image
        }
        if let kept { return kept }
        let made: any RenderedImage
        do throws(StorageError) {
            let disk = try store.open(id)
            do throws(DiskImageError) { made = try DiskImage.render(disk, as: format) } catch { throw .source(error) }
        } catch { throw AgentFailure(error) }
        open.withLock { open in
            open.append((key, made))
            if open.count > ServiceLimits.renderedCountMax { open.removeFirst() }
        }
        return made
    }

    /// Lets go of an image.
    func forget(_ id: ImageID) { open.withLock { $0.removeAll { $0.key.id == id } } }

    /// Lets go of all images.
    func forgetAll() { open.withLock { $0.removeAll() } }
}

extension AgentService {
    func contentInfo(_ verb: ContentInfoVerb) async throws(AgentFailure) -> ContentInfoVerb.Reply {
        let (store, contents) = (store, contents)
        let result = await bulkThreads.run { () -> Result<ContentInfoVerb.Reply, AgentFailure> in
            do throws(AgentFailure) {
                let facts: ImageFacts
                do throws(StorageError) { facts = try store.image(verb.id) } catch { throw AgentFailure(error) }
                let image = try contents.rendered(verb.id, verb.format)
                return .success(ContentInfoVerb.Reply(byteCount: image.byteCount, facts: facts))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    func readContent(_ verb: ReadContentVerb, _ request: IncomingRequest) async throws(AgentFailure) -> Done {
        let contents = contents
        let opened = await bulkThreads.run { () -> Result<any RenderedImage, AgentFailure> in
            do throws(AgentFailure) { return .success(try contents.rendered(verb.id, verb.format)) } catch {
                return .failure(error)
            }
        }
        let image = try opened.get()
        guard verb.offset <= image.byteCount, verb.byteCount <= image.byteCount - verb.offset else {
            throw AgentFailure(
                code: .badRequest,
                detail: "\(verb.byteCount) bytes from \(verb.offset) do not lie in a content of \(image.byteCount)")
        }
        var place = verb.offset
        let end = verb.offset + verb.byteCount
        while place < end {
            let (from, count) = (place, Int(min(UInt64(ServiceLimits.pieceByteCount), end - place)))
            let read = await bulkThreads.run { () -> Result<[UInt8], DiskImageError> in
                var failure: DiskImageError?
                let piece = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                    do throws(DiskImageError) {
                        try image.read(into: UnsafeMutableRawBufferPointer(buffer), at: from)
                        filled = count
                    } catch { failure = error }
                }
                return failure.map { .failure($0) } ?? .success(piece)
            }
            let piece: [UInt8]
            do throws(DiskImageError) { piece = try read.get() } catch {
                contents.forget(verb.id)
                throw AgentFailure(code: .storeCorrupt, detail: "the image \(verb.id) cannot be read: \(error)")
            }
            do throws(RequestEnd) { try await request.send(piece) } catch {
                throw AgentFailure(code: .cancelled, detail: "the reader went away", isRetryable: true)
            }
            place += UInt64(count)
        }
        return Done()
    }
}
