import Blobs
import Model
import Storage
import Volumes

extension SliceStore {
    /// Removes an image and the blobs that only it needed (rule 3: the reference, the index, the bytes). The reference goes
    /// by renaming the manifest, which needs no space; a crash after that is finished at the next start.
    package func remove(_ id: ImageID) throws(StorageError) {
        try checkOpen()
        try mutation.with { (_) throws(StorageError) in
            try checkEpoch()
            guard let number = try withReserve({ () throws(StorageError) in try renameRemoved(id) }) else { return }
            core.with { core in
                core.leftovers.insert(.image(id, number))
                core.unreadable[id.description] = nil
                core.images[id] = nil
                core.generation += 1
            }
            // Nobody counts as a user of these blobs any more.
            let rows = try index.uses(of: id)
            core.with { core in
                for row in rows {
                    if core.blobs[row] != nil { core.blobs[row]?.users -= 1 } else { core.usersOfLost[row]? -= 1 }
                }
            }
        }
        try sweep()
    }

    // - Returns: the number of the removal; nil when there is no such image.
    private func renameRemoved(_ id: ImageID) throws(StorageError) -> Int? {
        let path = StorePaths.image(id)
        let isKnown = core.with { $0.images[id] != nil || $0.unreadable[id.description] != nil }
        return try during("remove the manifest") { () throws(VolumeError) -> Int? in
            var number = 0
            while try volume.facts(StorePaths.removedImage(id, number)) != nil { number += 1 }
            if try volume.facts(path) != nil {
                try volume.rename(path, to: StorePaths.removedImage(id, number))
            } else {
                // A removal whose sync failed goes on here.
                guard isKnown, number > 0 else { return nil }
                number -= 1
            }
            try volume.syncDirectory(StorePaths.images)
            return number
        }
    }

    /// Looks at everything that ended, and removes the blobs that nothing needs any more. What someone still holds stays
    /// for the next time. While a manifest is unreadable nothing is removed (rule 13).
    func sweep() throws(StorageError) {
        try mutation.with { (_) throws(StorageError) in
            let leftovers = core.with { $0.unreadable.isEmpty ? $0.leftovers : [] }
            guard !leftovers.isEmpty else { return }
            try checkEpoch()
            defer { try? Self.makeReserve(volume) }
            for leftover in leftovers {
                let isDone = try withReserve { () throws(StorageError) in
                    switch leftover {
                    case .image(let id, let number): try self.sweepImage(id, number)
                    case .session(let id): try self.sweepSession(id)
                    }
                }
                if isDone { core.with { _ = $0.leftovers.remove(leftover) } }
            }
        }
    }

    private func sweepImage(_ id: ImageID, _ number: Int) throws(StorageError) -> Bool {
        let path = StorePaths.removedImage(id, number)
        guard try during("look at a removed image", { () throws(VolumeError) in try volume.facts(path) }) != nil else {
            return true
        }
        // The index may have been lost, the manifest may be damaged: either names the blobs.
        var rows = Set(try index.uses(of: id))
        if let reader = try? ManifestReader(volume, path) { rows.formUnion(self.rows(of: reader.tail.blobs)) }
        // On a full disk the index has no room to forget until the bytes are gone.
        let hasForgotten = try unlessFull { () throws(StorageError) in try forgetUses(of: id) }
        guard try removeDead(rows) else { return false }
        if !hasForgotten { try forgetUses(of: id) }
        try during("remove a removed image") { () throws(VolumeError) in
            try volume.unlink(path)
            try volume.syncDirectory(StorePaths.images)
        }
        return true
    }

    private func sweepSession(_ id: SessionID) throws(StorageError) -> Bool {
        let directory = StorePaths.endedSession(id)
        guard try during("look at an ended session", { () throws(VolumeError) in try volume.facts(directory) }) != nil
        else { return true }
        let journal = directory + "/" + StorePaths.journalName
        // Everything but the journal goes at once: staged bytes may be what fills the disk.
        try during("remove an ended session") { () throws(VolumeError) in
            for name in try volume.list(directory) where name != StorePaths.journalName {
                try volume.unlink(directory + "/" + name)
            }
        }
        let names = try Journal.read(volume, path: journal, session: id).blobs
        guard try removeDead(Set(rows(of: names))) else { return false }
        try during("remove an ended session") { () throws(VolumeError) in
            if try volume.facts(journal) != nil { try volume.unlink(journal) }
            try volume.removeDirectory(directory)
            try volume.syncDirectory(StorePaths.sessions)
        }
        return true
    }

    // The image may be there again, taken in anew under its old id: then its needs are current ones.
    private func forgetUses(of id: ImageID) throws(StorageError) {
        if core.with({ $0.images[id] == nil }) { try index.removeUses(of: id) }
    }

    private func rows(of names: some Sequence<Digest>) -> [Int64] {
        let names = Set(names)
        return core.with { core in
            names.compactMap { core.rows[$0] } + core.condemned.filter { names.contains($0.value) }.map(\.key)
        }
    }

    // - Returns: false when one of them is held by somebody, and must be looked at again. One that an image needs is not
    //   ours to remove, and needs no second look.
    // On a full disk bytes go before their index rows; opening, too, takes rows of blobs that are not there for none.
    private func removeDead(_ rows: Set<Int64>) throws(StorageError) -> Bool {
        var isDone = true
        var behind: [(row: Int64, directory: BlobDirectory?)] = []
        for row in rows.sorted() {
            let state = core.with { core -> (name: Digest, isDead: Bool, isHeld: Bool)? in
                if let name = core.condemned[row] { return (name, true, false) }
                guard let record = core.blobs[row] else { return nil }
                guard record.users == 0 else { return (record.name, false, false) }
                return (record.name, core.condemn(row), record.pins > 0)
            }
            guard let state else { continue }
            guard state.isDead else {
                if state.isHeld { isDone = false }
                continue
            }
            let directory = try? shelf.directory(state.name)
            // What fails now is found again at the next sweep or the next start; it answers no more.
            do throws(StorageError) {
                let isForgotten = try unlessFull { () throws(StorageError) in
                    try index.remove(row, directory: directory)
                }
                if !isForgotten { behind.append((row, directory)) }
                try removeBytes(state.name)
                if isForgotten { core.with { $0.condemned[row] = nil } }
            } catch { throw degrade(error) }
            shelf.forget(state.name)
        }
        for (row, directory) in behind {
            try index.remove(row, directory: directory)
            core.with { $0.condemned[row] = nil }
        }
        return isDone
    }

    private func removeBytes(_ name: Digest) throws(StorageError) {
        try during("remove a blob") { () throws(VolumeError) in
            do throws(VolumeError) {
                try volume.unlink(StorePaths.blob(name))
            } catch { if !error.isNotFound { throw error } }
            try volume.syncDirectory(StorePaths.blobDirectory(name))
        }
    }

    // - Returns: false when there was no room.
    private func unlessFull(_ body: () throws(StorageError) -> Void) throws(StorageError) -> Bool {
        do throws(StorageError) {
            try body()
            return true
        } catch {
            guard error.isNoSpace else { throw error }
            return false
        }
    }

    /// Runs something that a full disk must not stop: when there is no room, the reserve is given up and it runs again.
    func withReserve<Result>(_ body: () throws(StorageError) -> Result) throws(StorageError) -> Result {
        do throws(StorageError) { return try body() } catch {
            guard error.isNoSpace else { throw error }
            try during("give up the reserve") { () throws(VolumeError) in
                guard try volume.facts(StorePaths.reserve) != nil else { return }
                try volume.unlink(StorePaths.reserve)
                // The file system gives blocks back once the removal is on the disk.
                try volume.syncDirectory("")
            }
            return try body()
        }
    }
}
