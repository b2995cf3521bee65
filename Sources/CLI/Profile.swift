import Foundation

/// What `lamina login` remembers. The file holds a token: it is written with mode 0600.
package struct Profile: Codable, Sendable, Equatable {
    /// The controller, without a slash at its end.
    package var url: String
    /// The bearer token.
    package var token: String?
    /// Who it belongs to.
    package var username: String?
    /// The role it gives.
    package var role: String?
    /// When it ends.
    package var expiresAt: String?
    /// The certificate authority to trust, in PEM; nil trusts the system's.
    package var authorityPEM: String?

    /// A controller that nobody has logged in to.
    package init(url: String) { self.url = url }

    /// The directory of Lamina's files of a kind: `$XDG_…_HOME/lamina`, else below the home directory.
    package static func directory(
        _ variable: String, below fallback: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> String {
        if let base = environment[variable], base.hasPrefix("/") { return base + "/lamina" }
        return (environment["HOME"] ?? "/root") + "/" + fallback + "/lamina"
    }

    /// The file of the profile.
    package static var path: String { directory("XDG_CONFIG_HOME", below: ".config") + "/config.json" }

    /// Reads the stored profile; nil when there is none.
    package static func load(from path: String = Profile.path) throws(CLIError) -> Profile? {
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        do {
            return try JSONDecoder().decode(Profile.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw .file("'\(path)' cannot be read as a profile; remove it and log in again")
        }
    }

    /// Stores the profile with mode 0600, at once or not at all.
    package func save(to path: String = Profile.path) throws(CLIError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do { try PrivateFile.write(try encoder.encode(self), to: path) } catch let error as CLIError {
            throw error
        } catch {
            throw .file("cannot write '\(path)': \(error.localizedDescription)")
        }
    }
}

/// Small files that only their owner may read.
package enum PrivateFile {
    /// Writes a file with mode 0600 by a rename, making its directory (0700) when needed.
    package static func write(_ data: Data, to path: String) throws(CLIError) {
        // Of a name without a directory, such as `-o disk.qcow2`, it is empty.
        let parent = (path as NSString).deletingLastPathComponent
        let directory = parent.isEmpty ? "." : parent
        do {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .file("cannot make '\(directory)': \(error.localizedDescription)")
        }
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .file("cannot write '\(temporary)': \(String(cString: strerror(errno)))") }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: data)
            try handle.synchronize()
            try handle.close()
        } catch {
            throw .file("cannot write '\(temporary)': \(error.localizedDescription)")
        }
        guard rename(temporary, path) == 0 else {
            throw .file("cannot write '\(path)': \(String(cString: strerror(errno)))")
        }
    }
}
