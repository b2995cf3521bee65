import ArgumentParser
import CLI
import Foundation
import Model
// Goal: every command takes the arguments that the documentation shows, and refuses what makes no sense before anything
// is asked of a controller. Method: one table of command lines; a command without a line in it fails.
import NIOHTTP1
import Testing

/// A right command line for every command.
private let lines: [String] = [
    "login https://lamina.example:8443 --username admin --password-file f", "login https://a --ca ca.pem", "logout",
    "login https://a --fingerprint 12:AB --password-stdin", "whoami -o json", "man",
    "data-center list", "dc list --limit 3 --sort -createdAt -q text", "data-center show berlin",
    "data-center add --name berlin --description Hall", "dc create --name x", "data-center edit berlin --name b",
    "data-center delete berlin --yes",
    "storage list --data-center berlin --state enabled --status connected --all", "storage show st",
    "storage probe --host 10.0.0.11 --username root --password-file root.pw --ssh-port 2222",
    "storage add standalone --name s --data-center b --host h --password-file p --disk /dev/vdb --mount-path /lamina",
    "storage create standalone --name s --data-center b --host h --private-key-file k --local-directory --mount-path /l "
        + "--retrieve-existing-images --sync-network 10.1.0.0/24 --data-network none --reserved 1GiB "
        + "--upload-concurrency 4 --download-concurrency 16 --host-key SHA256:x --yes --no-wait",
    "storage edit st --name n --data-center b --reserved 2GiB --sync-network none",
    "storage password st --password-stdin", "storage password st --private-key-file k", "storage reconnect st --wait",
    "storage enable st", "storage disable st", "storage usage st --output json", "storage delete a b --force -y",
    "image list --storage s --type disk --status ready", "image show i",
    "image add --storage s --url https://example.org/debian.qcow2", "image create --storage s --file a.raw --name n",
    "image add --storage s --host-path /srv/a.iso --type system --format iso "
        + "--checksum sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "image edit i --description d", "image delete a b c --yes --wait",
    "image download i --format qcow2 -o file --replace --storage s", "image download i --format vmdk -o f",
    "image download i --output-file -",
    "job list --state running --type add-image", "job show j", "job watch j", "job cancel j", "event watch --after 7",
    "param list", "param show job.retention-days", "param set url-import.deny [\"10.0.0.0/8\"]", "param edit a b",
    "user list", "user show u", "user add --name u --role viewer --password-stdin", "user create --name u --role admin",
    "user edit u --role operator --description d", "user password u --password-file f", "user delete u -y",
    "token list", "token add --name ci --role viewer --expires-at 2027-01-01T00:00:00Z", "token create --name ci",
    "token delete ci --yes", "audit list --limit 10 --controller https://a --ca f",
]

@Suite struct ParseTests {
    private static func words(_ line: String) -> [String] { line.split(separator: " ").map(String.init) }

    /// The commands that do something, as people call them.
    private static func leaves(_ command: any ParsableCommand.Type, _ path: [String]) -> [String] {
        let children = command.configuration.subcommands
        guard !children.isEmpty else { return [path.joined(separator: " ")] }
        return children.flatMap { leaves($0, path + [$0._commandName]) }
    }

    @Test func everyCommandHasALine() {
        for leaf in Self.leaves(Lamina.self, []) {
            #expect(lines.contains { ($0 + " ").hasPrefix(leaf + " ") }, "no line for '\(leaf)'")
        }
    }

    @Test(arguments: lines)
    func linesOfTheDocumentation(line: String) throws {
        let command = try Lamina.parseAsRoot(Self.words(line))
        #expect(!(command is Lamina), "'\(line)' was not taken as a command")
    }

    @Test(arguments: [
        "nonsense", "image", "image nonsense", "image add --storage s", "storage add", "image show", "data-center add",
        "image add --storage s --url https://a/b.raw --file c", "image add --storage s --file noending",
        "image add --storage s --url https://a/b.raw --checksum sha256:12",
        "image add --storage s --url https://a/b.raw --checksum md5:d41d8cd98f00b204e9800998ecf8427e",
        "image add --storage s --file a.iso --type disk", "image add --storage s --file a.raw --format vdi",
        "image add --storage s --file a.raw --type tape", "image list --limit 0", "image list --limit -1",
        "image list --limit x", "image list -o yaml", "image download i", "image download i -o f --format vdi",
        "storage add standalone --name s --data-center b --host h --mount-path /l",
        "storage add standalone --name s --data-center b --host h --mount-path /l --disk /dev/vdb --local-directory",
        "storage probe --host h --password-file p --password-stdin", "storage probe --host h --ssh-port x",
        "storage probe --host h --password-file p --private-key-file k", "storage probe --host h --password secret",
        "login https://a --ca f --fingerprint x", "login", "login https://a --password x", "storage delete",
        "user add --name u", "image list extra", "image list --nonsense", "token add",
    ])
    func wrongLines(line: String) {
        do {
            let command = try Lamina.parseAsRoot(Self.words(line))
            // A noun alone is answered with its help, when it runs.
            #expect(!type(of: command).configuration.subcommands.isEmpty, "'\(line)' was taken")
        } catch {
            #expect(Lamina.exitCode(for: error) == .validationFailure, "'\(line)': \(error)")
            #expect(!Lamina.fullMessage(for: error).isEmpty)
        }
    }

    @Test func manualHasEveryCommand() throws {
        let page = try ManualPage.render()
        #expect(page.hasPrefix(".TH LAMINA 1"))
        for leaf in Self.leaves(Lamina.self, ["lamina"]) {
            #expect(page.contains(".SS " + leaf.replacing("-", with: "\\-")), "'\(leaf)' is not in it")
        }
    }

    @Test(arguments: [
        ("https://lamina.example:8443", "https://lamina.example:8443"), ("lamina.example", "https://lamina.example"),
        ("https://lamina.example/", "https://lamina.example"), ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://[::1]:80", "http://[::1]:80"), ("http://localhost", "http://localhost"),
    ])
    func addressesOfControllers(given: String, taken: String) throws {
        #expect(try ControllerURL.normalised(given) == taken)
    }

    @Test(arguments: [
        "http://lamina.example", "ftp://a", "https://", "", "https://a/path", "https://a?x=1", "https://user@a",
        "http://127.0.0.1.example.org", "https://a b",
    ])
    func addressesThatAreNone(given: String) {
        #expect(throws: CLIError.self) { try ControllerURL.normalised(given) }
    }

    @Test(
        arguments: [
            ("1073741824", 1 << 30), ("1GiB", 1 << 30), ("1g", 1 << 30), ("1 GB", 1 << 30), ("1.5K", 1536), ("0", 0),
            ("16383P", 16383 << 50), ("0.5", 0), ("500M", 500 << 20), ("10B", 10),
        ] as [(String, UInt64)])
    func sizes(text: String, count: UInt64) { #expect(ByteText.parse(text) == count) }

    @Test(arguments: [
        "", "G", "-1", "1X", "1GiBB", "16384P", "20000.5P", "1e30", "1..2", "99999999999999999999999", "٣",
    ])
    func sizesThatAreNone(text: String) { #expect(ByteText.parse(text) == nil) }

    @Test(arguments: [
        ("debian.qcow2", "qcow2", "debian"), ("a.b.RAW", "raw", "a.b"), ("x.img", "raw", "x"), ("x.iso", "iso", "x"),
        ("x.vmdk", "vmdk", "x"), ("x.tar.gz", nil, "x.tar.gz"), ("noending", nil, "noending"), ("", nil, "image"),
        (".raw", "raw", ".raw"),
    ])
    func namesOfFiles(name: String, format: String?, stem: String) {
        #expect(FormatGuess.format(ofFileName: name)?.rawValue == format)
        #expect(FormatGuess.stem(ofFileName: name) == stem)
    }
}
