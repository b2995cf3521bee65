// A frame, little-endian:
//
//   0      4  5  6     8              16      20      24      28      32
//   +------+--+--+-----+--------------+-------+-------+-------+-------+---------
//   | LMNA |ly|kd|flags| exchange     | count | crc   | 0     | crc   | payload
//   +------+--+--+-----+--------------+-------+-------+-------+-------+---------
//           layout      whose frame    payload payload reserved header
//           kind                       bytes   CRC-32C         CRC-32C of bytes 0..<28

/// What a frame is for.
package enum FrameKind: UInt8, Sendable, CaseIterable {
    /// Who the sender is and which versions it speaks; first in both directions.
    case hello = 1
    /// A verb and its arguments, in JSON.
    case request = 2
    /// What the verb answers, in JSON; ends the exchange.
    case reply = 3
    /// Why the verb was not done, in JSON; ends the exchange.
    case failure = 4
    /// Where a long verb stands, in JSON.
    case progress = 5
    /// A piece of bulk data.
    case data = 6
    /// No more data from the asker.
    case end = 7
    /// The asker withdraws.
    case cancel = 8
    /// Are you there?
    case ping = 9
    /// Yes.
    case pong = 10

    /// The longest payload of this kind.
    package var payloadByteCountMax: Int {
        switch self {
        case .hello: WireLimits.helloByteCountMax
        case .request, .reply, .failure, .progress: WireLimits.messageByteCountMax
        case .data: WireLimits.dataByteCountMax
        case .end, .cancel, .ping, .pong: 0
        }
    }

    /// The flags that this kind may have.
    package var flags: UInt16 { self == .request ? Frame.dataFollows : 0 }
}

/// One frame.
package struct Frame: Sendable, Equatable {
    /// `LMNA`.
    package static let magic: [UInt8] = [0x4c, 0x4d, 0x4e, 0x41]
    /// The layout of the header; it is not the version of the protocol, which the hellos agree on.
    package static let layout: UInt8 = 1
    /// A request's flag: data frames follow, ended by `end` or `cancel`.
    package static let dataFollows: UInt16 = 1

    /// What it is for.
    package var kind: FrameKind
    /// Flags of its kind.
    package var flags: UInt16
    /// The exchange that it belongs to; 0 outside exchanges.
    package var exchange: UInt64
    /// At most `kind.payloadByteCountMax` bytes.
    package var payload: [UInt8]

    /// Creates a frame.
    package init(_ kind: FrameKind, exchange: UInt64 = 0, flags: UInt16 = 0, payload: [UInt8] = []) {
        precondition(payload.count <= kind.payloadByteCountMax, "a \(kind) frame of \(payload.count) bytes")
        self.kind = kind
        self.flags = flags
        self.exchange = exchange
        self.payload = payload
    }

    /// The 32 bytes before the payload.
    package func header() -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(WireLimits.headerByteCount)
        out += Frame.magic
        out.append(Frame.layout)
        out.append(kind.rawValue)
        out.appendLittleEndian(flags)
        out.appendLittleEndian(exchange)
        out.appendLittleEndian(UInt32(payload.count))
        out.appendLittleEndian(CRC32C.checksum(payload))
        out.appendLittleEndian(UInt32(0))
        out.appendLittleEndian(CRC32C.checksum(out))
        return out
    }

    /// The whole frame.
    package func encoded() -> [UInt8] { header() + payload }
}

extension [UInt8] {
    mutating func appendLittleEndian(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}
