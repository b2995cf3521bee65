/// The bounds of a session with a host.
enum Limits {
    /// Sessions at once; each has a thread of its own.
    static let sessionsMax = 16
    /// How long one address may take to answer at all.
    static let timeoutConnect: Duration = .seconds(10)
    /// How long greeting, key exchange and log-in may take together; a wrong password is answered after some seconds.
    static let timeoutLogIn: Duration = .seconds(30)
    /// How long a look at the host may take.
    static let timeoutProbe: Duration = .seconds(60)
    /// How long bringing the bundle over may take.
    static let timeoutInstall: Duration = .seconds(900)
    /// How long a verb may take; formatting a large disk is the longest.
    static let timeoutVerb: Duration = .seconds(900)
    /// How long the network may be silent on what we sent before the connection counts as broken.
    static let timeoutUnacknowledgedMilliseconds: Int32 = 30_000
    /// How often a waiting thread looks whether it was cancelled.
    static let tickMilliseconds: Int32 = 500
    /// The most bytes a host may answer on standard output.
    static let answerByteCountMax = 4 << 20
    /// The most bytes of complaints that are kept.
    static let complaintByteCountMax = 64 << 10
    /// The piece in which a bundle is read and sent: 256 KiB.
    static let pieceByteCount = 256 << 10
    /// The largest bundle: 512 MiB.
    static let bundleByteCountMax: UInt64 = 512 << 20
    /// The longest host key prefix list, error text and so on that is shown.
    static let messageCharacterCountMax = 600
}
