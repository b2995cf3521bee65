import Foundation
import Synchronization
import Testing

/// A server on loopback that answers each connection by a closure: for the answers that no honest server gives.
final class ScriptedServer: Sendable {
    /// One connection.
    final class Connection {
        private let descriptor: Int32
        private var pending: [UInt8] = []

        init(_ descriptor: Int32) { self.descriptor = descriptor }

        /// The next line without its end; nil at the end of the connection.
        func line() -> String? {
            while true {
                if let end = pending.firstIndex(of: 10) {
                    let line = pending[..<end].filter { $0 != 13 }
                    pending.removeSubrange(...end)
                    return String(decoding: line, as: UTF8.self)
                }
                var piece = [UInt8](repeating: 0, count: 4096)
                let count = recv(descriptor, &piece, piece.count, 0)
                guard count > 0 else { return nil }
                pending += piece[0..<count]
            }
        }

        /// The lines of an HTTP request's head.
        func head() -> [String] {
            var lines: [String] = []
            while let line = line(), !line.isEmpty { lines.append(line) }
            return lines
        }

        func send(_ text: String) { send(Array(text.utf8)) }

        func send(_ bytes: [UInt8]) {
            var done = 0
            while done < bytes.count {
                let count = bytes[done...].withUnsafeBytes {
                    Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return }
                done += count
            }
        }

        /// Keeps the connection open until the other side ends it.
        func hold() { while line() != nil {} }
    }

    private let listener: Int32
    let port: UInt16
    private let heads = Mutex<[[String]]>([])

    /// Every request head so far, by its lines.
    var requests: [[String]] { heads.withLock { $0 } }

    /// A server for any protocol.
    init(_ answer: @escaping @Sendable (Connection) -> Void) throws {
        (listener, port) = try Loopback.listen()
        let descriptor = listener
        Thread.detachNewThread {
            while true {
                let accepted = accept(descriptor, nil, nil)
                guard accepted >= 0 else {
                    // Closed here and nowhere else: its number could be another server's by the next `accept`.
                    close(descriptor)
                    return
                }
                Thread.detachNewThread {
                    answer(Connection(accepted))
                    Foundation.shutdown(accepted, Int32(SHUT_RDWR))
                    close(accepted)
                }
            }
        }
    }

    /// A server of HTTP: `answer` gets the head of each request.
    convenience init(http answer: @escaping @Sendable ([String], Connection) -> Void) throws {
        let box = Box()
        try self.init { connection in
            let head = connection.head()
            box.server.withLock { $0.server?.note(head) }
            answer(head, connection)
        }
        box.server.withLock { $0.server = self }
    }

    private struct Weak { weak var server: ScriptedServer? }
    private final class Box: Sendable { let server = Mutex(Weak()) }

    private func note(_ head: [String]) { heads.withLock { $0.append(head) } }

    func url(_ path: String = "/file", scheme: String = "http") -> String { "\(scheme)://127.0.0.1:\(port)\(path)" }

    deinit { Foundation.shutdown(listener, Int32(SHUT_RDWR)) }
}

enum Loopback {
    static func address(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    /// A listening socket on a port of the system's choice.
    static func listen() throws -> (Int32, UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        try #require(descriptor >= 0)
        var address = address(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound && Foundation.listen(descriptor, 16) == 0)
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    /// A port that nobody listens on.
    static func freePort() throws -> UInt16 {
        let (descriptor, port) = try listen()
        close(descriptor)
        return port
    }

    static func accepts(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = address(port)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
