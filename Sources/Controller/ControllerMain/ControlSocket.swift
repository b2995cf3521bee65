import Foundation
import Inventory
import Logging
import Synchronization

/// A socket in the data directory by which a running controller is asked for a backup: the directory's mode 0700 says who
/// may. A line with an absolute path comes in, a line goes out: `ok`, or what was wrong.
final class ControlSocket: Sendable {
    private static let lineByteCountMax = 8192
    private let descriptor: Int32
    private let path: String
    private let isClosed = Mutex(false)

    /// Listens; a socket that an earlier controller left behind is replaced (the inventory's lock says that it is gone).
    init(path: String, inventory: Inventory, log: Logger) throws(ControllerError) {
        self.path = path
        unlink(path)
        descriptor = try ControlSocket.open(path) { bind($0, $1, $2) }
        guard chmod(path, 0o600) == 0, listen(descriptor, 4) == 0 else {
            throw ControllerError("cannot listen on '\(path)': \(String(cString: strerror(errno)))")
        }
        let descriptor = self.descriptor
        let thread = Thread {
            while true {
                let peer = accept(descriptor, nil, nil)
                if peer < 0 {
                    if errno == EINTR || errno == ECONNABORTED { continue }
                    return
                }
                ControlSocket.answer(peer, inventory, log)
            }
        }
        thread.name = "control"
        thread.start()
    }

    /// Ends listening.
    func close() {
        isClosed.withLock { isClosed in
            guard !isClosed else { return }
            isClosed = true
            shutdown(descriptor, Int32(SHUT_RDWR))
            Glibc.close(descriptor)
            unlink(path)
        }
    }

    private static func answer(_ peer: Int32, _ inventory: Inventory, _ log: Logger) {
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let target = line(from: peer)
        guard target.hasPrefix("/") else {
            send("a backup needs an absolute path", to: peer)
            Glibc.close(peer)
            return
        }
        Task {
            do throws(InventoryError) {
                try await inventory.backUp(to: target)
                log.info("made a backup", metadata: ["path": .string(target)])
                send("ok", to: peer)
            } catch { send(error.description, to: peer) }
            Glibc.close(peer)
        }
    }

    /// Asks a running controller for a backup; false: there is none.
    static func askForBackUp(to target: String, at path: String) throws(ControllerError) -> Bool {
        guard FileManager.default.fileExists(atPath: path) else { return false }
        let peer: Int32
        do throws(ControllerError) { peer = try open(path) { connect($0, $1, $2) } } catch { return false }
        defer { Glibc.close(peer) }
        send(target, to: peer)
        let answer = line(from: peer)
        guard answer == "ok" else {
            throw ControllerError(answer.isEmpty ? "the running controller did not answer" : answer)
        }
        return true
    }

    private static func open(
        _ path: String, _ use: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(ControllerError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw ControllerError("the path '\(path)' is too long for a socket; use a shorter --data-dir")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard made >= 0 else { throw ControllerError("no socket: \(String(cString: strerror(errno)))") }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { use(made, $0, size) }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            Glibc.close(made)
            throw ControllerError("'\(path)': \(reason)")
        }
        return made
    }

    private static func line(from peer: Int32) -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while bytes.count < lineByteCountMax, read(peer, &byte, 1) == 1, byte != 0x0a { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func send(_ text: String, to peer: Int32) {
        let bytes = Array((text.filter { !$0.isNewline } + "\n").utf8)
        // The peer is a person's command on this host: when it is gone, nobody waits for the answer.
        _ = bytes.withUnsafeBytes { write(peer, $0.baseAddress, $0.count) }
    }
}
