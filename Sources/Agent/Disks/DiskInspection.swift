import FoundationEssentials
import HostCommand
import Model

/// Looks at the disks of this host; changes nothing.
package enum DiskInspection {
    /// All whole disks, examined as root.
    package static func disks() throws(DisksError) -> [BlockDevice] {
        let listing = try listing()
        return listing.disks(try facts())
    }

    /// One disk by the path of its device node.
    package static func disk(_ device: String) throws(DisksError) -> BlockDevice {
        guard let found = try disks().first(where: { $0.device == device }) else { throw .diskNotFound(device: device) }
        return found
    }

    /// The signatures on a device; nil when it could not be read.
    static func signatures(on device: String) -> [String]? {
        guard let result = try? HostCommand("wipefs", ["--parsable", "--no-act", device]).run(), result.status == 0
        else {
            return nil
        }
        return BlockDeviceFacts.signatures(wipefs: result.text)
    }

    private static func listing() throws(DisksError) -> BlockDeviceListing {
        do throws(HostCommandError) {
            let result = try HostCommand("lsblk", ["--json", "--bytes", "--output-all"]).succeed()
            guard let listing = try? JSONDecoder().decode(BlockDeviceListing.self, from: Data(result.output)) else {
                throw HostCommandError.failed(program: "lsblk", status: 0, message: "its JSON was not understood")
            }
            return listing
        } catch { throw .command(error) }
    }

    private static func facts() throws(DisksError) -> BlockDeviceFacts {
        var mounts = try HostMounts.current()
        // What the host has mounted counts even where this process has a view of its own.
        if let text = try? HostFiles.read("/proc/1/mountinfo") {
            mounts.mounts += MountTable(mountInfo: text).mounts
        }
        var facts = BlockDeviceFacts(mounts: mounts)
        facts.swaps = BlockDeviceFacts.swaps(table: try HostFiles.read("/proc/swaps") ?? "")
        for name in HostFiles.names(in: "/sys/class/block") {
            let place = "/sys/class/block/" + name
            facts.holders[name, default: []] += HostFiles.names(in: place + "/holders")
            if let backing = try? HostFiles.read(place + "/loop/backing_file"), backing.hasPrefix("/dev/") {
                facts.holders[String(backing.dropFirst(5).prefix { $0 != "\n" }), default: []].append(name)
            }
        }
        for name in HostFiles.names(in: "/sys/block") {
            let place = "/sys/block/" + name
            if let sequence = try? HostFiles.read(place + "/diskseq") {
                facts.sequences[name] = String(sequence.prefix { $0 != "\n" })
            }
            if (try? HostFiles.read(place + "/size")) != "0\n" {
                facts.signatures[name] = signatures(on: "/dev/" + name)
            }
        }
        return facts
    }
}
