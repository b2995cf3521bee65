import DiskImage
import Model
import Storage
import Volumes

extension StorageError {
    /// The store's word for a failed call of the file system.
    static func failed(_ error: VolumeError, during step: String, needing bytes: UInt64 = 0) -> StorageError {
        error.isNoSpace
            ? .noSpace(neededBytes: bytes, availableBytes: 0) : .volume(detail: error.description, during: step)
    }

    /// True: the file system or the reserve has no room.
    var isNoSpace: Bool {
        if case .noSpace = self { return true }
        return false
    }
}

/// Runs file calls of one step, and says its name when one fails.
func during<Result>(
    _ step: String, _ body: () throws(VolumeError) -> Result
) throws(StorageError) -> Result {
    do throws(VolumeError) { return try body() } catch { throw .failed(error, during: step) }
}
