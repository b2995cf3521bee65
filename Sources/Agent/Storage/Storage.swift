// Storage: the port of every image store, and the words its failures have.
//
// Hides: whether images lie in slices on a disk or in a Ceph pool.
// Invariants: an image is either wholly there and durable, or not there; asking again is safe for every verb.
// Is not: aware of the wire, of jobs, or of why.
// All calls block: call them from a thread of your own, never from the cooperative pool.
import DiskImage
import Model
import Volumes

/// Why a store did not do what was asked.
package enum StorageError: Error, Sendable, Equatable {
    /// No image has this id.
    case imageNotFound(ImageID)
    /// An image with this id is there already, with other content or facts.
    case imageExists(ImageID)
    /// No session has this id (it ended, expired or never began).
    case sessionNotFound(SessionID)
    /// Another caller works on this session.
    case sessionBusy(SessionID)
    /// The file system has not enough room once the reserve is kept; nothing was lost, and trying again
    /// after freeing space goes on. Sizes in bytes.
    case noSpace(neededBytes: UInt64, availableBytes: UInt64)
    /// The digest of what was received is not the one that was promised.
    case checksumMismatch(expected: Digest, found: Digest)
    /// A slice on disk is not what it was; `ranges` are guest offsets.
    case corrupt(ImageID?, detail: String)
    /// The marker is missing or foreign: the disk is not mounted, or it is another store.
    case wrongStore(detail: String)
    /// Another agent has the store open.
    case storeInUse(detail: String)
    /// The store's format is newer than this program.
    case formatTooNew(found: Int, supported: Int)
    /// The source file was refused or could not be read.
    case source(DiskImageError)
    /// The file system failed; `during` names the step.
    case volume(detail: String, during: String)
    /// The caller withdrew.
    case cancelled
}

/// Where a long call stands; handed to the caller every now and then, from any thread.
package struct IngestProgress: Sendable, Equatable {
    /// Guest bytes that are done, holes included.
    package var doneBytes: UInt64
    /// The guest's disk.
    package var totalBytes: UInt64
    /// Bytes of slices that the store had already.
    package var reusedBytes: UInt64
    /// Bytes written to blobs.
    package var storedBytes: UInt64

    /// Creates a progress.
    package init(doneBytes: UInt64, totalBytes: UInt64, reusedBytes: UInt64, storedBytes: UInt64) {
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
        self.reusedBytes = reusedBytes
        self.storedBytes = storedBytes
    }
}

/// What the caller of an ingest says and hears. `isCancelled` is asked often; both run on the store's threads.
package struct IngestControl: Sendable {
    /// Called at most ten times a second.
    package var onProgress: @Sendable (IngestProgress) -> Void
    /// True ends the call with `.cancelled`; the session stays, and can be resumed or abandoned.
    package var isCancelled: @Sendable () -> Bool

    /// Creates a control.
    package init(
        onProgress: @escaping @Sendable (IngestProgress) -> Void = { _ in },
        isCancelled: @escaping @Sendable () -> Bool = { false }
    ) {
        self.onProgress = onProgress
        self.isCancelled = isCancelled
    }
}

/// A file that arrives piece by piece (a download, an upload) and is taken in once it is whole.
/// Its durable length survives a crash; what was appended after the last `sync` may not.
package protocol StagedFile: AnyObject, Sendable {
    /// Bytes that are certainly on the disk.
    var durableByteCount: UInt64 { get }
    /// Bytes appended, durable or not.
    var byteCount: UInt64 { get }
    /// Appends; runs of zeros may become holes.
    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError)
    /// Makes all that was appended durable, then says so.
    func sync() throws(StorageError)
    /// Throws away what was appended (a source that changed begins again), durably.
    func reset() throws(StorageError)
    /// The SHA-256 of all bytes. It is carried along with `sync`, so that it need not read the file again.
    func digest() throws(StorageError) -> Digest
    /// Small notes of the caller that live and die with the file (an ETag, an expiry); at most 64 KiB, replaced whole,
    /// durable on return.
    func setNotes(_ notes: [UInt8]) throws(StorageError)
    /// The notes; empty when none were set.
    func notes() throws(StorageError) -> [UInt8]
    /// The bytes so far, to be inspected and taken in.
    func source() throws(StorageError) -> any ByteSource
    /// Lets go of the file and its lock; the session stays.
    func close()
}

/// A store of images. One process has it open.
package protocol ImageStore: Sendable {
    /// The id in the store's marker.
    var id: StoreID { get }
    /// Every image, by id. An unreadable manifest is an error, not a gap.
    func images() throws(StorageError) -> [ImageFacts]
    /// One image.
    func image(_ id: ImageID) throws(StorageError) -> ImageFacts
    /// The guest's disk of an image; every byte is checked against its digest before it is handed out.
    func open(_ id: ImageID) throws(StorageError) -> any GuestDisk
    /// Changes name and description in the manifest, by a new file and a rename.
    func update(_ id: ImageID, name: String, description: String) throws(StorageError) -> ImageFacts
    /// Removes an image and what only it needed as whole blobs; works on a full disk. Twice is once.
    func remove(_ id: ImageID) throws(StorageError)

    /// Opens or resumes the staged file of a session; `expectedBytes` is reserved when known.
    func stage(_ session: SessionID, expectedBytes: UInt64?) throws(StorageError) -> any StagedFile
    /// Takes a disk in as an image and makes it durable. Asked again with the same session it goes on from the
    /// blobs that are durable; asked again after success it answers the same facts. The session ends with success.
    func ingest(
        _ session: SessionID, as declaration: ImageDeclaration, from disk: any GuestDisk, sourceDigest: Digest?,
        sourceSizeBytes: UInt64, control: IngestControl
    ) throws(StorageError) -> ImageFacts
    /// Ends a session and removes all that only it made. Twice is once.
    func abandon(_ session: SessionID) throws(StorageError)
    /// The open sessions and the seconds since each was last active, in running time.
    func sessions() throws(StorageError) -> [OpenSession]

    /// How full the store is.
    func usage() throws(StorageError) -> StorageUsage
    /// Bytes that stay free for the admin; checked before every reservation.
    func setReserved(bytes: UInt64) throws(StorageError)
    /// Finishes what runs and closes; later calls fail.
    func close()
}

/// A session that has not ended.
package struct OpenSession: Sendable, Equatable {
    /// Its id.
    package var id: SessionID
    /// Bytes it has staged.
    package var stagedBytes: UInt64
    /// Seconds without activity.
    package var idleSeconds: UInt64

    /// Creates a record.
    package init(id: SessionID, stagedBytes: UInt64, idleSeconds: UInt64) {
        self.id = id
        self.stagedBytes = stagedBytes
        self.idleSeconds = idleSeconds
    }
}
