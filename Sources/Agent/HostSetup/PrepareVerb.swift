import Disks
import FoundationEssentials
import Glibc
import HostCommand
import Model

extension HostVerbs {
    /// The input of `prepare`, kept in the instance's directory: what is being prepared is taken.
    static let preparedFile = "prepare.json"

    func prepare(_ input: PrepareInput) throws(HostVerbFailure) -> PrepareOutput {
        try refuseTaken(input)
        if case .freeDisk = input.disk, layout.scope != .system {
            throw HostVerbFailure(.notRoot, "a disk can be formatted and mounted only by root or with sudo")
        }
        let owner = try layout.owner()
        let wasKept = HostFiles.exists(layout.instance(input.imageStorageID) + "/" + HostVerbs.preparedFile)
        try keep(input, owner)
        do throws(HostVerbFailure) {
            let output = try onHost { () throws(DisksError) in
                let place = StoragePlace(storage: input.imageStorageID, mountPath: input.mountPath)
                switch input.disk {
                case .localDirectory: return try place.prepareDirectory(acceptsFiles: input.retrieveExistingImages)
                case .freeDisk(let choice): return try place.prepareFreeDisk(choice)
                }
            }
            try giveStore(input.mountPath, to: owner)
            return output
        } catch {
            // What was refused takes no path from anybody.
            if !wasKept { try forget(input.imageStorageID) }
            throw error
        }
    }

    func undoPrepare(_ input: UndoPrepareInput) throws(HostVerbFailure) -> EmptyOutput {
        if try Supervision(layout: layout, storage: input.imageStorageID).state().isRunning {
            throw HostVerbFailure(.stopFailed, "the agent of this storage runs: stop it first")
        }
        if layout.scope == .system {
            try onHost { () throws(DisksError) in
                try StoragePlace(storage: input.imageStorageID, mountPath: input.mountPath).release()
            }
        }
        try forget(input.imageStorageID)
        return EmptyOutput()
    }

    private func keep(_ input: PrepareInput, _ owner: (user: uid_t, group: gid_t)) throws(HostVerbFailure) {
        let directory = layout.instance(input.imageStorageID)
        let text = String(decoding: try HostVerbs.encode(input), as: UTF8.self)
        try onHost { () throws(DisksError) in
            try HostFiles.makeDirectory(
                directory, HostFiles.Access(mode: 0o700, owner: owner.user, group: owner.group))
            try HostFiles.write(
                text, to: directory + "/" + HostVerbs.preparedFile,
                HostFiles.Access(mode: 0o600, owner: owner.user, group: owner.group))
        }
    }

    private func forget(_ storage: ImageStorageID) throws(HostVerbFailure) {
        let directory = layout.instance(storage)
        try onHost { () throws(DisksError) in try HostFiles.remove(directory + "/" + HostVerbs.preparedFile) }
        // Only an instance that was never enrolled is empty now.
        rmdir(directory)
    }

    // The same path, or one above or below it, in use by another storage of this host.
    private func refuseTaken(_ input: PrepareInput) throws(HostVerbFailure) {
        for other in layout.storages() where other != input.imageStorageID {
            for taken in [try preparedPath(of: other), try configuration(of: other)?.mountPath] {
                guard let taken else { continue }
                let (mine, theirs) = (input.mountPath.text, taken.text)
                if MountTable.contains(mine, theirs) || MountTable.contains(theirs, mine) {
                    throw HostVerbFailure(
                        .mountPathInUse,
                        "'\(mine)' cannot be used: the image storage \(other) on this host is at '\(theirs)'")
                }
            }
        }
    }

    private func preparedPath(of storage: ImageStorageID) throws(HostVerbFailure) -> MountPath? {
        let text = try onHost { () throws(DisksError) in
            try HostFiles.read(layout.instance(storage) + "/" + HostVerbs.preparedFile)
        }
        return text.flatMap { try? JSONDecoder().decode(PrepareInput.self, from: Data($0.utf8)) }?.mountPath
    }

    // `MOUNTPATH/lamina` belongs to the instance's user; a store from another host gets its new owner throughout.
    private func giveStore(
        _ path: MountPath, to owner: (user: uid_t, group: gid_t)
    ) throws(HostVerbFailure) {
        let store = path.text + "/lamina"
        let wasThere = HostFiles.exists(store)
        var before = stat()
        let hadOtherOwner = wasThere && lstat(store, &before) == 0 && before.st_uid != owner.user
        if hadOtherOwner, layout.scope == .system {
            do throws(HostCommandError) {
                // Links are neither followed nor entered.
                try HostCommand(
                    "chown", ["--recursive", "--no-dereference", "-P", "\(owner.user):\(owner.group)", store],
                    timeout: .seconds(600)
                ).succeed()
            } catch { throw HostVerbFailure(error) }
        }
        try onHost { () throws(DisksError) in
            try HostFiles.makeDirectory(store, HostFiles.Access(mode: 0o750, owner: owner.user, group: owner.group))
        }
    }
}
