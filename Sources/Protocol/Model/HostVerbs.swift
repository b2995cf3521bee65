// What `lamina-agent host VERB` takes on standard input and answers on standard output, as JSON. These verbs are
// all that the controller ever has done on a host through SSH after the bundle is there; docs/operations.md, "On the host".

/// The fixed set of things the bundle can do to its own host. Every verb may be asked again after success.
package enum HostVerb: String, Codable, Sendable, CaseIterable {
    /// Formats and mounts the chosen disk, or makes the directory ready. `PrepareInput` → `PrepareOutput`.
    case prepare
    /// Unmounts and forgets the mount at boot; bytes on the disk stay. `UndoPrepareInput` → `EmptyOutput`.
    case undoPrepare = "undo-prepare"
    /// Makes the instance with its own key. `EnrolInput` → `EnrolOutput`.
    case enrol
    /// Keeps the certificate and the CA beside the key. `InstallCertificateInput` → `EmptyOutput`.
    case installCertificate = "install-certificate"
    /// Starts the instance now and at every boot. `InstanceInput` → `StatusOutput`.
    case start
    /// Stops it, now and at boot. `InstanceInput` → `StatusOutput`.
    case stop
    /// Stops it and removes instance, key and unit; the store stays. `InstanceInput` → `EmptyOutput`.
    case remove
    /// Tells how it is. `InstanceInput` → `StatusOutput`.
    case status
}

/// Where the bundle lives on a host and with whose rights it works.
package enum HostScope: String, Codable, Sendable, CaseIterable {
    /// `/opt/lamina-agent`, instances in `/etc/lamina-agent`; needs root or sudo.
    case system
    /// `~/.lamina-agent` of the SSH user; only for local directories.
    case user
}

/// Which bytes hold the storage.
package enum DiskMethod: Hashable, Sendable, Codable {
    /// A free disk: wiped, formatted and mounted at the mount path.
    case freeDisk(DiskChoice)
    /// A directory of a file system that is mounted already.
    case localDirectory
}

/// Input of `prepare`.
package struct PrepareInput: Hashable, Sendable, Codable {
    /// The storage; a formatted disk's file system gets this UUID, which is how asking again is recognised.
    package var imageStorageID: ImageStorageID
    /// Where the store will be.
    package var mountPath: MountPath
    /// Free disk or local directory.
    package var disk: DiskMethod
    /// Whether a directory that has files but no Lamina store is accepted.
    package var retrieveExistingImages: Bool

    /// Creates the input from its parts.
    package init(
        imageStorageID: ImageStorageID, mountPath: MountPath, disk: DiskMethod, retrieveExistingImages: Bool = false
    ) {
        self.imageStorageID = imageStorageID
        self.mountPath = mountPath
        self.disk = disk
        self.retrieveExistingImages = retrieveExistingImages
    }
}

/// Output of `prepare`.
package struct PrepareOutput: Hashable, Sendable, Codable {
    /// What tells the file system at the mount path from any other: `FileSystemIdentity`, such as `xfs:UUID`.
    package var fileSystemID: String
    /// Its type, such as `xfs`.
    package var fileSystem: String
    /// The device it is on, as the kernel names it.
    package var source: String
    /// The size of the file system.
    package var totalBytes: UInt64
    /// What an unprivileged process may still write.
    package var availableBytes: UInt64
    /// Whether this call formatted the disk (false when asked again).
    package var didFormat: Bool
    /// Whether `lamina/STORE` is there.
    package var hasStore: Bool

    /// Creates the output from its parts.
    package init(
        fileSystemID: String, fileSystem: String, source: String, totalBytes: UInt64, availableBytes: UInt64,
        didFormat: Bool, hasStore: Bool
    ) {
        self.fileSystemID = fileSystemID
        self.fileSystem = fileSystem
        self.source = source
        self.totalBytes = totalBytes
        self.availableBytes = availableBytes
        self.didFormat = didFormat
        self.hasStore = hasStore
    }
}

/// Input of `undo-prepare`.
package struct UndoPrepareInput: Hashable, Sendable, Codable {
    /// The storage that was prepared.
    package var imageStorageID: ImageStorageID
    /// Where it was to be.
    package var mountPath: MountPath

    /// Creates the input from its parts.
    package init(imageStorageID: ImageStorageID, mountPath: MountPath) {
        self.imageStorageID = imageStorageID
        self.mountPath = mountPath
    }
}

/// Input of `enrol`.
package struct EnrolInput: Hashable, Sendable, Codable {
    /// The storage the instance serves; its certificate's SAN names it.
    package var imageStorageID: ImageStorageID
    /// Where its store is.
    package var mountPath: MountPath
    /// `PrepareOutput.fileSystemID`: the agent opens the store nowhere else.
    package var fileSystemID: String
    /// Addresses of the host to listen on: management, sync and data.
    package var listenAddresses: [String]
    /// Whether the agent makes a new store when there is none; left out: when this is its first enrolment here and
    /// there is none now.
    package var createsStore: Bool?

    /// Creates the input from its parts.
    package init(
        imageStorageID: ImageStorageID, mountPath: MountPath, fileSystemID: String, listenAddresses: [String],
        createsStore: Bool? = nil
    ) {
        self.imageStorageID = imageStorageID
        self.mountPath = mountPath
        self.fileSystemID = fileSystemID
        self.listenAddresses = listenAddresses
        self.createsStore = createsStore
    }
}

/// Output of `enrol`.
package struct EnrolOutput: Hashable, Sendable, Codable {
    /// The request for a certificate over the key that never leaves the host.
    package var csrPEM: String
    /// The port the instance will listen on, on each of its addresses.
    package var port: UInt16
    /// The version of the bundle that answered.
    package var agentVersion: String

    /// Creates the output from its parts.
    package init(csrPEM: String, port: UInt16, agentVersion: String) {
        self.csrPEM = csrPEM
        self.port = port
        self.agentVersion = agentVersion
    }
}

/// Input of `install-certificate`.
package struct InstallCertificateInput: Hashable, Sendable, Codable {
    /// The storage.
    package var imageStorageID: ImageStorageID
    /// The instance's certificate, and any between it and the root.
    package var certificatePEM: String
    /// The root certificates to trust.
    package var caPEM: String

    /// Creates the input from its parts.
    package init(imageStorageID: ImageStorageID, certificatePEM: String, caPEM: String) {
        self.imageStorageID = imageStorageID
        self.certificatePEM = certificatePEM
        self.caPEM = caPEM
    }
}

/// Input of `start`, `stop`, `remove` and `status`.
package struct InstanceInput: Hashable, Sendable, Codable {
    /// The storage.
    package var imageStorageID: ImageStorageID
    /// For `start`: an instance that runs already is stopped first, so that it runs the current bundle and settings.
    package var restart: Bool

    /// Creates the input from its parts.
    package init(imageStorageID: ImageStorageID, restart: Bool = false) {
        self.imageStorageID = imageStorageID
        self.restart = restart
    }

    /// Reads the input; `restart` may be left out, so that the verb is easy to type on the host.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        imageStorageID = try fields.decode(ImageStorageID.self, forKey: .imageStorageID)
        restart = try fields.decodeIfPresent(Bool.self, forKey: .restart) ?? false
    }
}

/// Output of `start`, `stop` and `status`.
package struct StatusOutput: Hashable, Sendable, Codable {
    /// Whether the instance's directory is there.
    package var isInstalled: Bool
    /// Whether its process runs.
    package var isRunning: Bool
    /// Who restarts it and starts it at boot: `systemd`, `supervisor` (with `crontab` or `rc.local` at boot), or none.
    package var supervisor: String
    /// Whether it will be started at boot.
    package var startsAtBoot: Bool
    /// Its port, when installed.
    package var port: UInt16?
    /// The version of the bundle that answered.
    package var agentVersion: String
    /// The last lines of its log, when it does not run.
    package var logTail: String?

    /// Creates the output from its parts.
    package init(
        isInstalled: Bool, isRunning: Bool, supervisor: String, startsAtBoot: Bool, port: UInt16?, agentVersion: String,
        logTail: String? = nil
    ) {
        self.isInstalled = isInstalled
        self.isRunning = isRunning
        self.supervisor = supervisor
        self.startsAtBoot = startsAtBoot
        self.port = port
        self.agentVersion = agentVersion
        self.logTail = logTail
    }
}

/// The answer of verbs that have nothing to tell.
package struct EmptyOutput: Hashable, Sendable, Codable {
    /// Creates it.
    package init() {}
}

/// Why a verb failed: printed as JSON on standard output with exit status 3.
package struct HostVerbFailure: Error, Hashable, Sendable, Codable, CustomStringConvertible {
    /// What kind of failure, for programs.
    package var code: HostFailureCode
    /// What was wrong and what to do, for the admin.
    package var detail: String

    /// Creates the failure from its parts.
    package init(_ code: HostFailureCode, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    /// `code: detail`.
    package var description: String { "\(code.rawValue): \(detail)" }
}

/// The kinds of failure of the host verbs.
package enum HostFailureCode: String, Codable, Sendable, CaseIterable {
    /// The input is not what the verb takes.
    case badInput = "bad-input"
    /// The verb needs root.
    case notRoot = "not-root"
    /// A program of the host that is needed is not there.
    case toolMissing = "tool-missing"
    /// No such device.
    case diskNotFound = "disk-not-found"
    /// The device is not the one the admin chose.
    case diskChanged = "disk-changed"
    /// The disk is in use or has data on it.
    case diskNotFree = "disk-not-free"
    /// mkfs failed.
    case formatFailed = "format-failed"
    /// mount failed, or something else is mounted there.
    case mountFailed = "mount-failed"
    /// The mount path leads through a link, lies above a mount, or is on a file system that cannot hold a store.
    case mountPathRefused = "mount-path-refused"
    /// The mount path has files and no Lamina store.
    case mountPathNotEmpty = "mount-path-not-empty"
    /// Another storage of this host is there, above or below.
    case mountPathInUse = "mount-path-in-use"
    /// No instance of that id.
    case notInstalled = "not-installed"
    /// The certificate is not for this instance's key.
    case certificateRefused = "certificate-refused"
    /// An address to listen on is not one of the host's.
    case addressNotOnHost = "address-not-on-host"
    /// No port from 7443 upward is free.
    case noFreePort = "no-free-port"
    /// The instance did not start, or did not stay up.
    case startFailed = "start-failed"
    /// It did not stop, or the mount is busy.
    case stopFailed = "stop-failed"
    /// A system call failed.
    case inputOutput = "input-output"
}
