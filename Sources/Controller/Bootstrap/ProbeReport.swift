import Model

/// How the SSH user may become root.
package enum SudoAccess: String, Hashable, Sendable, Codable {
    /// The user is root.
    case root
    /// With their own password.
    case password
    /// Without any password.
    case none
    /// Not at all.
    case denied

    /// Whether system-wide installation and formatting are possible.
    package var canBecomeRoot: Bool { self != .denied }
}

/// A disk that may not be used, and why.
package struct RefusedDisk: Hashable, Sendable {
    /// The disk.
    package var disk: BlockDevice
    /// Why it is not free.
    package var refusal: DiskRefusal

    /// Creates it from its parts.
    package init(disk: BlockDevice, refusal: DiskRefusal) {
        self.disk = disk
        self.refusal = refusal
    }
}

/// A mount of the host that holds files of its own.
package struct ProbedMount: Hashable, Sendable {
    /// Where.
    package var path: String
    /// What is mounted there.
    package var source: String
    /// The file system's type.
    package var fileSystem: String
    /// Its size.
    package var sizeBytes: UInt64
    /// What may still be written there.
    package var freeBytes: UInt64

    /// Creates it from its parts.
    package init(path: String, source: String, fileSystem: String, sizeBytes: UInt64, freeBytes: UInt64) {
        self.path = path
        self.source = source
        self.fileSystem = fileSystem
        self.sizeBytes = sizeBytes
        self.freeBytes = freeBytes
    }
}

/// An address of the host.
package struct ProbedAddress: Hashable, Sendable {
    /// The address.
    package var address: IPAddress
    /// The interface that has it.
    package var interface: String
    /// The length of its network's prefix.
    package var prefixLength: Int

    /// Creates it from its parts.
    package init(address: IPAddress, interface: String, prefixLength: Int) {
        self.address = address
        self.interface = interface
        self.prefixLength = prefixLength
    }
}

/// What a host is and has. Source: api.md, `probe`.
package struct ProbeReport: Hashable, Sendable {
    /// `SHA256:` and base64, as ssh-keygen prints it.
    package var hostKey: String
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, …
    package var hostKeyType: String
    /// PRETTY_NAME of os-release.
    package var os: String
    /// ID of os-release, such as `debian`.
    package var osID: String
    /// `uname -m`.
    package var architecture: String
    /// `uname -r`.
    package var kernel: String
    /// Whether systemd is PID 1.
    package var hasSystemd: Bool
    /// How the user may become root.
    package var sudo: SudoAccess
    /// Disks that may be chosen.
    package var freeDisks: [BlockDevice]
    /// Disks that may not, each with the reason.
    package var otherDisks: [RefusedDisk]
    /// Mounts with space of their own.
    package var mounts: [ProbedMount]
    /// All addresses but loopback and link-local ones.
    package var addresses: [ProbedAddress]

    /// Creates a report from its parts.
    package init(
        hostKey: String, hostKeyType: String, os: String, osID: String, architecture: String, kernel: String,
        hasSystemd: Bool, sudo: SudoAccess, freeDisks: [BlockDevice], otherDisks: [RefusedDisk], mounts: [ProbedMount],
        addresses: [ProbedAddress]
    ) {
        self.hostKey = hostKey
        self.hostKeyType = hostKeyType
        self.os = os
        self.osID = osID
        self.architecture = architecture
        self.kernel = kernel
        self.hasSystemd = hasSystemd
        self.sudo = sudo
        self.freeDisks = freeDisks
        self.otherDisks = otherDisks
        self.mounts = mounts
        self.addresses = addresses
    }

    /// The addresses that lie in a network. Source: seed, "Image Sync Network": the host must have one in it.
    package func addresses(in network: CIDR) -> [ProbedAddress] { addresses.filter { network.contains($0.address) } }
}
