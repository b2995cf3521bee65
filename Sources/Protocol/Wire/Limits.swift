/// The bounds of the protocol, together with how they hang together. Source: docs/protocol.md, "Limits".
package enum WireLimits {
    /// A frame's header.
    package static let headerByteCount = 32
    /// No payload of any kind is longer; a header that says so ends the connection before a byte is buffered.
    package static let payloadByteCountMax = 8 << 20
    /// A request, reply, failure or progress in JSON.
    package static let messageByteCountMax = 1 << 20
    /// A piece of bulk data. One piece is one hop between threads: large enough to make hops cheap, small enough to
    /// stay in a processor's cache.
    package static let dataByteCountMax = 1 << 20
    /// The least a sender should put in a piece of bulk data, except the last.
    package static let dataByteCountMin = 256 << 10
    /// A hello; it leaves room for fields to come.
    package static let helloByteCountMax = 4096
    /// A software version in a hello.
    package static let softwareVersionByteCountMax = 64
    /// From the connection to the end of the hellos, TLS included.
    package static let handshakeMax: Duration = .seconds(10)
    /// The asker pings when it has heard nothing for this long during an exchange. Less than `serverSilenceMax`.
    package static let pingAfter: Duration = .seconds(15)
    /// The answerer ends a connection on which it has heard nothing for this long. More than `idleMax`.
    package static let serverSilenceMax: Duration = .seconds(90)
    /// The asker closes a connection that it has not used for this long.
    package static let idleMax: Duration = .seconds(60)
    /// How long the asker waits for the end of an exchange that it cancelled before it closes the connection.
    package static let cancelMax: Duration = .seconds(5)
}
