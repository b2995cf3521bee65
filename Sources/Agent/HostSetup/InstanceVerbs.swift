import Disks
import Glibc
import HostCommand
import Model

extension HostVerbs {
    /// How often and how long a started instance is looked at until it listens.
    private static let startTries = 75
    private static let startPauseMicroseconds: UInt32 = 200_000

    func start(_ input: InstanceInput) throws(HostVerbFailure) -> StatusOutput {
        guard let settings = try configuration(of: input.imageStorageID) else { throw notInstalled(input) }
        for file in [HostVerbs.keyFile, HostVerbs.certificateFile, HostVerbs.authorityFile]
        where !HostFiles.exists(layout.instance(input.imageStorageID) + "/" + file) {
            throw HostVerbFailure(
                .notInstalled, "the agent has no \(file) yet: enrol it and install its certificate first")
        }
        let supervision = Supervision(layout: layout, storage: input.imageStorageID)
        try supervision.start(mountPath: settings.mountPath, restart: input.restart)
        for _ in 0..<HostVerbs.startTries {
            // That it listens is the only sign that it has opened its store and stays.
            if let address = settings.listenAddresses.first, try Ports.answers(settings.port, on: address),
                try supervision.state().isRunning
            {
                return try status(input)
            }
            usleep(HostVerbs.startPauseMicroseconds)
        }
        throw HostVerbFailure(
            .startFailed,
            "the agent was started and does not listen. The end of its log: \(supervision.logTail() ?? "none")")
    }

    func stop(_ input: InstanceInput) throws(HostVerbFailure) -> StatusOutput {
        try Supervision(layout: layout, storage: input.imageStorageID).stop()
        return try status(input)
    }

    func remove(_ input: InstanceInput) throws(HostVerbFailure) -> EmptyOutput {
        try Supervision(layout: layout, storage: input.imageStorageID).remove()
        let directory = layout.instance(input.imageStorageID)
        // The key goes first: what is left of a removal that was cut short opens nothing.
        for name in [HostVerbs.keyFile] + HostFiles.names(in: directory) {
            try onHost { () throws(DisksError) in
                try HostFiles.remove(directory + "/" + name)
            }
        }
        guard rmdir(directory) == 0 || errno == ENOENT else {
            throw HostVerbFailure(.inputOutput, "'\(directory)' cannot be removed (error \(errno))")
        }
        return EmptyOutput()
    }

    func status(_ input: InstanceInput) throws(HostVerbFailure) -> StatusOutput {
        let settings = try configuration(of: input.imageStorageID)
        let supervision = Supervision(layout: layout, storage: input.imageStorageID)
        let state = try supervision.state()
        return StatusOutput(
            isInstalled: settings != nil, isRunning: state.isRunning, supervisor: state.supervisor,
            startsAtBoot: state.startsAtBoot, port: settings?.port, agentVersion: agentVersion,
            logTail: state.isRunning || settings == nil ? nil : supervision.logTail())
    }

    private func notInstalled(_ input: InstanceInput) -> HostVerbFailure {
        HostVerbFailure(.notInstalled, "there is no agent for the storage \(input.imageStorageID) on this host")
    }
}
