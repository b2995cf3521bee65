import Foundation
import Model

extension BundleFile {
    /// Describes the bundle at `path`, as `deploy/bundle` names it: `lamina-agent-VERSION-ARCHITECTURE.tar.gz`.
    /// Reads the whole file: not on the cooperative pool.
    package static func load(_ path: String) throws(BootstrapError) -> BundleFile {
        let name = URL(fileURLWithPath: path).lastPathComponent
        guard name.hasPrefix("lamina-agent-"), name.hasSuffix(".tar.gz") else {
            throw .bundleUnusable(detail: "'\(name)' is not named lamina-agent-VERSION-ARCHITECTURE.tar.gz")
        }
        let parts = name.dropFirst("lamina-agent-".count).dropLast(".tar.gz".count)
        guard let dash = parts.lastIndex(of: "-"), dash != parts.startIndex else {
            throw .bundleUnusable(detail: "'\(name)' names no architecture")
        }
        let file = BundleFile(
            path: path, version: String(parts[..<dash]), sha256: try digest(of: path),
            architecture: String(parts[dash...].dropFirst()))
        _ = try file.directoryName
        return file
    }

    /// The name of its directory on a host. It has the digest in it, so that a directory is never changed, only replaced by
    /// another; the characters are those that no shell reads.
    var directoryName: String {
        get throws(BootstrapError) {
            let fits = version.utf8.allSatisfy { Ascii.isAlphanumeric($0) || [0x2e, 0x2d, 0x2b, 0x7e].contains($0) }
            guard fits, let first = version.utf8.first, Ascii.isAlphanumeric(first), version.utf8.count <= 64 else {
                throw .bundleUnusable(
                    detail: "its version '\(version.prefix(64))' is not of letters, digits, '.', '-', '+', '~'")
            }
            return version + "-" + sha256.hex.prefix(12)
        }
    }

    static func digest(of path: String) throws(BootstrapError) -> Digest {
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw .bundleUnusable(detail: "there is no file '\(path)'; make it with deploy/bundle")
        }
        defer { try? file.close() }
        var hasher = SHA256Hasher()
        do {
            while let piece = try file.read(upToCount: Limits.pieceByteCount), !piece.isEmpty {
                piece.withUnsafeBytes { hasher.update($0) }
            }
        } catch { throw .bundleUnusable(detail: "it cannot be read: \(error.localizedDescription)") }
        return hasher.current()
    }
}

/// Brings a bundle onto a host, in two constant scripts. Their parameters are lines of standard input; the bundle's bytes
/// follow the parameters of the second.
struct BundleInstallation {
    let user: HostUser
    let bundle: BundleFile
    let scope: HostScope

    private static let step = "the installation of the agent"

    private static func root(_ scope: HostScope) -> String {
        scope == .system ? "root=/opt/lamina-agent" : "root=$HOME/.lamina-agent"
    }

    // Neither script may have a single quote in it: they travel between two of them.
    private static func command(_ scope: HostScope, _ script: String) -> String {
        let text = "set -eu; umask 022; LC_ALL=C; export LC_ALL; \(root(scope))\n" + script
        precondition(!text.contains("'"))
        return "sh -c '" + text + "'"
    }

    // Makes the named directory the current one: one rename. The one before stays, older ones go.
    private static let activation = """
        activate() {
            before=$(readlink "$root/current" || true)
            if [ "$before" != "$name" ]; then
                ln -s "$name" "$root/.current.$$"
                mv -T "$root/.current.$$" "$root/current"
                for old in "$root"/*/manifest.sha256; do
                    old=${old%/manifest.sha256}; old=${old##*/}
                    case $old in current | "$name" | "$before") ;; *) rm -rf "$root/$old" ;; esac
                done
            fi
            sync
        }

        """

    private static let check =
        activation + """
            IFS= read -r name; IFS= read -r sum
            echo "system $(uname -s)"; echo "machine $(uname -m)"
            for tool in tar gzip sha256sum mktemp head readlink; do
                command -v "$tool" >/dev/null || { echo "missing $tool"; exit 0; }
            done
            if [ -f "$root/$name/.bundle" ] && [ "$(cat "$root/$name/.bundle")" = "$sum" ] &&
                (cd "$root/$name" && sha256sum -c --status manifest.sha256); then
                activate
                echo "present $root/$name"
            fi
            """

    private static let install =
        activation + """
            IFS= read -r name; IFS= read -r sum; IFS= read -r size
            mkdir -p "$root"
            chmod 755 "$root"
            new=$(mktemp -d "$root/.incoming.XXXXXX")
            trap "rm -rf \\"$new\\"" EXIT
            trap "exit 1" HUP INT TERM
            head -c "$size" >"$new/bundle"
            [ "$(sha256sum <"$new/bundle" | cut -c 1-64)" = "$sum" ] || { echo "it was damaged on the way" >&2; exit 4; }
            mkdir "$new/tree"
            tar -x -z -f "$new/bundle" -C "$new/tree" --no-same-owner
            (cd "$new/tree" && sha256sum -c --quiet manifest.sha256) || { echo "its manifest does not fit" >&2; exit 4; }
            echo "$sum" >"$new/tree/.bundle"
            chmod 755 "$new/tree"
            rm -rf "$root/$name"
            mv "$new/tree" "$root/$name"
            activate
            echo "present $root/$name"
            """

    func run() throws(BootstrapError) -> InstalledBundle {
        let name = try bundle.directoryName
        let isRoot = scope == .system
        let facts = try user.run(
            BundleInstallation.command(scope, BundleInstallation.check), asRoot: isRoot,
            RemoteInput(Array("\(name)\n\(bundle.sha256.hex)\n".utf8)), limit: Limits.timeoutProbe,
            during: BundleInstallation.step)
        if let directory = try directory(facts) {
            return InstalledBundle(directory: directory, wasPresent: true, hostKey: user.session.hostKey)
        }
        let size = try readySize()
        guard let file = FileHandle(forReadingAtPath: bundle.path) else {
            throw .bundleUnusable(detail: "there is no file '\(bundle.path)'")
        }
        defer { try? file.close() }
        let answer = try user.run(
            BundleInstallation.command(scope, BundleInstallation.install), asRoot: isRoot,
            RemoteInput(Array("\(name)\n\(bundle.sha256.hex)\n\(size)\n".utf8), file: file),
            limit: Limits.timeoutInstall, during: BundleInstallation.step)
        guard let directory = try directory(answer) else { throw .installFailed(detail: answer.message) }
        return InstalledBundle(directory: directory, wasPresent: false, hostKey: user.session.hostKey)
    }

    // The bundle must be the one it was when it was described, before any byte of it is sent.
    private func readySize() throws(BootstrapError) -> UInt64 {
        let facts = try? FileManager.default.attributesOfItem(atPath: bundle.path)
        guard let size = (facts?[.size] as? NSNumber)?.uint64Value, size > 0, size <= Limits.bundleByteCountMax else {
            throw .bundleUnusable(detail: "'\(bundle.path)' is missing, empty or too large")
        }
        guard try BundleFile.digest(of: bundle.path) == bundle.sha256 else {
            throw .bundleUnusable(detail: "'\(bundle.path)' is not the file it was")
        }
        return size
    }

    private func directory(_ answer: RemoteResult) throws(BootstrapError) -> String? {
        var present: String?
        for line in String(decoding: answer.output, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            guard words.count == 2 else { continue }
            switch words[0] {
            case "system" where words[1] != "Linux":
                throw .unsupportedOS(detail: "the host runs \(words[1]); a Linux is needed")
            case "machine" where words[1] != bundle.architecture:
                throw .unsupportedArchitecture(found: words[1], bundle: bundle.architecture)
            case "missing": throw .unsupportedOS(detail: "the host lacks \(words[1])")
            case "present": present = words[1]
            default: continue
            }
        }
        guard answer.status == 0 else { throw .installFailed(detail: answer.message) }
        return present
    }
}
