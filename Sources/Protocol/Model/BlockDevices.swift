/// A whole disk of a host, as `lsblk`, `wipefs` and the kernel's tables tell of it.
/// The controller's probe and the agent's last look before formatting make it from the same facts.
/// Source: seed, "Free Disk"; docs/security.md, "wrong disk formatted".
package struct BlockDevice: Hashable, Sendable, Codable {
    /// The path of the device node, such as `/dev/vdb`.
    package var device: String
    /// What identifies the disk beyond its node's name: `wwn:…`, `serial:…`, else `seq:…` or `dev:…`, which hold
    /// only until the disk is attached anew.
    package var id: String
    /// The size in bytes.
    package var sizeBytes: UInt64
    /// The maker's model name; nil when the device has none.
    package var model: String?
    /// The serial number; nil when the device has none.
    package var serial: String?
    /// `disk`, `loop`, `rom`, … as lsblk says.
    package var type: String
    /// Whether the kernel refuses writes to it.
    package var isReadOnly: Bool
    /// Where it or something on it is mounted.
    package var mountPoints: [String]
    /// Names of its partitions, whatever they hold.
    package var partitions: [String]
    /// Devices that the kernel builds on it: LVM, md, dm-crypt, multipath, bcache, loops.
    package var holders: [String]
    /// Signatures found on it (`xfs`, `LVM2_member`, `gpt`, …); nil when nobody could look (no root).
    package var signatures: [String]?
    /// Whether it or something on it is swap in use.
    package var isSwap: Bool

    /// Creates the description from its parts.
    package init(
        device: String, id: String, sizeBytes: UInt64, model: String? = nil, serial: String? = nil,
        type: String = "disk",
        isReadOnly: Bool = false, mountPoints: [String] = [], partitions: [String] = [], holders: [String] = [],
        signatures: [String]? = [], isSwap: Bool = false
    ) {
        self.device = device
        self.id = id
        self.sizeBytes = sizeBytes
        self.model = model
        self.serial = serial
        self.type = type
        self.isReadOnly = isReadOnly
        self.mountPoints = mountPoints
        self.partitions = partitions
        self.holders = holders
        self.signatures = signatures
        self.isSwap = isSwap
    }
}

/// Why a disk is not free.
package enum DiskRefusal: Hashable, Sendable, CustomStringConvertible {
    /// It is no disk but a CD drive, a RAM disk, …
    case notADisk(type: String)
    /// It, or something on it, is mounted.
    case mounted(at: [String])
    /// It, or something on it, is swap in use.
    case swap
    /// The kernel has built something on it.
    case held(by: [String])
    /// The kernel refuses writes.
    case readOnly
    /// It is smaller than any store needs.
    case tooSmall(sizeBytes: UInt64)
    /// It has partitions.
    case partitioned([String])
    /// It carries signatures of a file system, RAID, LVM, …
    case signed([String])
    /// Nobody could look for signatures, so nobody may say that it is free.
    case notExamined

    /// Whether an admin who typed the disk's serial number may have it wiped all the same. What is in use never is.
    package var yieldsToSerial: Bool {
        switch self {
        case .partitioned, .signed: true
        default: false
        }
    }

    /// Words for the admin.
    package var description: String {
        switch self {
        case .notADisk(let type): "is not a disk (\(type))"
        case .mounted(let paths): "is mounted at \(paths.joined(separator: ", "))"
        case .swap: "is used as swap"
        case .held(let names): "is in use by \(names.joined(separator: ", "))"
        case .readOnly: "is read-only"
        case .tooSmall(let size): "is too small (\(size) bytes; at least \(BlockDevice.sizeBytesMin) are needed)"
        case .partitioned(let names): "has partitions (\(names.joined(separator: ", ")))"
        case .signed(let names): "carries data (\(names.joined(separator: ", ")))"
        case .notExamined: "could not be examined without root"
        }
    }
}

extension BlockDevice {
    /// The smallest disk that is offered: 64 MiB.
    package static let sizeBytesMin: UInt64 = 64 << 20

    /// Why this disk is not free; nil when it is. What is in use comes before what could be wiped, so that a
    /// refusal that yields to a serial number is never shown in place of one that does not.
    package var refusal: DiskRefusal? {
        if type != "disk" && type != "loop" { return .notADisk(type: type) }
        if !mountPoints.isEmpty { return .mounted(at: mountPoints) }
        if isSwap { return .swap }
        if !holders.isEmpty { return .held(by: holders) }
        if isReadOnly { return .readOnly }
        if sizeBytes < BlockDevice.sizeBytesMin { return .tooSmall(sizeBytes: sizeBytes) }
        guard let signatures else { return .notExamined }
        if !partitions.isEmpty { return .partitioned(partitions) }
        if !signatures.isEmpty { return .signed(signatures) }
        return nil
    }
}

/// The disk an admin chose, as it was shown: compared again in the moment before it is wiped.
package struct DiskChoice: Hashable, Sendable, Codable {
    /// The path of its device node when it was shown.
    package var device: String
    /// Its `BlockDevice.id` when it was shown.
    package var id: String
    /// Its size when it was shown.
    package var sizeBytes: UInt64
    /// Its serial number when it was shown.
    package var serial: String?
    /// The serial number that the admin typed to have a disk with data on it wiped; nil: only a free disk will do.
    package var confirmedSerial: String?

    /// Creates a choice from its parts.
    package init(device: String, id: String, sizeBytes: UInt64, serial: String? = nil, confirmedSerial: String? = nil) {
        self.device = device
        self.id = id
        self.sizeBytes = sizeBytes
        self.serial = serial
        self.confirmedSerial = confirmedSerial
    }

    /// The choice of a disk that a probe listed.
    package init(_ disk: BlockDevice, confirmedSerial: String? = nil) {
        self.init(
            device: disk.device, id: disk.id, sizeBytes: disk.sizeBytes, serial: disk.serial,
            confirmedSerial: confirmedSerial)
    }

    /// In what the disk that is there now differs from the chosen one; nil when it is the same.
    package func difference(from disk: BlockDevice) -> String? {
        if disk.id != id { return "its identity is \(disk.id), not \(id)" }
        if disk.serial != serial { return "its serial number is \(disk.serial ?? "none"), not \(serial ?? "none")" }
        if disk.sizeBytes != sizeBytes { return "its size is \(disk.sizeBytes) bytes, not \(sizeBytes)" }
        return nil
    }
}

/// The facts about a host's block devices that come from elsewhere than `lsblk`. Names are the kernel's (`vdb`).
package struct BlockDeviceFacts: Sendable {
    /// `/proc/self/mountinfo`, parsed.
    package var mounts: MountTable
    /// Device paths in `/proc/swaps`.
    package var swaps: [String]
    /// What lies in `/sys/class/block/NAME/holders`, and loops whose backing file is the device.
    package var holders: [String: [String]]
    /// Signature types by name; nil for a device that could not be read.
    package var signatures: [String: [String]]
    /// `/sys/block/NAME/diskseq`.
    package var sequences: [String: String]

    /// Creates facts from their parts.
    package init(
        mounts: MountTable, swaps: [String] = [], holders: [String: [String]] = [:],
        signatures: [String: [String]] = [:],
        sequences: [String: String] = [:]
    ) {
        self.mounts = mounts
        self.swaps = swaps
        self.holders = holders
        self.signatures = signatures
        self.sequences = sequences
    }
}

/// What `lsblk --json --bytes --output-all` prints; several versions of it are understood.
package struct BlockDeviceListing: Sendable, Decodable {
    /// The devices that stand on no other.
    package var blockdevices: [Entry]

    /// One device, with those that stand on it.
    package struct Entry: Sendable, Decodable {
        var name: String
        var kernelName: String
        var path: String?
        var majorMinor: String
        var size: UInt64
        var type: String
        var isReadOnly: Bool
        var model: String?
        var serial: String?
        var wwn: String?
        var mountPoints: [String]
        var children: [Entry]

        enum CodingKeys: String, CodingKey {
            case name, kname, path, size, type, ro, model, serial, wwn, mountpoint, mountpoints, children
            case majorMinor = "maj:min"
        }

        /// Reads an entry; numbers and flags of old versions are strings.
        package init(from decoder: any Decoder) throws {
            let fields = try decoder.container(keyedBy: CodingKeys.self)
            func text(_ key: CodingKeys) -> String? {
                guard let given = try? fields.decodeIfPresent(String.self, forKey: key) else { return nil }
                let trimmed = given.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
                return trimmed.isEmpty ? nil : String(trimmed)
            }
            name = try fields.decode(String.self, forKey: .name)
            kernelName = text(.kname) ?? name
            path = text(.path)
            majorMinor = text(.majorMinor) ?? ""
            if let number = try? fields.decode(UInt64.self, forKey: .size) {
                size = number
            } else {
                size = text(.size).flatMap { UInt64($0) } ?? 0
            }
            type = text(.type) ?? "unknown"
            if let flag = try? fields.decode(Bool.self, forKey: .ro) {
                isReadOnly = flag
            } else {
                isReadOnly = text(.ro) != "0"
            }
            model = text(.model)
            serial = text(.serial)
            wwn = text(.wwn)
            let several = (try? fields.decodeIfPresent([String?].self, forKey: .mountpoints)) ?? nil
            mountPoints = (several ?? [text(.mountpoint)]).compactMap { $0 }
            children = try fields.decodeIfPresent([Entry].self, forKey: .children) ?? []
        }
    }

    /// The whole disks, each with all that is known of it and of what stands on it. Devices of size zero (an
    /// empty drive, an unused loop) are left out.
    package func disks(_ facts: BlockDeviceFacts) -> [BlockDevice] {
        blockdevices.filter { $0.size > 0 }.map { $0.disk(facts) }
    }
}

extension BlockDeviceListing.Entry {
    func disk(_ facts: BlockDeviceFacts) -> BlockDevice {
        let everything = family
        let mounts = everything.flatMap { member in
            member.mountPoints.filter { $0 != "[SWAP]" }
                + facts.mounts.mounts.filter { $0.majorMinor == member.majorMinor }.map(\.path)
        }
        let partitions = children.filter { $0.type == "part" }
        // A partition's holders are in use as much as the disk's own.
        let built =
            everything.flatMap { facts.holders[$0.kernelName] ?? [] }
            + children.filter { $0.type != "part" }.map(\.name)
        return BlockDevice(
            device: node, id: identity(facts), sizeBytes: size, model: model, serial: serial, type: type,
            isReadOnly: isReadOnly, mountPoints: mounts.uniqued(), partitions: partitions.map(\.name),
            holders: built.uniqued(), signatures: facts.signatures[kernelName]?.uniqued(),
            isSwap: everything.contains { facts.swaps.contains($0.node) || $0.mountPoints.contains("[SWAP]") })
    }

    private var node: String { path ?? "/dev/" + kernelName }

    private var family: [BlockDeviceListing.Entry] { [self] + children.flatMap(\.family) }

    private func identity(_ facts: BlockDeviceFacts) -> String {
        if let wwn { return "wwn:" + wwn }
        if let serial { return "serial:" + serial }
        if let sequence = facts.sequences[kernelName] { return "seq:" + sequence }
        return "dev:" + majorMinor
    }
}

extension [String] {
    /// The same without repetitions, in the order of first appearance.
    func uniqued() -> [String] {
        var seen: Set<String> = []
        return filter { seen.insert($0).inserted }
    }
}

extension BlockDeviceFacts {
    /// The types in what `wipefs --parsable --no-act` prints: `offset,uuid,label,type`, comments with `#`.
    package static func signatures(wipefs text: String) -> [String] {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
            line.split(separator: ",", omittingEmptySubsequences: false).last.map(String.init)
        }
    }

    /// The device paths in `/proc/swaps`.
    package static func swaps(table text: String) -> [String] {
        text.split(separator: "\n").dropFirst().compactMap {
            $0.split(whereSeparator: \.isWhitespace).first.map(String.init)
        }
    }
}
