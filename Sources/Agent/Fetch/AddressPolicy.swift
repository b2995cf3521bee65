import Model

/// Which addresses may be visited. Asked for the real address of every connection, just before it is made, so that
/// neither a redirect, nor a name that changes its address, nor an FTP server's answer gets around it.
/// Source: docs/security.md, "SSRF by URL import".
package struct AddressPolicy: Sendable, Equatable {
    /// Networks that are never visited (`url-import.deny`).
    package var deniedNetworks: [CIDR]
    /// Whether private networks (RFC 1918, RFC 6598, fc00::/7) may be visited (`url-import.allow-private-networks`).
    package var allowsPrivateNetworks: Bool
    /// Ports that are never visited, at any address: the deployment's own.
    package var deniedPorts: Set<UInt16>

    /// Creates a policy; without arguments loopback and link-local addresses are denied.
    package init(
        deniedNetworks: [CIDR] = AddressPolicy.standardDeniedNetworks, allowsPrivateNetworks: Bool = true,
        deniedPorts: Set<UInt16> = []
    ) {
        self.deniedNetworks = deniedNetworks
        self.allowsPrivateNetworks = allowsPrivateNetworks
        self.deniedPorts = deniedPorts
    }

    /// Loopback and link-local, which has the metadata services of clouds.
    package static let standardDeniedNetworks = ["127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"]
        .compactMap { try? CIDR(parsing: $0) }

    /// Whether a connection to `address` and `port` may be made.
    package func allows(_ address: IPAddress, port: UInt16) -> Bool {
        guard !deniedPorts.contains(port) else { return false }
        return ([address] + AddressPolicy.embedded(in: address)).allSatisfy { address in
            !address.isMulticast && !address.isUnspecified && (allowsPrivateNetworks || !address.isPrivate)
                && !deniedNetworks.contains { $0.contains(address) }
        }
    }

    /// The IPv4 addresses that an IPv6 one stands for: NAT64 (RFC 6052), 6to4 (RFC 3056), and the old compatible
    /// form. A gateway would bring the connection to them. (The mapped form is IPv4 already, by `IPAddress`.)
    private static func embedded(in address: IPAddress) -> [IPAddress] {
        guard !address.isV4, !address.isLoopback, !address.isUnspecified else { return [] }
        let bytes = address.bytes
        var found: [IPAddress?] = []
        if bytes.starts(with: [0, 0x64, 0xff, 0x9b]) { found.append(IPAddress(bytes: Array(bytes[12...]))) }
        if bytes.starts(with: [0x20, 0x02]) { found.append(IPAddress(bytes: Array(bytes[2..<6]))) }
        if bytes[0..<12].allSatisfy({ $0 == 0 }) { found.append(IPAddress(bytes: Array(bytes[12...]))) }
        return found.compactMap(\.self)
    }
}
