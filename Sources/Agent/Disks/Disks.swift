// Disks: which disks are free, and how one becomes the file system of a storage.
//
// Hides: lsblk, wipefs, mkfs, mount, mount units, fstab, and the checks of a mount path on the host itself.
// Invariants: a disk is compared with the admin's choice and examined again in the moment before it is wiped; nothing
// that is in use is ever wiped, whatever was typed; no link is followed on the way to a mount path; every
// function may be called again after success or after a crash at any point.
// Is not: privileged by itself: all of it but `FileSystemIdentity` needs root, and only the host verbs call it.

import HostCommand

/// Why a disk or directory was not made ready, or not let go.
package enum DisksError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No such device.
    case diskNotFound(device: String)
    /// The device is not the one that was chosen.
    case diskChanged(device: String, difference: String)
    /// The disk may not be wiped.
    case diskNotFree(device: String, reason: String)
    /// mkfs did not make what it should.
    case formatFailed(String)
    /// The file system is not where it should be.
    case mountFailed(String)
    /// The mount path may not be used.
    case pathRefused(String)
    /// The mount path has files in it that are not a store.
    case pathNotEmpty(String)
    /// It could not be unmounted.
    case busy(String)
    /// A program of the host failed.
    case command(HostCommandError)
    /// A system call failed.
    case system(call: String, path: String, errno: Int32)

    /// What was wrong, and what to do.
    package var description: String {
        switch self {
        case .diskNotFound(let device): "there is no disk \(device) on the host"
        case .diskChanged(let device, let difference):
            "\(device) is not the disk that was chosen: \(difference). Probe the host again and choose anew; nothing was wiped"
        case .diskNotFree(let device, let reason): "\(device) is not free: it \(reason). Nothing was wiped"
        case .formatFailed(let detail): "the disk could not be formatted: \(detail)"
        case .mountFailed(let detail): "the disk could not be mounted: \(detail)"
        case .pathRefused(let detail), .pathNotEmpty(let detail), .busy(let detail): detail
        case .command(let error): error.description
        case .system(let call, let path, let number): "\(call) \(path): \(DisksError.words(number))"
        }
    }
}
