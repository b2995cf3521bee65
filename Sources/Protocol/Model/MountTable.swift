/// The mounts of a host, read from the text of `/proc/self/mountinfo`.
package struct MountTable: Hashable, Sendable {
    /// One mount.
    package struct Mount: Hashable, Sendable, Codable {
        /// Where it is mounted.
        package var path: String
        /// `major:minor` of the file system's device.
        package var majorMinor: String
        /// The file system's type, such as `xfs`.
        package var fileSystem: String
        /// What is mounted, such as `/dev/vdb`.
        package var source: String
        /// Whether it, or its file system, is read-only.
        package var isReadOnly: Bool

        /// Creates a mount from its parts.
        package init(path: String, majorMinor: String, fileSystem: String, source: String, isReadOnly: Bool = false) {
            self.path = path
            self.majorMinor = majorMinor
            self.fileSystem = fileSystem
            self.source = source
            self.isReadOnly = isReadOnly
        }
    }

    /// The mounts in the order in which they were made.
    package var mounts: [Mount]

    /// Creates a table from mounts.
    package init(_ mounts: [Mount]) { self.mounts = mounts }

    /// Reads mountinfo (proc(5)); lines that are not of its form are left out.
    package init(mountInfo text: some StringProtocol) {
        mounts = text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            // Optional fields end with a lone dash; then type, source and super options.
            guard fields.count >= 9, let dash = fields.dropFirst(6).firstIndex(of: "-"), dash + 3 < fields.count else {
                return nil
            }
            let isReadOnly = [fields[5], fields[dash + 3]].contains { options in
                options.split(separator: ",").contains("ro")
            }
            return Mount(
                path: MountTable.unescape(fields[4]), majorMinor: String(fields[2]),
                fileSystem: String(fields[dash + 1]), source: MountTable.unescape(fields[dash + 2]),
                isReadOnly: isReadOnly)
        }
    }

    /// The mount one sees at exactly `path`: the last one made there.
    package func mount(at path: String) -> Mount? { mounts.last { $0.path == path } }

    /// The mount that holds `path`: the one with the longest prefix of it.
    package func mount(containing path: String) -> Mount? {
        var best: Mount?
        for mount in mounts where MountTable.contains(mount.path, path) {
            if mount.path.utf8.count >= (best?.path.utf8.count ?? 0) { best = mount }
        }
        return best
    }

    /// The mounts strictly below `path`.
    package func mounts(below path: String) -> [Mount] {
        mounts.filter { $0.path != path && MountTable.contains(path, $0.path) }
    }

    /// Whether `path` is `directory` or lies in it.
    package static func contains(_ directory: String, _ path: String) -> Bool {
        directory == "/" || path == directory || path.hasPrefix(directory + "/")
    }

    // Blanks, tabs, newlines and backslashes stand as \ooo.
    private static func unescape(_ field: some StringProtocol) -> String {
        var out: [UInt8] = []
        let bytes = Array(field.utf8)
        var place = 0
        while place < bytes.count {
            if bytes[place] == 0x5c, place + 3 < bytes.count,
                let value = UInt8(String(decoding: bytes[(place + 1)...(place + 3)], as: UTF8.self), radix: 8)
            {
                out.append(value)
                place += 4
            } else {
                out.append(bytes[place])
                place += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
