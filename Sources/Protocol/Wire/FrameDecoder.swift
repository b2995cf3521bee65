/// Makes frames of a stream of bytes. A header is checked whole before any byte of its payload is kept. After an
/// error it is spent: the connection must end.
package struct FrameDecoder: Sendable {
    private var header: [UInt8] = []
    private var pending: Pending?
    // Bytes of the connection before those of the present frame.
    private var frameOffset: UInt64 = 0

    private struct Pending: Sendable {
        var frame: Frame
        var byteCount: Int
        var checksum: UInt32
    }

    /// Creates a decoder at the start of a connection.
    package init() {}

    /// Whether the bytes so far end at the end of a frame.
    package var isBetweenFrames: Bool { header.isEmpty && pending == nil }

    /// The bytes that it holds of a frame that is not whole.
    package var bufferedByteCount: Int { header.count + (pending?.frame.payload.count ?? 0) }

    /// Takes bytes as they come and appends the frames that are whole.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer, into frames: inout [Frame]) throws(WireError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if pending == nil {
                let taken = min(WireLimits.headerByteCount - header.count, rest.count)
                header.append(contentsOf: rest.prefix(taken))
                rest = rest.dropFirst(taken)
                guard header.count == WireLimits.headerByteCount else { return }
                pending = try parsedHeader()
                header.removeAll(keepingCapacity: true)
            }
            takePayload(&rest)
            if let frame = try finished() { frames.append(frame) }
        }
    }

    /// Takes bytes as they come and appends the frames that are whole.
    package mutating func feed(_ bytes: [UInt8], into frames: inout [Frame]) throws(WireError) {
        var failure: WireError?
        bytes.withUnsafeBytes { buffer in
            do throws(WireError) { try feed(buffer, into: &frames) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Says that the connection ended.
    package func end() throws(WireError) {
        let read = pending.map { WireLimits.headerByteCount + $0.frame.payload.count } ?? header.count
        guard isBetweenFrames else { throw .truncated(offset: frameOffset + UInt64(read)) }
    }

    private mutating func takePayload(_ rest: inout Slice<UnsafeRawBufferPointer>) {
        guard var current = pending else { return }
        pending = nil  // so that the array below has one owner and grows in place
        let taken = min(current.byteCount - current.frame.payload.count, rest.count)
        if taken > 0 {
            if current.frame.payload.isEmpty { current.frame.payload.reserveCapacity(current.byteCount) }
            current.frame.payload.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest.prefix(taken)))
            rest = rest.dropFirst(taken)
        }
        pending = current
    }

    private mutating func finished() throws(WireError) -> Frame? {
        guard let current = pending, current.frame.payload.count == current.byteCount else { return nil }
        guard CRC32C.checksum(current.frame.payload) == current.checksum else {
            throw .badPayloadChecksum(offset: frameOffset + UInt64(WireLimits.headerByteCount))
        }
        frameOffset += UInt64(WireLimits.headerByteCount + current.byteCount)
        pending = nil
        return current.frame
    }

    private func parsedHeader() throws(WireError) -> Pending {
        guard Array(header[0..<4]) == Frame.magic else { throw .badMagic(offset: frameOffset) }
        guard header[4] == Frame.layout else { throw .badLayout(found: header[4], offset: frameOffset + 4) }
        guard number(28, as: UInt32.self) == CRC32C.checksum(Array(header[0..<28])) else {
            throw .badHeaderChecksum(offset: frameOffset + 28)
        }
        guard let kind = FrameKind(rawValue: header[5]) else {
            throw .unknownKind(found: header[5], offset: frameOffset + 5)
        }
        let flags = number(6, as: UInt16.self)
        guard flags & ~kind.flags == 0 else { throw .badFlags(found: flags, offset: frameOffset + 6) }
        let byteCount = number(16, as: UInt32.self)
        guard byteCount <= UInt32(kind.payloadByteCountMax) else {
            throw .tooLong(byteCount: UInt64(byteCount), limit: kind.payloadByteCountMax, offset: frameOffset + 16)
        }
        guard number(24, as: UInt32.self) == 0 else { throw .badReserved(offset: frameOffset + 24) }
        return Pending(
            frame: Frame(kind, exchange: number(8, as: UInt64.self), flags: flags), byteCount: Int(byteCount),
            checksum: number(20, as: UInt32.self))
    }

    private func number<N: FixedWidthInteger & UnsignedInteger>(_ at: Int, as type: N.Type) -> N {
        (0..<N.bitWidth / 8).reduce(0) { $0 | N(header[at + $1]) << N(8 * $1) }
    }
}
