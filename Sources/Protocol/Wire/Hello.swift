import Model

/// The versions of the protocol, one line of history each.
package enum ProtocolVersion: UInt16, Sendable, CaseIterable, Comparable {
    /// The verbs of one standalone storage: status, configure, ingest, uploads, content, certificates.
    case one = 1

    /// The oldest that this program speaks.
    package static let oldest = ProtocolVersion.one
    /// The newest that this program speaks.
    package static let newest = ProtocolVersion.one

    /// Orders by age.
    package static func < (a: ProtocolVersion, b: ProtocolVersion) -> Bool { a.rawValue < b.rawValue }
}

// The payload of a hello, little-endian; frozen, and pinned byte for byte by a test:
//
//   0     2     4    5    6              22
//   +-----+-----+----+----+--------------+-------------------+- - -
//   | min | max |role|len | identity     | software version  | later fields, skipped
//   +-----+-----+----+----+--------------+-------------------+- - -

/// Who an end is and which versions it speaks.
package struct Hello: Sendable, Equatable {
    /// The oldest version that it speaks.
    package var versionMin: UInt16
    /// The newest version that it speaks.
    package var versionMax: UInt16
    /// Who it is; must be what its certificate says.
    package var identity: PeerIdentity
    /// The version of its software, for people.
    package var softwareVersion: String

    /// Creates a hello of this program.
    package init(
        identity: PeerIdentity, softwareVersion: String, versionMin: UInt16 = ProtocolVersion.oldest.rawValue,
        versionMax: UInt16 = ProtocolVersion.newest.rawValue
    ) {
        precondition(softwareVersion.utf8.count <= WireLimits.softwareVersionByteCountMax)
        self.versionMin = versionMin
        self.versionMax = versionMax
        self.identity = identity
        self.softwareVersion = softwareVersion
    }

    /// The frame.
    package func frame() -> Frame {
        var out: [UInt8] = []
        out.appendLittleEndian(versionMin)
        out.appendLittleEndian(versionMax)
        out.append(identity.role == .controller ? 1 : 2)
        out.append(UInt8(softwareVersion.utf8.count))
        out += identity.id.bytes
        out += Array(softwareVersion.utf8)
        return Frame(.hello, payload: out)
    }

    /// Reads a hello's payload.
    package init(payload: [UInt8]) throws(WireError) {
        guard payload.count >= 22 else { throw .badHello("\(payload.count) bytes, at least 22 are needed") }
        versionMin = UInt16(payload[0]) | UInt16(payload[1]) << 8
        versionMax = UInt16(payload[2]) | UInt16(payload[3]) << 8
        guard versionMin > 0, versionMin <= versionMax else {
            throw .badHello("versions \(versionMin) to \(versionMax)")
        }
        guard let role: PeerRole = payload[4] == 1 ? .controller : payload[4] == 2 ? .agent : nil else {
            throw .badHello("unknown role \(payload[4])")
        }
        let length = Int(payload[5])
        guard length <= WireLimits.softwareVersionByteCountMax, payload.count >= 22 + length,
            let text = String(validating: payload[22..<22 + length], as: UTF8.self),
            text.utf8.allSatisfy({ (0x20...0x7e).contains($0) }), let id = PeerID(bytes: payload[6..<22])
        else { throw .badHello("the software version is no short printable text") }
        identity = PeerIdentity(role: role, id: id)
        softwareVersion = text
    }

    /// The newest version that both ends speak.
    package func agreed(with peer: Hello) throws(WireError) -> ProtocolVersion {
        let newest = min(versionMax, peer.versionMax)
        guard newest >= max(versionMin, peer.versionMin), let version = ProtocolVersion(rawValue: newest) else {
            throw .noCommonVersion(
                "this end (\(softwareVersion)) speaks versions \(versionMin) to \(versionMax), the other "
                    + "(\(peer.softwareVersion)) \(peer.versionMin) to \(peer.versionMax): update the older one")
        }
        return version
    }
}
