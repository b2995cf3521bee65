import Model
import Operations

/// What a probe found, as it is sent.
struct ProbeView: Codable, Sendable {
    var hostKey: String
    var hostKeyType: String
    var os: String
    var architecture: String
    var kernel: String
    var hasSystemd: Bool
    var sudo: String
    var freeDisks: [Disk]
    var otherDisks: [RefusedDisk]
    var mounts: [Mount]
    var addresses: [Address]

    struct Disk: Codable, Sendable {
        var device: String
        var sizeBytes: UInt64
        var model: String?
        var serial: String?

        init(_ disk: BlockDevice) {
            device = disk.device
            sizeBytes = disk.sizeBytes
            model = disk.model
            serial = disk.serial
        }
    }

    struct RefusedDisk: Codable, Sendable {
        var device: String
        var sizeBytes: UInt64
        var model: String?
        var serial: String?
        var reason: String

        init(_ refused: HostProbe.RefusedDisk) {
            device = refused.disk.device
            sizeBytes = refused.disk.sizeBytes
            model = refused.disk.model
            serial = refused.disk.serial
            reason = refused.reason
        }
    }

    struct Mount: Codable, Sendable {
        var path: String
        var source: String
        var fileSystem: String
        var sizeBytes: UInt64
        var freeBytes: UInt64
    }

    struct Address: Codable, Sendable {
        var address: String
        var interface: String
        var prefixLength: Int
    }

    init(_ probe: HostProbe) {
        hostKey = probe.hostKey
        hostKeyType = probe.hostKeyType
        os = probe.os
        architecture = probe.architecture
        kernel = probe.kernel
        hasSystemd = probe.hasSystemd
        sudo = probe.sudo
        freeDisks = probe.freeDisks.map(Disk.init)
        otherDisks = probe.otherDisks.map(RefusedDisk.init)
        mounts = probe.mounts.map {
            Mount(
                path: $0.path, source: $0.source, fileSystem: $0.fileSystem, sizeBytes: $0.sizeBytes,
                freeBytes: $0.freeBytes)
        }
        addresses = probe.addresses.map {
            Address(address: $0.address, interface: $0.interface, prefixLength: $0.prefixLength)
        }
    }

    private static let diskFields: [Schema.Field] = [
        .required("device", .text, "The path of the device."), .required("sizeBytes", .byteCount, "Its size."),
        .optional("model", .text, "Its maker's name for it."), .optional("serial", .text, "Its serial number."),
    ]

    static let schema = Schema.object(
        "ProbeReport",
        [
            .required("hostKey", HostBody.hostKeySchema, "The fingerprint of the host's SSH key."),
            .required("hostKeyType", .text, "The kind of that key."), .required("os", .text, "The operating system."),
            .required("architecture", .text, "As `uname -m` says."), .required("kernel", .text, "As `uname -r` says."),
            .required("hasSystemd", .boolean, "Whether systemd runs the host."),
            .required("sudo", .values("root", "password", "none", "denied"), "How the user may become root."),
            .required("freeDisks", .array(.object("FreeDisk", diskFields), countMax: nil), "Disks that may be chosen."),
            .required(
                "otherDisks",
                .array(
                    .object("RefusedDisk", diskFields + [.required("reason", .text, "Why it may not be chosen.")]),
                    countMax: nil), "Disks that may not."),
            .required(
                "mounts",
                .array(
                    .object(
                        "Mount",
                        [
                            .required("path", .text, "Where."), .required("source", .text, "What is mounted."),
                            .required("fileSystem", .text, "Its type."),
                            .required("sizeBytes", .byteCount, "Its size."),
                            .required("freeBytes", .byteCount, "What is free."),
                        ]), countMax: nil), "Mounts with space of their own."),
            .required(
                "addresses",
                .array(
                    .object(
                        "HostAddress",
                        [
                            .required("address", .text, "An IP address."), .required("interface", .text, "Who has it."),
                            .required("prefixLength", .integer(minimum: 0, maximum: 128), "Of its network."),
                        ]), countMax: nil), "Its addresses."),
        ])
}
