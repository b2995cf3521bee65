import Foundation
import Model

/// What the probe script printed, taken apart.
struct ProbeAnswer {
    private let sections: [String: String]

    /// - Throws: `.unsupportedOS` when what ran our script is no POSIX shell, or it did not come to its end.
    init(_ output: [UInt8]) throws(BootstrapError) {
        let text = String(decoding: output, as: UTF8.self)
        var sections: [String: String] = [:]
        for part in ("\n" + text).components(separatedBy: "\n" + ProbeScript.mark).dropFirst() {
            let end = part.firstIndex(of: "\n") ?? part.endIndex
            sections[String(part[..<end])] = String(part[end...].dropFirst())
        }
        guard sections["end"] != nil else {
            throw .unsupportedOS(detail: "the host did not run a POSIX shell script to its end")
        }
        self.sections = sections
    }

    private func lines(_ name: String) -> [String] {
        (sections[name] ?? "").split(separator: "\n").map(String.init)
    }

    private func pairs(_ name: String) -> [(String, String)] {
        lines(name).compactMap { line in
            let fields = line.split(separator: " ", maxSplits: 1).map(String.init)
            return fields.count == 2 ? (fields[0], fields[1]) : nil
        }
    }

    /// - Throws: `.unsupportedOS` when the host is no Linux or lacks what the bundle needs to be unpacked.
    func report(hostKey: String, hostKeyType: String, sudo: SudoAccess) throws(BootstrapError) -> ProbeReport {
        let system = lines("uname")
        guard system.count == 3, system[0] == "Linux" else {
            throw .unsupportedOS(detail: "the host runs \(system.first ?? "something unknown"); a Linux is needed")
        }
        let tools = Set(lines("tools"))
        let missing = ["tar", "gzip", "sha256sum", "mktemp", "head"].filter { !tools.contains($0) }
        guard missing.isEmpty else {
            throw .unsupportedOS(detail: "the host lacks \(missing.joined(separator: ", "))")
        }
        let disks = disks()
        return ProbeReport(
            hostKey: hostKey, hostKeyType: hostKeyType, os: osRelease("PRETTY_NAME") ?? "Linux",
            osID: osRelease("ID") ?? "linux", architecture: system[2], kernel: system[1],
            hasSystemd: lines("init").contains("systemd-runs"), sudo: sudo,
            freeDisks: disks.filter { $0.refusal == nil },
            otherDisks: disks.compactMap { disk in disk.refusal.map { RefusedDisk(disk: disk, refusal: $0) } },
            mounts: mounts(), addresses: addresses())
    }

    private func osRelease(_ key: String) -> String? {
        for line in lines("os-release") where line.hasPrefix(key + "=") {
            return line.dropFirst(key.count + 1).trimmingCharacters(in: CharacterSet(charactersIn: "\"' "))
        }
        return nil
    }

    private func disks() -> [BlockDevice] {
        guard let json = sections["lsblk"]?.data(using: .utf8),
            let listing = try? JSONDecoder().decode(BlockDeviceListing.self, from: json)
        else { return [] }
        var table = MountTable(mountInfo: sections["mountinfo"] ?? "")
        table.mounts += MountTable(mountInfo: sections["mountinfo-of-init"] ?? "").mounts
        var facts = BlockDeviceFacts(mounts: table, swaps: BlockDeviceFacts.swaps(table: sections["swaps"] ?? ""))
        for (name, holder) in pairs("holders") { facts.holders[name, default: []].append(holder) }
        for (name, sequence) in pairs("sequences") { facts.sequences[name] = sequence }
        var current: String?
        for (kind, value) in pairs("signatures") {
            if kind == "disk" {
                current = value
                facts.signatures[value] = []
            } else if kind == "signature", let current {
                facts.signatures[current]?.append(contentsOf: BlockDeviceFacts.signatures(wipefs: value))
            }
        }
        return listing.disks(facts)
    }

    private func mounts() -> [ProbedMount] {
        let table = MountTable(mountInfo: sections["mountinfo"] ?? "")
        return lines("df").dropFirst().compactMap { line in
            let fields = line.split(separator: " ", maxSplits: 5).map(String.init)
            guard fields.count == 6, let size = UInt64(fields[1]), let free = UInt64(fields[3]), size > 0,
                let mount = table.mount(at: fields[5]), !ProbeAnswer.inMemory.contains(mount.fileSystem)
            else { return nil }
            return ProbedMount(
                path: mount.path, source: mount.source, fileSystem: mount.fileSystem, sizeBytes: size << 10,
                freeBytes: free << 10)
        }
    }

    private static let inMemory: Set<String> = ["tmpfs", "devtmpfs", "ramfs", "squashfs", "efivarfs"]

    // `2: eth0    inet 10.0.0.1/24 brd …`
    private func addresses() -> [ProbedAddress] {
        lines("addresses").compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count >= 4, fields[2] == "inet" || fields[2] == "inet6" else { return nil }
            let parts = fields[3].split(separator: "/")
            guard let address = try? IPAddress(parsing: String(parts[0])), !address.isLinkLocal, !address.isLoopback
            else { return nil }
            let length = parts.count > 1 ? Int(parts[1]) : nil
            return ProbedAddress(
                address: address, interface: String(fields[1].prefix { $0 != "@" }),
                prefixLength: length ?? address.bytes.count * 8)
        }
    }
}
