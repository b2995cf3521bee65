import Glibc
import HostCommand
import Model

/// The file system of one storage on one disk. It carries the storage's id as its UUID, so that a disk that was
/// formatted for this storage is known from any other for ever.
struct DiskFormat {
    let storage: ImageStorageID
    let device: String

    private static let label = "lamina"
    private static let timeoutFormat: Duration = .seconds(600)
    // mkfs.xfs makes nothing smaller than 300 MB.
    private static let xfsSizeBytesMin: UInt64 = 512 << 20

    init(storage: ImageStorageID, device: String) throws(DisksError) {
        self.storage = storage
        self.device = device
        var node = stat()
        guard stat(device, &node) == 0, node.st_mode & S_IFMT == S_IFBLK else { throw .diskNotFound(device: device) }
    }

    /// The disk that has this storage's file system.
    static func device(of storage: ImageStorageID) -> String? {
        guard let result = try? HostCommand("blkid", ["-c", "/dev/null", "-o", "device", "-U", "\(storage)"]).run(),
            result.status == 0
        else { return nil }
        return result.text.split(separator: "\n").first.map(String.init)
    }

    /// Whether the disk has this storage's file system.
    func isOurs() throws(DisksError) -> Bool { try value("UUID") == "\(storage)" }

    /// The type of the file system on the disk.
    func type() throws(DisksError) -> String {
        guard let type = try value("TYPE") else { throw .formatFailed("\(device) has no file system") }
        return type
    }

    /// Whether this disk is what is mounted there.
    func isMounted(as mount: MountTable.Mount) throws(DisksError) -> Bool {
        var node = stat()
        guard stat(device, &node) == 0 else { throw .last("stat", device) }
        let (major, minor) = DiskFormat.numbers(of: node.st_rdev)
        return mount.majorMinor == "\(major):\(minor)"
    }

    /// Compares the disk with the choice, examines it again, wipes it and makes the file system.
    func format(_ choice: DiskChoice) throws(DisksError) {
        let disk = try DiskInspection.disk(device)
        if let difference = choice.difference(from: disk) { throw .diskChanged(device: device, difference: difference) }
        if let refusal = disk.refusal {
            let isConfirmed = choice.confirmedSerial != nil && choice.confirmedSerial == disk.serial
            guard isConfirmed, refusal.yieldsToSerial else {
                throw .diskNotFree(device: device, reason: refusal.description)
            }
        }
        // The kernel's own word, whatever the tables say: nobody else may have it open for a mount or a device on it.
        let exclusive = open(device, O_RDWR | O_EXCL | O_CLOEXEC)
        guard exclusive >= 0 else {
            if errno == EBUSY { throw .diskNotFree(device: device, reason: "is in use") }
            throw .last("open", device)
        }
        close(exclusive)
        try make(disk)
        guard try isOurs() else { throw .formatFailed("\(device) does not have the new file system") }
    }

    private func make(_ disk: BlockDevice) throws(DisksError) {
        // All of these look once more whether the disk is in use (one -F of mkfs.ext4 only means: a whole disk is meant).
        do throws(HostCommandError) {
            for name in disk.partitions { try HostCommand("wipefs", ["--all", "/dev/" + name]).succeed() }
            try HostCommand("wipefs", ["--all", device]).succeed()
            if !disk.partitions.isEmpty { _ = try HostCommand("blockdev", ["--rereadpt", device]).run() }
            if disk.sizeBytes >= DiskFormat.xfsSizeBytesMin, HostCommand.locate("mkfs.xfs") != nil {
                try HostCommand(
                    "mkfs.xfs", ["-q", "-L", DiskFormat.label, "-m", "uuid=\(storage)", device],
                    timeout: DiskFormat.timeoutFormat
                ).succeed()
            } else {
                // No blocks for root alone, since the store keeps its own reserve; few inodes, since blobs are large.
                try HostCommand(
                    "mkfs.ext4",
                    ["-q", "-F", "-L", DiskFormat.label, "-U", "\(storage)", "-m", "0", "-i", "65536", device],
                    timeout: DiskFormat.timeoutFormat
                ).succeed()
            }
        } catch { throw .formatFailed(error.description) }
    }

    // One value of what is on the disk now, not of what some cache says.
    private func value(_ name: String) throws(DisksError) -> String? {
        do throws(HostCommandError) {
            let result = try HostCommand("blkid", ["--probe", "--match-tag", name, "--output", "value", device])
                .succeed(accepting: [0, 2])
            let value = result.text.split(separator: "\n").first
            return value.map(String.init)
        } catch { throw .command(error) }
    }

    // glibc's encoding of device numbers.
    private static func numbers(of device: dev_t) -> (major: UInt64, minor: UInt64) {
        let number = UInt64(device)
        return ((number >> 8) & 0xfff | (number >> 32) & 0xffff_f000, number & 0xff | (number >> 12) & 0xffff_ff00)
    }
}
