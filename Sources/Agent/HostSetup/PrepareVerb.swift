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
        let owner = try layout.owner()
        let directory = layout.instance(input.imageStorageID)
        let kept = String(decoding: try HostVerbs.encode(input), as: UTF8.self)
        try onHost { () throws(DisksError) in
            try HostFiles.makeDirectory(
                directory, HostFiles.Access(mode: 0o700, owner: owner.user, group: owner.group))
            try HostFiles.write(
                kept, to: directory + "/" + HostVerbs.preparedFile,
                HostFiles.Access(mode: 0o600, owner: owner.user, group: owner.group))
        }
        let place = StoragePlace(storage: input.imageStorageID, mountPath: input.mountPath)
        let output: PrepareOutput
        switch input.disk {
        case .localDirectory:
            output = try onHost { () throws(DisksError) in
                try place.prepareDirectory(acceptsFiles: input.retrieveExistingImages)
            }
        case .freeDisk(let choice):
            guard layout.scope == .system else {
                throw HostVerbFailure(.notRoot, "a disk can be formatted and mounted only by root or with sudo")
            }
            output = try onHost { () throws(DisksError) in try place.prepareFreeDisk(choice) }
        }
        try giveStore(input.mountPath, to: owner)
        return output
    }

    func undoPrepare(_ input: UndoPrepareInput) throws(HostVerbFailure) -> EmptyOutput {
        if layout.scope == .system {
            try onHost { () throws(DisksError) in
                try StoragePlace(storage: input.imageStorageID, mountPath: input.mountPath).release()
            }
        }
        let directory = layout.instance(input.imageStorageID)
        try onHost { () throws(DisksError) in
            try HostFiles.remove(directory + "/" + HostVerbs.preparedFile)
        }
        // Only an instance that was never enrolled is empty now.
        rmdir(directory)
        return EmptyOutput()
    }

    // The same path, or one above or below it, in use by another storage of this host.
    private func refuseTaken(_ input: PrepareInput) throws(HostVerbFailure) {
        for other in layout.storages() where other != input.imageStorageID {
            let text = try onHost { () throws(DisksError) in
                try HostFiles.read(layout.instance(other) + "/" + HostVerbs.preparedFile)
            }
            guard let text, let taken = try? JSONDecoder().decode(PrepareInput.self, from: Data(text.utf8)) else { continue }
            let (mine, theirs) = (input.mountPath.text, taken.mountPath.text)
            if MountTable.contains(mine, theirs) || MountTable.contains(theirs, mine) {
                throw HostVerbFailure(
                    .mountPathInUse, "'\(mine)' and '\(theirs)' of the image storage \(other) on this host contain one another")
            }
        }
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
