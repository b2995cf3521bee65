/// How a peer broke the protocol. Offsets count the bytes of the connection, from 0.
package enum WireError: Error, Sendable, Equatable {
    /// The bytes are not a frame of this protocol.
    case badMagic(offset: UInt64)
    /// A frame layout that is not known.
    case badLayout(found: UInt8, offset: UInt64)
    /// A kind of frame that is not known.
    case unknownKind(found: UInt8, offset: UInt64)
    /// Flags that the kind does not have.
    case badFlags(found: UInt16, offset: UInt64)
    /// Reserved bytes that are not zero.
    case badReserved(offset: UInt64)
    /// The header is not what was sent.
    case badHeaderChecksum(offset: UInt64)
    /// The payload is not what was sent.
    case badPayloadChecksum(offset: UInt64)
    /// A payload that is longer than its kind may be.
    case tooLong(byteCount: UInt64, limit: Int, offset: UInt64)
    /// The connection ended in the middle of a frame.
    case truncated(offset: UInt64)
    /// A hello that cannot be read, or does not fit the certificate.
    case badHello(String)
    /// The two ends have no version in common.
    case noCommonVersion(String)
    /// A message that is not the JSON it should be.
    case badMessage(String)
    /// A frame that does not belong here.
    case unexpected(FrameKind, during: String)
    /// A frame of another exchange, or an exchange whose number does not rise.
    case badExchange(found: UInt64, expected: UInt64)
}

extension WireError: CustomStringConvertible {
    /// Words for a log.
    package var description: String {
        switch self {
        case .badMagic(let offset): "not a frame at byte \(offset)"
        case .badLayout(let found, let offset): "unknown frame layout \(found) at byte \(offset)"
        case .unknownKind(let found, let offset): "unknown frame kind \(found) at byte \(offset)"
        case .badFlags(let found, let offset): "unknown flags \(found) at byte \(offset)"
        case .badReserved(let offset): "reserved bytes are set at byte \(offset)"
        case .badHeaderChecksum(let offset): "header checksum differs at byte \(offset)"
        case .badPayloadChecksum(let offset): "payload checksum differs at byte \(offset)"
        case .tooLong(let count, let limit, let offset):
            "a payload of \(count) bytes at byte \(offset), where at most \(limit) are allowed"
        case .truncated(let offset): "the connection ended inside a frame, at byte \(offset)"
        case .badHello(let why): "bad hello: \(why)"
        case .noCommonVersion(let why): why
        case .badMessage(let why): "bad message: \(why)"
        case .unexpected(let kind, let during): "unexpected \(kind) frame while \(during)"
        case .badExchange(let found, let expected): "exchange \(found) where \(expected) was expected"
        }
    }
}
