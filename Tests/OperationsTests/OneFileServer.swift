import ControllerTestSupport
import Glibc
import Synchronization

/// An HTTP server of one file on the loopback. One thread for each connection; it closes after each answer.
final class OneFileServer: Sendable {
    private let socket: Int32
    private let requests = Mutex<[String]>([])
    let port: UInt16

    /// `http://127.0.0.1:PORT/image?secret=1`, with user info.
    var url: String { "http://user:word@127.0.0.1:\(port)/image?secret=1" }
    /// The first lines of the requests.
    var lines: [String] { requests.withLock { $0 } }

    init(_ body: [UInt8]) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let made = socket
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(made, pointer, length) == 0 && listen(made, 8) == 0 && getsockname(made, pointer, &length) == 0
            }
        }
        guard bound else { throw LabTrouble("no socket") }
        port = UInt16(bigEndian: address.sin_port)
        OneFileServer.thread { [self] in
            while true {
                let connection = accept(made, nil, nil)
                guard connection >= 0 else { return }
                OneFileServer.thread { self.answer(connection, body) }
            }
        }
    }

    func close() { shutdown(socket, Int32(SHUT_RDWR)) }

    private func answer(_ connection: Int32, _ body: [UInt8]) {
        defer { Glibc.close(connection) }
        var request: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !request.suffix(4).elementsEqual([13, 10, 13, 10]) {
            let count = recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            request += buffer.prefix(count)
        }
        let line = String(decoding: request.prefix { $0 != 13 }, as: UTF8.self)
        requests.withLock { $0.append(line) }
        var answer = Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\r\n".utf8)
        if !line.hasPrefix("HEAD") { answer += body }
        var sent = 0
        while sent < answer.count {
            let count = answer[sent...].withUnsafeBytes {
                Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    private static func thread(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Work(body))
        var thread = pthread_t()
        let started = pthread_create(
            &thread, nil,
            { raw in
                Unmanaged<Work>.fromOpaque(raw!).takeRetainedValue().body()
                return nil
            }, box.toOpaque())
        if started == 0 { pthread_detach(thread) } else { box.release() }
    }

    private final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
