/// An IPv4 or IPv6 address.
package struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 or 16 bytes, in network order.
    package let bytes: [UInt8]

    /// Creates an address from 4 or 16 bytes; an IPv4 address inside an IPv6 one is taken out of it.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        let mapped = bytes.count == 16 && bytes[0..<10].allSatisfy { $0 == 0 } && bytes[10] == 255 && bytes[11] == 255
        self.bytes = mapped ? Array(bytes[12...]) : bytes
    }

    /// Reads dotted decimal (four plain numbers) or RFC 4291 text; no zone, no brackets.
    package init(parsing text: String) throws(InvalidValue) {
        guard let bytes = text.contains(":") ? IPAddress.v6(text) : IPAddress.v4(text) else {
            throw InvalidValue("'\(text.prefix(80))' is not an IP address")
        }
        self.init(bytes: bytes)!
    }

    /// Whether this is IPv4.
    package var isV4: Bool { bytes.count == 4 }

    /// 127.0.0.0/8, ::1.
    package var isLoopback: Bool {
        isV4 ? bytes[0] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1
    }
    /// 169.254.0.0/16, fe80::/10.
    package var isLinkLocal: Bool {
        isV4 ? bytes[0] == 169 && bytes[1] == 254 : bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80
    }
    /// 224.0.0.0/4, ff00::/8, and the IPv4 broadcast address.
    package var isMulticast: Bool {
        isV4 ? bytes[0] >= 224 && bytes[0] < 240 || bytes == [255, 255, 255, 255] : bytes[0] == 0xff
    }
    /// 0.0.0.0/8, ::.
    package var isUnspecified: Bool { isV4 ? bytes[0] == 0 : bytes.allSatisfy { $0 == 0 } }
    /// RFC 1918, RFC 6598 and fc00::/7.
    package var isPrivate: Bool {
        guard isV4 else { return bytes[0] & 0xfe == 0xfc }
        return bytes[0] == 10 || bytes[0] == 172 && bytes[1] & 0xf0 == 16 || bytes[0] == 192 && bytes[1] == 168
            || bytes[0] == 100 && bytes[1] & 0xc0 == 64
    }

    private static func v4(_ text: String) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            // A leading zero is octal to some readers and decimal to others: refused.
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                part.utf8.count == 1 || part.first != "0", let byte = UInt8(part)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    private static func v6(_ text: String) -> [UInt8]? {
        guard text.utf8.count <= 45 else { return nil }
        var head: [UInt8] = []
        var tail: [UInt8] = []
        var isCompressed = false
        let halves = text.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
        guard halves.count <= 2 else { return nil }
        isCompressed = halves.count == 2
        for (index, half) in halves.enumerated() where !half.isEmpty {
            var out: [UInt8] = []
            let groups = half.split(separator: ":", omittingEmptySubsequences: false)
            for (place, group) in groups.enumerated() {
                if group.contains(".") {
                    guard place == groups.count - 1, index == halves.count - 1, let last = v4(String(group)) else {
                        return nil
                    }
                    out += last
                } else {
                    guard (1...4).contains(group.utf8.count), let value = UInt16(group, radix: 16), group.first != "+"
                    else {
                        return nil
                    }
                    out += [UInt8(value >> 8), UInt8(value & 255)]
                }
            }
            if index == 0 { head = out } else { tail = out }
        }
        let missing = 16 - head.count - tail.count
        guard isCompressed ? missing >= 2 : missing == 0 else { return nil }
        return head + [UInt8](repeating: 0, count: missing) + tail
    }

    /// Dotted decimal, or RFC 5952 text.
    package var description: String {
        if isV4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = (0..<8).map { UInt16(bytes[2 * $0]) << 8 | UInt16(bytes[2 * $0 + 1]) }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(1, best.count) { best = start..<end }
            start = max(end, start + 1)
        }
        func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return best.isEmpty
            ? text(groups[...]) : text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
    }
}

/// A network in CIDR notation, such as `10.1.0.0/24`. Source: seed, "Image Sync Network", "Data Network".
package struct CIDR: Hashable, Sendable, CustomStringConvertible {
    /// The first address of the network.
    package let network: IPAddress
    /// The number of leading bits that all its addresses share.
    package let prefixLength: Int

    /// Reads `address/bits`; bits of the host part must be zero, and a network of all addresses is refused.
    package init(parsing text: String) throws(InvalidValue) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = try? IPAddress(parsing: String(parts[0])),
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = Int(parts[1]),
            (1...address.bytes.count * 8).contains(length)
        else { throw InvalidValue("a network is written in CIDR notation, such as 10.1.0.0/24") }
        let masked = CIDR.mask(address.bytes, length)
        guard masked == address.bytes else {
            let network = IPAddress(bytes: masked).map(String.init(describing:)) ?? "?"
            throw InvalidValue("'\(text)' has host bits set; the network is \(network)/\(length)")
        }
        network = address
        prefixLength = length
    }

    /// Whether `address` lies in this network.
    package func contains(_ address: IPAddress) -> Bool {
        address.bytes.count == network.bytes.count && CIDR.mask(address.bytes, prefixLength) == network.bytes
    }

    private static func mask(_ bytes: [UInt8], _ length: Int) -> [UInt8] {
        bytes.enumerated().map { index, byte in
            let keep = min(8, max(0, length - index * 8))
            return keep == 0 ? 0 : byte & (0xff << (8 - keep))
        }
    }

    /// `address/bits`.
    package var description: String { "\(network)/\(prefixLength)" }
}

extension CIDR: Codable {
    /// Reads `address/bits`.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do { try self.init(parsing: text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes `address/bits`.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
