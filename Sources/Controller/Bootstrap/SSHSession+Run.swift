import CSSH2
import Foundation
import Model

/// What a command on the host left behind.
struct RemoteResult {
    var status: Int32
    var output: [UInt8]
    var complaints: [UInt8]

    /// The complaints on one line, bounded.
    var message: String {
        let lines = String(decoding: complaints, as: UTF8.self).split(whereSeparator: \.isNewline)
        return String(lines.joined(separator: "; ").prefix(Limits.messageCharacterCountMax))
    }
}

/// What a command reads on its standard input: bytes, then, perhaps, a file.
struct RemoteInput {
    var bytes: [UInt8]
    var file: FileHandle?

    init(_ bytes: [UInt8], file: FileHandle? = nil) {
        self.bytes = bytes
        self.file = file
    }

    /// The next piece; empty at the end.
    mutating func next() throws(BootstrapError) -> [UInt8] {
        if !bytes.isEmpty {
            defer { bytes = [] }
            return bytes
        }
        guard let file else { return [] }
        do { return Array(try file.read(upToCount: Limits.pieceByteCount) ?? Data()) } catch {
            throw .bundleUnusable(detail: "it cannot be read: \(error.localizedDescription)")
        }
    }
}

extension SSHSession {
    /// Runs one of our constant commands.
    func run(
        _ command: String, _ input: RemoteInput, limit: Duration, during step: String
    ) throws(BootstrapError) -> RemoteResult {
        let deadline = ContinuousClock().now + limit
        var exchange = Exchange(session: self, channel: try openChannel(deadline, step), deadline: deadline, step: step)
        let started = try retry(until: deadline, during: step) {
            libssh2_channel_process_startup(
                exchange.channel, "exec", 4, command, UInt32(command.utf8.count))
        }
        guard started == 0 else { throw .disconnected(during: step) }
        return try exchange.run(input)
    }

    private func openChannel(
        _ deadline: ContinuousClock.Instant, _ step: String
    ) throws(BootstrapError) -> OpaquePointer {
        while true {
            // The window and packet size that the library's own macro asks for.
            if let channel = libssh2_channel_open_ex(handle, "session", 7, 2 << 20, 32768, nil, 0) { return channel }
            guard libssh2_session_last_errno(handle) == LIBSSH2_ERROR_EAGAIN else { throw .disconnected(during: step) }
            try wait(until: deadline, during: step)
        }
    }
}

/// One command: its input goes out while its output comes in, so that neither side can block the other.
private struct Exchange: ~Copyable {
    let session: SSHSession
    let channel: OpaquePointer
    let deadline: ContinuousClock.Instant
    let step: String

    deinit { while libssh2_channel_free(channel) == LIBSSH2_ERROR_EAGAIN { if !settle() { return } } }

    // Waits a little for the socket while the channel is closed; false when it is not worth waiting for.
    private borrowing func settle() -> Bool {
        do throws(BootstrapError) {
            try session.wait(until: ContinuousClock().now + .seconds(2), during: step)
            return true
        } catch { return false }
    }

    init(session: SSHSession, channel: OpaquePointer, deadline: ContinuousClock.Instant, step: String) {
        self.session = session
        self.channel = channel
        self.deadline = deadline
        self.step = step
    }

    mutating func run(_ given: RemoteInput) throws(BootstrapError) -> RemoteResult {
        var input = given
        var piece = try input.next()[...]
        var isSending = true
        var result = RemoteResult(status: -1, output: [], complaints: [])
        while true {
            var hasMoved = false
            if isSending {
                if piece.isEmpty { piece = try input.next()[...] }
                switch try send(piece) {
                case .sent(let count):
                    piece = piece.dropFirst(count)
                    hasMoved = true
                case .finished:
                    isSending = false
                    hasMoved = true
                case .again: break
                }
            }
            if try receive(0, into: &result.output, keeping: Limits.answerByteCountMax) { hasMoved = true }
            if try receive(1, into: &result.complaints, keeping: Limits.complaintByteCountMax) { hasMoved = true }
            if !hasMoved {
                if libssh2_channel_eof(channel) == 1 { break }
                try session.wait(until: deadline, during: step)
            }
            guard ContinuousClock().now < deadline else { throw .timeout(during: step) }
        }
        _ = try session.retry(until: deadline, during: step) { libssh2_channel_close(channel) }
        _ = try session.retry(until: deadline, during: step) { libssh2_channel_wait_closed(channel) }
        result.status = libssh2_channel_get_exit_status(channel)
        return result
    }

    private enum Sent {
        case sent(Int)
        case finished
        case again
    }

    private borrowing func send(_ piece: ArraySlice<UInt8>) throws(BootstrapError) -> Sent {
        if piece.isEmpty {
            let answer = libssh2_channel_send_eof(channel)
            return answer == LIBSSH2_ERROR_EAGAIN ? .again : .finished
        }
        let count = piece.withUnsafeBytes {
            libssh2_channel_write_ex(channel, 0, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        switch count {
        case 0...: return count == 0 ? .again : .sent(count)
        case Int(LIBSSH2_ERROR_EAGAIN): return .again
        // A command that ended without reading everything has said why.
        case Int(LIBSSH2_ERROR_CHANNEL_CLOSED), Int(LIBSSH2_ERROR_CHANNEL_EOF_SENT): return .finished
        default:
            if libssh2_channel_eof(channel) == 1 { return .finished }
            throw .disconnected(during: step)
        }
    }

    // Whether anything came.
    private borrowing func receive(
        _ stream: Int32, into collected: inout [UInt8], keeping byteCountMax: Int
    ) throws(BootstrapError) -> Bool {
        var hasMoved = false
        while true {
            let count = withUnsafeTemporaryAllocation(byteCount: 32768, alignment: 16) { buffer in
                let count = libssh2_channel_read_ex(
                    channel, stream, buffer.baseAddress?.assumingMemoryBound(to: CChar.self), buffer.count)
                if count > 0 { collected.append(contentsOf: buffer[..<count]) }
                return count
            }
            if count == 0 || count == Int(LIBSSH2_ERROR_EAGAIN) { return hasMoved }
            guard count > 0 else { throw .disconnected(during: step) }
            guard collected.count <= byteCountMax else { throw .badAnswer("the host printed too much during \(step)") }
            hasMoved = true
        }
    }
}
