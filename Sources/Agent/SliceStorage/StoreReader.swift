import Blobs
import DiskImage
import Glibc
import Model
import Storage
import Volumes

/// A store that is only looked at: no lock, no index, nothing written. For the offline tools, beside a running agent or
/// after one; an image that is removed meanwhile is an error of the read.
package final class StoreReader: Sendable {
    /// What the marker says.
    package let marker: StoreMarker
    private let volume: any Volume
    private let shelf: BlobShelf

    /// Opens the store in the directory `lamina` of `mountPath`.
    package convenience init(mountPath: String) throws(StorageError) {
        let volume = try during("open the store") { () throws(VolumeError) in
            try PosixVolume(hostPath: mountPath + "/" + SliceStore.directoryName)
        }
        try self.init(volume)
    }

    /// Opens the store at the root of `volume`.
    package init(_ volume: any Volume) throws(StorageError) {
        marker = try SliceStore.readMarker(volume)
        self.volume = volume
        shelf = BlobShelf(volume: volume)
    }

    /// An image, or why its manifest cannot be read.
    package enum Listed: Sendable {
        /// A readable manifest.
        case image(ImageFacts)
        /// The file's name and what is wrong with it.
        case unreadable(name: String, reason: String)
    }

    /// What `images` holds, in the order of the ids (`lamina-agent store ls`).
    package func list() throws(StorageError) -> [Listed] {
        let names = try during("list the images") { () throws(VolumeError) in try volume.list(StorePaths.images) }
        var out: [Listed] = []
        for name in names {
            guard (try? ImageID(parsing: name)) != nil else { continue }
            do throws(ManifestFailure) {
                out.append(.image(try ManifestReader(volume, StorePaths.images + "/" + name).tail.facts))
            } catch { out.append(.unreadable(name: name, reason: error.words)) }
        }
        return out
    }

    /// The guest's disk of an image.
    package func open(_ id: ImageID) throws(StorageError) -> StoredDisk {
        let path = StorePaths.image(id)
        guard try during("look at the manifest", { () throws(VolumeError) in try volume.facts(path) }) != nil else {
            throw .imageNotFound(id)
        }
        do throws(ManifestFailure) {
            return StoredDisk(
                image: id, manifest: try ManifestReader(volume, path), shelf: shelf, another: { _, _, _ in nil },
                onClose: {})
        } catch { throw .corrupt(id, detail: "the manifest: \(error.words)") }
    }

    /// Writes the guest's disk to an open file of the caller (`lamina-agent store cat`). Into a regular file, holes are
    /// left out, the length is set at the end, and `workerCount` threads share the work; anything else gets every byte
    /// in order.
    package func copy(
        _ id: ImageID, toDescriptor descriptor: Int32, workerCount: Int = 1
    ) throws(StorageError) {
        try CopyOut(disk: try open(id), descriptor: descriptor).run(workerCount: workerCount)
    }

    // MARK: Verify

    /// Something that is not as it should be.
    package struct Finding: Sendable, Equatable, CustomStringConvertible {
        /// The file, below the store.
        package var path: String
        /// What is wrong with it.
        package var what: String

        /// The path and what is wrong.
        package var description: String { "\(path): \(what)" }
    }

    /// What a verification looked at and found.
    package struct Verification: Sendable {
        /// Blobs that were read.
        package var blobs = 0
        /// Slices that were hashed.
        package var slices = 0
        /// Bytes of blobs that were read.
        package var bytes: UInt64 = 0
        /// Manifests that were read.
        package var images = 0
        /// What is wrong; empty: all is well.
        package var findings: [Finding] = []
    }

    /// Reads every blob and hashes every slice, then reads every manifest and looks for its slices
    /// (`lamina-agent store verify`). One frame is in memory at a time.
    /// - Parameter onProgress: called after each blob; false stops with `.cancelled`.
    package func verify(
        onProgress: (Verification) -> Bool = { _ in true }
    ) throws(StorageError) -> Verification {
        var result = Verification()
        for number in 0..<256 {
            let directory = StorePaths.fanOut(number)
            let names = try during("list the blobs") { () throws(VolumeError) in try volume.list(directory) }
            for text in names {
                let path = directory + "/" + text
                guard let raw = Hex.decode(text), let name = Digest(bytes: raw) else {
                    result.findings.append(Finding(path: path, what: "it has no name of a blob"))
                    continue
                }
                verify(name, path, &result)
                guard onProgress(result) else { throw .cancelled }
            }
        }
        for listed in try list() {
            switch listed {
            case .unreadable(let name, let reason):
                result.findings.append(Finding(path: StorePaths.images + "/" + name, what: reason))
            case .image(let facts): try verify(facts, &result)
            }
        }
        return result
    }

    private func verify(_ name: Digest, _ path: String, _ result: inout Verification) {
        do throws(BlobShelf.Failure) {
            let loaded = try shelf.load(name)
            result.blobs += 1
            result.bytes += loaded.byteCount
            for number in loaded.directory.frames.indices {
                let frame = try shelf.decode(number, of: name, in: loaded.directory)
                result.slices += loaded.directory.frames[number].slices.count
                for (place, error) in frame.wrong.sorted(by: { $0.key < $1.key }) {
                    result.findings.append(Finding(path: path, what: "slice \(place): \(error)"))
                }
            }
        } catch { result.findings.append(Finding(path: path, what: error.words)) }
    }

    private func verify(_ facts: ImageFacts, _ result: inout Verification) throws(StorageError) {
        let id = facts.declaration.id
        let path = StorePaths.image(id)
        result.images += 1
        do throws(ManifestFailure) {
            let reader = try ManifestReader(volume, path)
            var content = ContentHasher(
                slicingVersion: reader.tail.slicingVersion, virtualSizeBytes: facts.virtualSizeBytes)
            var bytes: UInt64 = 0
            for entry in reader.tail.segments.indices {
                for extent in try reader.extents(ofEntry: entry) {
                    content.add(extent)
                    bytes += UInt64(extent.byteCount)
                    let name = reader.tail.blobs[Int(extent.blob)]
                    let directory = try? shelf.directory(name)
                    let place = Int(extent.place)
                    if directory.map({ place >= $0.slices.count || $0.slices[place].slice != extent.slice }) ?? true {
                        result.findings.append(
                            Finding(
                                path: path,
                                what:
                                    "guest bytes \(extent.guestOffset)..<\(extent.guestEnd) are missing: blob \(name.hex)"
                            ))
                    }
                }
            }
            if content.digest() != facts.contentDigest || bytes != facts.referencedBytes {
                result.findings.append(Finding(path: path, what: "its extents are not those of its content digest"))
            }
        } catch { result.findings.append(Finding(path: path, what: error.words)) }
    }
}

extension SliceStore {
    /// Makes the index anew from blobs and manifests (`lamina-agent store rebuild-index`). No agent may have the store open.
    package static func rebuildIndex(mountPath: String, options: StoreOptions) throws(StorageError) {
        let volume = try during("open the store") { () throws(VolumeError) in
            try PosixVolume(hostPath: mountPath + "/" + directoryName)
        }
        _ = try readMarker(volume)
        // An agent that opened the store between this release and our own opening would make the index itself.
        guard let lock = try during("lock the store", { () throws(VolumeError) in try volume.lockRoot() }) else {
            throw .storeInUse(detail: "an agent has \(volume.hostPath) open")
        }
        do throws(StorageError) { try removeIndex(volume, options) } catch {
            lock.release()
            throw error
        }
        lock.release()
        try open(volume, expecting: nil, fileSystem: nil, options: options).close()
    }
}
