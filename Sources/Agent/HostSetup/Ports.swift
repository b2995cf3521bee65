import Glibc
import Model

/// Ports of this host's addresses.
enum Ports {
    /// Whether nothing listens there.
    static func isFree(_ port: UInt16, on address: String) throws(HostVerbFailure) -> Bool {
        // Connections of an agent that has just ended do not make its port a taken one.
        let number = try attempt(port, address) { made, place, length in
            var yes: Int32 = 1
            setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
            return bind(made, place, length) == 0 && listen(made, 1) == 0
        }
        switch number {
        case 0: return true
        case EADDRINUSE: return false
        case EADDRNOTAVAIL: throw HostVerbFailure(.addressNotOnHost, "the host does not have the address \(address)")
        default: throw HostVerbFailure(.inputOutput, "port \(port) of \(address) cannot be tried (error \(number))")
        }
    }

    /// Whether something takes connections there. The address is this host's own, so the answer comes at once.
    static func answers(_ port: UInt16, on address: String) throws(HostVerbFailure) -> Bool {
        try attempt(port, address) { connect($0, $1, $2) == 0 } == 0
    }

    // Opens a socket for `body`; answers the error number of what failed, or 0.
    private static func attempt(
        _ port: UInt16, _ address: String, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Bool
    ) throws(HostVerbFailure) -> Int32 {
        guard let parsed = try? IPAddress(parsing: address) else {
            throw HostVerbFailure(.badInput, "'\(address)' is not an IP address")
        }
        let made = socket(parsed.isV4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { return errno }
        defer { close(made) }
        var v4 = sockaddr_in()
        v4.sin_family = sa_family_t(AF_INET)
        v4.sin_port = port.bigEndian
        var v6 = sockaddr_in6()
        v6.sin6_family = sa_family_t(AF_INET6)
        v6.sin6_port = port.bigEndian
        if parsed.isV4 {
            withUnsafeMutableBytes(of: &v4.sin_addr) { $0.copyBytes(from: parsed.bytes) }
        } else {
            withUnsafeMutableBytes(of: &v6.sin6_addr) { $0.copyBytes(from: parsed.bytes) }
        }
        let done =
            parsed.isV4
            ? withUnsafePointer(to: &v4) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body(made, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            : withUnsafePointer(to: &v6) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body(made, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        return done ? 0 : errno
    }
}
