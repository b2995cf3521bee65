import Glibc
import Volumes

/// A file system in memory that keeps apart what a program sees and what would survive a power cut, and that can be told
/// to fail: to stop at the N-th call (the process is killed), to be full, to answer EIO to a sync. Only for tests.
///
/// What survives: file bytes as of the last `syncData`; names as of the last `syncDirectory` of their directory. What was
/// done since then survives or not, file by file and directory by directory, as the seed decides.
/// `@unchecked Sendable`: `state` and all nodes are only touched with `mutex` held.
package final class CrashingVolume: Volume, @unchecked Sendable {
    /// What goes wrong.
    package struct Plan: Sendable {
        /// The call, counted from 1, at which the process is killed: it and all later calls fail.
        package var killAt: Int?
        /// The sync, counted from 1, that fails with EIO.
        package var failSyncAt: Int?
        /// The bytes the file system has.
        package var capacity: UInt64?

        /// Nothing goes wrong.
        package init(killAt: Int? = nil, failSyncAt: Int? = nil, capacity: UInt64? = nil) {
            self.killAt = killAt
            self.failSyncAt = failSyncAt
            self.capacity = capacity
        }
    }

    final class Node {
        var bytes: [UInt8] = []
        var durable: [UInt8]?
        var allocated = 0
    }

    final class Directory {
        var entries: [String: Entry] = [:]
        var durable: [String: Entry] = [:]
    }

    enum Entry {
        case file(Node)
        case directory(Directory)
    }

    struct State {
        var root = Directory()
        var plan = Plan()
        var calls = 0
        var syncs = 0
        var isDead = false
        var isLocked = false
    }

    private var state = State()
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    /// Nowhere: the index lies elsewhere.
    package let hostPath = "/nonexistent"

    /// Makes an empty file system.
    package convenience init() { self.init(root: Directory()) }

    private init(root: Directory) {
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        state.root = root
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func locked<Result, Failure: Error>(_ body: (inout State) throws(Failure) -> Result) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&state)
    }

    /// Sets what goes wrong from now on; counting begins anew.
    package func set(_ plan: Plan) {
        locked { state in
            state.plan = plan
            (state.calls, state.syncs) = (0, 0)
        }
    }

    /// The calls since the plan was set.
    package var callCount: Int { locked { $0.calls } }
    /// The syncs since the plan was set.
    package var syncCount: Int { locked { $0.syncs } }
    /// True once the process was killed.
    package var isDead: Bool { locked { $0.isDead } }
    /// The bytes that files take.
    package var usedBytes: UInt64 { locked { Self.used($0.root) } }

    /// Every file's path and length.
    package func files() -> [String: Int] {
        locked { state in
            var out: [String: Int] = [:]
            Self.walk(state.root, "") { out[$0] = $1.bytes.count }
            return out
        }
    }

    /// Changes a file behind everybody's back.
    package func corrupt(_ path: String, _ change: (inout [UInt8]) -> Void) {
        locked { state in
            Self.walk(state.root, "") { found, node in
                if found == path {
                    change(&node.bytes)
                    node.durable = node.bytes
                }
            }
        }
    }

    /// The file system as the next process finds it: after a kill everything that was written is there.
    package func afterKill() -> CrashingVolume {
        locked {
            CrashingVolume(
                root: Self.copy($0.root) {
                    $0.bytes
                } names: {
                    $0.entries
                })
        }
    }

    /// The file system after a power cut: what was not synced is there or not.
    package func afterPowerCut(seed: UInt64) -> CrashingVolume {
        var random = SeededGenerator(seed: seed)
        return locked { state in
            CrashingVolume(
                root: Self.copy(state.root) { node in
                    let durable = node.durable ?? []
                    switch random.next() % 3 {
                    case 0: return durable
                    case 1: return node.bytes
                    default:
                        // The length came through, the bytes did not.
                        guard node.bytes.count > durable.count else { return durable }
                        return durable + [UInt8](repeating: 0, count: node.bytes.count - durable.count)
                    }
                } names: {
                    random.next() % 2 == 0 ? $0.durable : $0.entries
                })
        }
    }

    private static func copy(
        _ directory: Directory, _ bytes: (Node) -> [UInt8], names: (Directory) -> [String: Entry]
    ) -> Directory {
        let made = Directory()
        for (name, entry) in names(directory).sorted(by: { $0.key < $1.key }) {
            switch entry {
            case .file(let node):
                let copy = Node()
                copy.bytes = bytes(node)
                copy.durable = copy.bytes
                made.entries[name] = .file(copy)
            case .directory(let inner): made.entries[name] = .directory(Self.copy(inner, bytes, names: names))
            }
        }
        made.durable = made.entries
        return made
    }

    private static func walk(_ directory: Directory, _ prefix: String, _ visit: (String, Node) -> Void) {
        for (name, entry) in directory.entries {
            switch entry {
            case .file(let node): visit(prefix + name, node)
            case .directory(let inner): walk(inner, prefix + name + "/", visit)
            }
        }
    }

    static func used(_ root: Directory) -> UInt64 {
        var bytes: UInt64 = 0
        walk(root, "") { bytes += UInt64(max($1.bytes.count, $1.allocated)) }
        return bytes
    }

    // MARK: Volume

    /// Counts a call, and fails when the plan says so.
    func call<Result>(
        _ name: String, _ path: String, isSync: Bool = false, _ body: (inout State) throws(VolumeError) -> Result
    ) throws(VolumeError) -> Result {
        try locked { (state) throws(VolumeError) in
            state.calls += 1
            if state.isDead || state.plan.killAt == state.calls {
                state.isDead = true
                throw VolumeError(call: name, path: path, errno: EIO)
            }
            if isSync {
                state.syncs += 1
                if state.plan.failSyncAt == state.syncs { throw VolumeError(call: name, path: path, errno: EIO) }
            }
            return try body(&state)
        }
    }

    private static func directory(_ state: State, _ path: String, _ call: String) throws(VolumeError) -> Directory {
        var directory = state.root
        for part in path.split(separator: "/") {
            switch directory.entries[String(part)] {
            case .directory(let inner): directory = inner
            case .file: throw VolumeError(call: call, path: path, errno: ENOTDIR)
            case nil: throw VolumeError(call: call, path: path, errno: ENOENT)
            }
        }
        return directory
    }

    private static func parent(_ state: State, _ path: String, _ call: String) throws(VolumeError) -> (
        Directory, String
    ) {
        (try directory(state, VolumePath.parent(of: path), call), VolumePath.name(of: path))
    }

    /// Opens a file.
    package func open(_ path: String, _ mode: OpenMode) throws(VolumeError) -> any VolumeFile {
        let node = try call("open", path) { (state) throws(VolumeError) -> Node in
            let (directory, name) = try Self.parent(state, path, "open")
            switch (directory.entries[name], mode) {
            case (.file(let node), .read), (.file(let node), .update): return node
            case (nil, .create):
                let node = Node()
                directory.entries[name] = .file(node)
                return node
            case (nil, _): throw VolumeError(call: "open", path: path, errno: ENOENT)
            case (.some, .create): throw VolumeError(call: "open", path: path, errno: EEXIST)
            case (.directory, _): throw VolumeError(call: "open", path: path, errno: EINVAL)
            }
        }
        return CrashingFile(self, node, path)
    }

    /// Renames.
    package func rename(_ source: String, to target: String) throws(VolumeError) {
        try call("rename", target) { (state) throws(VolumeError) in
            let (from, fromName) = try Self.parent(state, source, "rename")
            let (to, toName) = try Self.parent(state, target, "rename")
            guard let entry = from.entries.removeValue(forKey: fromName) else {
                throw VolumeError(call: "rename", path: source, errno: ENOENT)
            }
            to.entries[toName] = entry
        }
    }

    /// Removes a file.
    package func unlink(_ path: String) throws(VolumeError) {
        try call("unlink", path) { (state) throws(VolumeError) in
            let (directory, name) = try Self.parent(state, path, "unlink")
            guard case .file = directory.entries[name] else {
                throw VolumeError(call: "unlink", path: path, errno: directory.entries[name] == nil ? ENOENT : EISDIR)
            }
            directory.entries[name] = nil
        }
    }

    /// Makes a directory.
    package func makeDirectory(_ path: String) throws(VolumeError) {
        try call("mkdir", path) { (state) throws(VolumeError) in
            let (directory, name) = try Self.parent(state, path, "mkdir")
            guard directory.entries[name] == nil else { throw VolumeError(call: "mkdir", path: path, errno: EEXIST) }
            directory.entries[name] = .directory(Directory())
        }
    }

    /// Removes an empty directory.
    package func removeDirectory(_ path: String) throws(VolumeError) {
        try call("rmdir", path) { (state) throws(VolumeError) in
            let (directory, name) = try Self.parent(state, path, "rmdir")
            guard case .directory(let inner) = directory.entries[name], inner.entries.isEmpty else {
                throw VolumeError(call: "rmdir", path: path, errno: ENOTEMPTY)
            }
            directory.entries[name] = nil
        }
    }

    /// The names in a directory.
    package func list(_ path: String) throws(VolumeError) -> [String] {
        try call("list", path) { (state) throws(VolumeError) in
            try Self.directory(state, path, "list").entries.keys.sorted()
        }
    }

    /// What is at `path`.
    package func facts(_ path: String) throws(VolumeError) -> EntryFacts? {
        try call("stat", path) { (state) throws(VolumeError) -> EntryFacts? in
            guard let directory = try? Self.directory(state, VolumePath.parent(of: path), "stat") else { return nil }
            switch directory.entries[VolumePath.name(of: path)] {
            case .file(let node):
                return EntryFacts(
                    kind: .file, byteCount: UInt64(node.bytes.count),
                    allocatedBytes: UInt64(max(node.bytes.count, node.allocated)))
            case .directory: return EntryFacts(kind: .directory, byteCount: 0, allocatedBytes: 0)
            case nil: return nil
            }
        }
    }

    /// Makes names durable.
    package func syncDirectory(_ path: String) throws(VolumeError) {
        try call("fsync", path, isSync: true) { (state) throws(VolumeError) in
            let directory = try Self.directory(state, path, "fsync")
            directory.durable = directory.entries
        }
    }

    /// How full it is.
    package func space() throws(VolumeError) -> SpaceFacts {
        try call("statvfs", ".") { (state) throws(VolumeError) in
            let total = state.plan.capacity ?? 1 << 40
            let used = Self.used(state.root)
            let free = total > used ? total - used : 0
            return SpaceFacts(totalBytes: total, freeBytes: free, availableBytes: free)
        }
    }

    /// Takes the root.
    package func lockRoot() throws(VolumeError) -> (any VolumeLock)? {
        try call("flock", ".") { (state) throws(VolumeError) -> (any VolumeLock)? in
            if state.isLocked { return nil }
            state.isLocked = true
            return CrashingLock(self)
        }
    }

    fileprivate func unlock() { locked { $0.isLocked = false } }
}

private final class CrashingLock: VolumeLock {
    private let volume: CrashingVolume
    init(_ volume: CrashingVolume) { self.volume = volume }
    func release() { volume.unlock() }
}

/// A file of a `CrashingVolume`. `@unchecked Sendable`: the node is only touched inside the volume's calls.
final class CrashingFile: VolumeFile, @unchecked Sendable {
    let path: String
    private let volume: CrashingVolume
    private let node: CrashingVolume.Node

    init(_ volume: CrashingVolume, _ node: CrashingVolume.Node, _ path: String) {
        self.volume = volume
        self.node = node
        self.path = path
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
        try volume.call("read", path) { (_) throws(VolumeError) in
            let start = min(Int(offset), node.bytes.count)
            let end = min(start + buffer.count, node.bytes.count)
            node.bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
            return end - start
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(VolumeError) {
        try volume.call("write", path) { (state) throws(VolumeError) in
            let end = Int(offset) + bytes.count
            try room(for: end, state, "write")
            if node.bytes.count < end { node.bytes += [UInt8](repeating: 0, count: end - node.bytes.count) }
            node.bytes.withUnsafeMutableBytes { all in
                UnsafeMutableRawBufferPointer(rebasing: all[Int(offset)..<end]).copyMemory(from: bytes)
            }
        }
    }

    private func room(for end: Int, _ state: CrashingVolume.State, _ call: String) throws(VolumeError) {
        guard let capacity = state.plan.capacity else { return }
        let growth = max(0, end - max(node.bytes.count, node.allocated))
        guard growth == 0 || CrashingVolume.used(state.root) + UInt64(growth) <= capacity else {
            throw VolumeError(call: call, path: path, errno: ENOSPC)
        }
    }

    func size() throws(VolumeError) -> UInt64 {
        try volume.call("stat", path) { (_) throws(VolumeError) in UInt64(node.bytes.count) }
    }

    func truncate(to size: UInt64) throws(VolumeError) {
        try volume.call("truncate", path) { (_) throws(VolumeError) in
            node.allocated = 0
            if node.bytes.count > Int(size) {
                node.bytes.removeLast(node.bytes.count - Int(size))
            } else {
                node.bytes += [UInt8](repeating: 0, count: Int(size) - node.bytes.count)
            }
        }
    }

    func allocate(from offset: UInt64, count: UInt64) throws(VolumeError) {
        try volume.call("fallocate", path) { (state) throws(VolumeError) in
            try room(for: Int(offset + count), state, "fallocate")
            node.allocated = max(node.allocated, Int(offset + count))
        }
    }

    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? {
        try volume.call("seek", path) { (_) throws(VolumeError) in
            offset < UInt64(node.bytes.count) ? offset..<UInt64(node.bytes.count) : nil
        }
    }

    func syncData() throws(VolumeError) {
        try volume.call("fdatasync", path, isSync: true) { (_) throws(VolumeError) in node.durable = node.bytes }
    }

    func close() throws(VolumeError) { try volume.call("close", path) { (_) throws(VolumeError) in } }
}
