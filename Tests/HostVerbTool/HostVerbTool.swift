// The agent's verbs on a host, and a daemon that only listens: what the tests of HostSetup, of Bootstrap and of the bundle
// run on lab hosts, so that they need no store, no TLS and a build of seconds. Requests for certificates are made by
// `openssl req`; AgentMain makes them with the Identity module.
import FoundationEssentials
import Glibc
import HostCommand
import HostSetup
import Model

@main
enum HostVerbTool {
    static let version = "0.0.1"

    static func main() {
        let words = Array(CommandLine.arguments.dropFirst())
        switch words.first {
        case "--version": print("lamina-agent \(version)")
        case "host" where words.count == 2: host(words[1])
        case "serve" where words.count == 3: serve(words[2])
        default: exit(2)
        }
    }

    private static func host(_ verb: String) {
        do throws(HostVerbFailure) {
            write(try HostVerbs(agentVersion: version, makeCSR: makeCSR).run(verb: verb, input: readInput()))
        } catch {
            write(HostVerbs.encode(failure: error))
            exit(HostVerbs.failureStatus)
        }
    }

    private static func makeCSR(
        _ storage: ImageStorageID, _ existingKeyPEM: String?
    ) throws(HostVerbFailure) -> (keyPEM: String, csrPEM: String) {
        do throws(HostCommandError) {
            var key = existingKeyPEM ?? ""
            if existingKeyPEM == nil {
                key = try openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "")
            }
            let request = ["req", "-new", "-key", "/dev/stdin", "-subj", "/CN=\(storage)", "-config", "/dev/null"]
            return (key, try openssl(request, key))
        } catch { throw HostVerbFailure(.toolMissing, error.description) }
    }

    private static func openssl(_ arguments: [String], _ input: String) throws(HostCommandError) -> String {
        try HostCommand("openssl", arguments, input: Array(input.utf8)).succeed().text
    }

    // Listens where agent.json says until SIGTERM.
    private static func serve(_ instance: String) {
        guard let bytes = try? Data(contentsOf: URL(fileURLWithPath: instance + "/" + AgentConfiguration.fileName)),
            let settings = try? JSONDecoder().decode(AgentConfiguration.self, from: bytes),
            let address = settings.listenAddresses.first, let parsed = try? IPAddress(parsing: address), parsed.isV4
        else { exit(1) }
        // What an agent does to its store: it must be able to write there, and only there.
        guard (try? Data("x".utf8).write(to: URL(fileURLWithPath: settings.mountPath.text + "/lamina/probe"))) != nil
        else {
            print("cannot write below \(settings.mountPath)")
            exit(1)
        }
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = settings.port.bigEndian
        withUnsafeMutableBytes(of: &place.sin_addr) { $0.copyBytes(from: parsed.bytes) }
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        let bound = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0, listen(listener, 16) == 0 else { exit(1) }
        while true { close(accept(listener, nil, nil)) }
    }

    private static func readInput() -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while case let count = read(0, &piece, piece.count), count > 0 { bytes += piece[..<count] }
        return bytes
    }

    private static func write(_ bytes: [UInt8]) {
        _ = bytes.withUnsafeBytes { Glibc.write(1, $0.baseAddress, $0.count) }
    }
}
