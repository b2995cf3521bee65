import Model
import Storage
import Volumes
import Wire

/// Files on the host that may be taken in. Source: docs/security.md, "import from a path on the host".
struct HostPath: Sendable {
    /// Directories below which files may lie.
    let directories: [String]
    /// Files may lie below it, too, but not in the store.
    let mountPath: String
    /// The store's own directory in the mount path.
    private static let storeName = "lamina"

    /// Opens a file without following links below the directory that allows it. Blocks.
    func open(_ path: String) throws(AgentFailure) -> FileSource {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard path.hasPrefix("/"), path.utf8.count <= 4096, !path.utf8.contains(0), !parts.isEmpty,
            !parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." })
        else { throw refused("'\(path.prefix(200))' is not an absolute path in normal form") }
        guard let (root, rest) = place(of: path) else {
            let places = ([mountPath] + directories).joined(separator: ", ")
            throw refused(
                "'\(path)' lies in no directory that imports are allowed from (\(places), but not in the store); put the "
                    + "file there, or name its directory in the agent's file import-directories")
        }
        do throws(VolumeError) {
            let volume = try PosixVolume(hostPath: root)
            return try FileSource(try volume.open(rest, .read))
        } catch {
            throw refused(
                "'\(path)' cannot be opened (\(error)); it must be a regular file, reached without "
                    + "links, that the agent's user may read")
        }
    }

    private func place(of path: String) -> (root: String, rest: String)? {
        for directory in directories {
            let prefix = directory.hasSuffix("/") ? directory : directory + "/"
            if path.hasPrefix(prefix) { return (String(prefix.dropLast()), String(path.dropFirst(prefix.count))) }
        }
        let prefix = mountPath + "/"
        guard path.hasPrefix(prefix) else { return nil }
        let rest = String(path.dropFirst(prefix.count))
        return rest == HostPath.storeName || rest.hasPrefix(HostPath.storeName + "/") ? nil : (mountPath, rest)
    }

    private func refused(_ why: String) -> AgentFailure { AgentFailure(code: .hostPathRefused, detail: why) }
}
