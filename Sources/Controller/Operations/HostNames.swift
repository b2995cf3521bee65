import Dispatch
import Model

#if canImport(Glibc)
    import Glibc
#endif

/// Names of hosts to addresses, by the system's resolver on a thread of its own.
package enum HostNames {
    /// All addresses of a name; none when it has none.
    @Sendable package static func resolve(_ name: String) async -> [IPAddress] {
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "lamina.names").async { continuation.resume(returning: look(up: name)) }
        }
    }

    private static func look(up name: String) -> [IPAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, nil, &hints, &first) == 0 else { return [] }
        defer { freeaddrinfo(first) }
        var found: [IPAddress] = []
        var next = first
        while let entry = next {
            defer { next = entry.pointee.ai_next }
            guard let address = entry.pointee.ai_addr else { continue }
            // The address stands 4 bytes into sockaddr_in and 8 bytes into sockaddr_in6.
            let (offset, count) = entry.pointee.ai_family == AF_INET ? (4, 4) : (8, 16)
            guard Int(entry.pointee.ai_addrlen) >= offset + count else { continue }
            let raw = UnsafeRawBufferPointer(start: UnsafeRawPointer(address) + offset, count: count)
            if let parsed = IPAddress(bytes: Array(raw)), !found.contains(parsed) { found.append(parsed) }
        }
        return found
    }
}
