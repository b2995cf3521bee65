// Transport: links over TCP and mutual TLS 1.3.
//
// Hides: sockets, event loops, TLS; the only user of NIO below the API.
// Invariants: a link exists only after both ends verified each other's certificate; frames wait in bounded memory,
// and what does not fit is left in the sender's socket; a broken frame ends the connection.
// Is not: aware of verbs, or of how a certificate is checked (Identity, injected by the Mains).
//
// On the event loops: sockets, TLS, and the cutting of bytes into frames. `send` and `receive` are the edge to async
// code: one hop a frame, and a frame of bulk data is 256 KiB to 1 MiB.
import Model
import NIOCore
import Wire

/// The bounds of the sockets.
package enum TransportLimits {
    /// Received payload that may wait to be taken; more is left in the socket.
    static let inboxByteCountMax = 2 << 20
    /// Received frames that may wait, however small.
    static let inboxFrameCountMax = 64
    /// Bytes handed to the socket at which `send` begins to wait.
    static let outboxByteCountMax = 2 << 20
    /// Bytes at which it ends to wait.
    static let outboxByteCountLow = 1 << 20
    /// What one read from the socket may bring.
    static let readByteCount = 256 << 10
    /// How long a close waits for the other end's goodbye.
    static let shutdownMax: TimeAmount = .seconds(1)
    /// Connections of a listener at once, and those of one host.
    package static let connectionCountMax = 256
    /// Connections from one address at once.
    package static let connectionCountPerHostMax = 64
}

/// Checks the certificates that a peer showed, its own first, in DER: who is it? Throws what Identity throws.
package typealias PeerCheck = @Sendable (_ chain: [[UInt8]]) async throws -> PeerIdentity
