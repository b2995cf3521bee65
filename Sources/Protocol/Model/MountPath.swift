/// The absolute path at which a storage keeps its store. Source: seed, "Mount Path"; docs/security.md, "mount path".
package struct MountPath: Hashable, Sendable, CustomStringConvertible {
    /// The most bytes a mount path may have.
    package static let byteCountMax = 255
    /// The path, without a slash at its end.
    package let text: String

    /// Directories of the system: neither they nor anything in them may be a mount path.
    private static let forbiddenTrees: [String] = [
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin",
        "/sys",
        "/tmp", "/usr",
    ]
    /// Directories that hold other things than the system: only they themselves may not be a mount path.
    private static let forbiddenAlone: [String] = ["/", "/home", "/mnt", "/media", "/opt", "/srv", "/var"]
    /// Directories below /var and /opt that belong to the system or to Lamina.
    private static let forbiddenBelow: [String] = [
        "/var/lib", "/var/log", "/var/run", "/var/tmp", "/var/cache", "/var/spool", "/var/lock", "/opt/lamina-agent",
    ]

    /// Checks the form and the list of system directories; nothing on any host is looked at.
    package init(_ given: String) throws(InvalidValue) {
        guard given.hasPrefix("/") else { throw InvalidValue("a mount path is absolute: it begins with '/'") }
        guard given.utf8.count <= MountPath.byteCountMax else {
            throw InvalidValue("a mount path has at most \(MountPath.byteCountMax) bytes")
        }
        guard given.utf8.allSatisfy({ Ascii.isAlphanumeric($0) || [0x2f, 0x2d, 0x2e, 0x5f].contains($0) }) else {
            throw InvalidValue("a mount path has only letters, digits, '/', '-', '.' and '_'")
        }
        let parts = given.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard given == "/" || !parts.dropLast().contains(""), !parts.contains("."), !parts.contains("..") else {
            throw InvalidValue("a mount path is in normal form: no '//', '.' or '..'")
        }
        var path = given
        if path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let isForbidden =
            MountPath.forbiddenAlone.contains(path)
            || (MountPath.forbiddenTrees + MountPath.forbiddenBelow).contains { path == $0 || path.hasPrefix($0 + "/") }
        guard !isForbidden else {
            throw InvalidValue(
                "'\(path)' belongs to the system; choose a directory of its own, such as /lamina or /srv/images")
        }
        text = path
    }

    /// The path.
    package var description: String { text }
}

extension MountPath: Codable {
    /// Reads a path and checks it again.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do { try self.init(text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes the path.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}
