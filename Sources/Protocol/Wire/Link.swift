import Model

/// Why a link could not be made, or ended.
package enum LinkError: Error, Sendable, Equatable {
    /// No connection could be made; words for people.
    case unreachable(String)
    /// The connection was cut; words for people.
    case closed(String)
    /// The other end is not who it should be, or does not trust this one; words for people.
    case untrusted(String)
    /// The peer broke the protocol.
    case wire(WireError)
    /// It took too long; words for people.
    case timeout(String)
    /// The caller's task was cancelled.
    case cancelled
}

/// Frames to and from one verified peer, in order. Any number of tasks may send; one receives.
package protocol Link: Sendable {
    /// Who the other end is, as its certificate says.
    var peer: PeerIdentity { get }
    /// Sends a frame; returns when there is room for another, not when it arrived.
    func send(_ frame: Frame) async throws(LinkError)
    /// The next frame; nil when the other end closed between two frames. Nothing is read from the network while
    /// frames wait here: the sender is held back. Cancelling the task ends the wait with `.cancelled`.
    func receive() async throws(LinkError) -> Frame?
    /// Ends the link at once; waiting calls throw `.closed`. Twice is once.
    func close()
}

/// Makes links. Source: docs/architecture.md, "Who may import whom": the Mains inject the one of Transport.
package protocol Dialer: Sendable {
    /// Connects to `host` (an IP address or a DNS name) and checks that `peer` is there.
    func dial(host: String, port: Int, expecting peer: PeerIdentity) async throws(LinkError) -> any Link
}
