import Foundation
import Model

/// A connected, non-blocking socket with a time limit for every wait.
final class TCPConnection {
    let descriptor: Int32
    private let cancellation: Cancellation

    /// Tries the addresses of the host one after the other.
    init(_ target: SSHTarget, _ cancellation: Cancellation) throws(BootstrapError) {
        let place = "\(target.address.text):\(target.port)"
        var wanted = addrinfo()
        wanted.ai_socktype = Int32(SOCK_STREAM.rawValue)
        wanted.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(target.address.text, "\(target.port)", &wanted, &found) == 0, let found else {
            throw .unknownHost(target.address.text)
        }
        defer { freeaddrinfo(found) }
        var failure = BootstrapError.unreachable(place)
        var candidate: UnsafeMutablePointer<addrinfo>? = found
        while let info = candidate?.pointee {
            if cancellation.isCancelled { throw .cancelled }
            switch TCPConnection.connect(info, cancellation) {
            case .success(let made):
                descriptor = made
                self.cancellation = cancellation
                return
            case .failure(let number):
                // A refusal says more than silence: somebody is there.
                if number == ECONNREFUSED { failure = .refusedPort(place) }
            }
            candidate = info.ai_next
        }
        throw failure
    }

    deinit {
        cancellation.watch(-1)
        close(descriptor)
    }

    /// Waits until the socket is ready, the time is up, or somebody cancels.
    func wait(_ events: Int16, until deadline: ContinuousClock.Instant, during step: String) throws(BootstrapError) {
        while true {
            if cancellation.isCancelled { throw .cancelled }
            let left = ContinuousClock().now.duration(to: deadline)
            guard left > .zero else { throw .timeout(during: step) }
            let milliseconds = min(Int32(clamping: left.components.seconds * 1000 + 1000), Limits.tickMilliseconds)
            var watched = pollfd(fd: descriptor, events: events, revents: 0)
            if poll(&watched, 1, milliseconds) > 0 { return }
        }
    }

    /// The first bytes that came in, left where they are; nil: nothing yet; empty: the other side has closed.
    func peek() -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 4)
        let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_PEEK))
        return count < 0 ? nil : Array(bytes.prefix(count))
    }

    private enum Attempt {
        case success(Int32)
        case failure(Int32)
    }

    private static func connect(_ info: addrinfo, _ cancellation: Cancellation) -> Attempt {
        let made = socket(info.ai_family, info.ai_socktype | Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { return .failure(errno) }
        cancellation.watch(made)
        var number: Int32 = 0
        if Glibc.connect(made, info.ai_addr, info.ai_addrlen) != 0 {
            number = errno
            if number == EINPROGRESS {
                var watched = pollfd(fd: made, events: Int16(POLLOUT), revents: 0)
                let ready = poll(&watched, 1, Int32(Limits.timeoutConnect.components.seconds * 1000))
                var length = socklen_t(MemoryLayout<Int32>.size)
                if ready <= 0 {
                    number = ETIMEDOUT
                } else if getsockopt(made, SOL_SOCKET, SO_ERROR, &number, &length) != 0 {
                    number = errno
                }
            }
        }
        guard number == 0 else {
            cancellation.watch(-1)
            close(made)
            return .failure(number)
        }
        setBrokenAfterSilence(made)
        return .success(made)
    }

    // Without these a host that lost its power would be waited for until the verb's own limit.
    private static func setBrokenAfterSilence(_ socket: Int32) {
        func set(_ level: Int32, _ option: Int32, _ value: Int32) {
            var value = value
            setsockopt(socket, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
        set(SOL_SOCKET, SO_KEEPALIVE, 1)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 10)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 5)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 4)
        set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Limits.timeoutUnacknowledgedMilliseconds)
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }
}
