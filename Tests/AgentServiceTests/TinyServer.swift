import Glibc
import Synchronization

/// An HTTP server of one file, with ranges and with faults. One thread for each connection.
final class TinyServer: Sendable {
    struct Behaviour: Sendable {
        var body: [UInt8]
        var entityTag = "\"one\""
        var status = 200
        /// The connection is cut after so many bytes of body, this many times.
        var cutAfter: Int?
        var cutCount = 0
        /// After so many bytes of body the server stands still until `release`.
        var stallAfter: Int?
    }

    private struct State {
        var behaviour: Behaviour
        var ranges: [String?] = []
        var isReleased = false
    }

    private let socket: Int32
    let port: UInt16
    private let state: Mutex<State>

    /// `http://127.0.0.1:PORT/image`.
    var url: String { "http://127.0.0.1:\(port)/image" }
    /// The Range header of each request.
    var ranges: [String?] { state.withLock { $0.ranges } }

    init(_ behaviour: Behaviour) throws {
        state = Mutex(State(behaviour: behaviour))
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let made = socket
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(made, $0, length) == 0 && listen(made, 16) == 0 && getsockname(made, $0, &length) == 0
            }
        }
        guard bound else { throw TestTrouble("listen") }
        port = UInt16(bigEndian: address.sin_port)
        signal(SIGPIPE, SIG_IGN)
        TinyServer.thread { [self] in
            while true {
                let connection = accept(made, nil, nil)
                guard connection >= 0 else { return }
                TinyServer.thread { self.serve(connection) }
            }
        }
    }

    func change(_ body: (inout Behaviour) -> Void) { state.withLock { body(&$0.behaviour) } }
    func release() { state.withLock { $0.isReleased = true } }
    func close() {
        release()
        shutdown(socket, Int32(SHUT_RDWR))
        Glibc.close(socket)
    }

    private func serve(_ connection: Int32) {
        defer { Glibc.close(connection) }
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual([13, 10, 13, 10]), head.count < 8192 {
            guard read(connection, &byte, 1) == 1 else { return }
            head.append(byte)
        }
        let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n").map(String.init)
        func header(_ name: String) -> String? {
            lines.first { $0.lowercased().hasPrefix(name + ":") }.map { line in
                String(line.drop { $0 != ":" }.dropFirst().drop { $0 == " " })
            }
        }
        let range = header("range")
        let (behaviour, cuts) = state.withLock { state in
            state.ranges.append(range)
            let cuts = state.behaviour.cutCount > 0
            if cuts { state.behaviour.cutCount -= 1 }
            return (state.behaviour, cuts)
        }
        var start = 0
        let isSame = header("if-range").map { $0 == behaviour.entityTag } ?? true
        if let range, isSame, range.hasPrefix("bytes="), range.hasSuffix("-") {
            start = Int(range.dropFirst(6).dropLast()) ?? 0
        }
        let body = behaviour.body
        var answer = "HTTP/1.1 \(start > 0 ? 206 : behaviour.status) X\r\nETag: \(behaviour.entityTag)\r\n"
        answer += "Content-Length: \(body.count - start)\r\nAccept-Ranges: bytes\r\nConnection: close\r\n"
        if start > 0 { answer += "Content-Range: bytes \(start)-\(body.count - 1)/\(body.count)\r\n" }
        answer += "\r\n"
        guard send(connection, Array(answer.utf8)) else { return }
        var place = start
        while place < body.count {
            let count = min(64 << 10, body.count - place)
            guard send(connection, Array(body[place..<place + count])) else { return }
            place += count
            if cuts, let limit = behaviour.cutAfter, place - start >= limit { return }
            if let stall = behaviour.stallAfter, place - start >= stall {
                while !state.withLock({ $0.isReleased }) { usleep(2000) }
            }
        }
    }

    private func send(_ connection: Int32, _ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(connection, $0.baseAddress, $0.count) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private static func thread(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let raw = Unmanaged.passRetained(Work(body)).toOpaque()
        pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body() }
                return nil
            }, raw)
        pthread_detach(thread)
    }
}
