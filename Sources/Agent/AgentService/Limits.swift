/// The bounds of the agent's work.
enum ServiceLimits {
    /// Partitions whose file systems are named in a note.
    static let partitionsNamedMax = 16
    /// Threads for short calls of the store.
    static let shortThreadCountMax = 8
    /// Threads for reading content and writing uploads: at most so many pieces are worked on at once.
    static let bulkThreadCountMax = 16
    /// Ingests at once, in whatever phase.
    static let runCountMax = 32
    /// Finished ingests whose notes are remembered.
    static let finishedCountMax = 64
    /// Progress is reported this often when it changes, and every second when it does not.
    static let reportPause: Duration = .milliseconds(100)
    /// See `reportPause`.
    static let reportPauseMax: Duration = .seconds(1)
    /// How long a thread sleeps before it looks whether it may go on.
    static let waitMicroseconds: UInt32 = 50_000
    /// Fetched bytes that may be lost by a crash.
    static let syncByteCount: UInt64 = 64 << 20
    /// One read when a file is hashed.
    static let hashByteCount = 4 << 20
    /// One piece of content.
    static let pieceByteCount = 512 << 10
    /// Rendered images that are kept open between range requests.
    static let renderedCountMax = 4
    /// A page of images: so many, and so many bytes of text.
    static let pageImageCountMax = 500
    static let pageByteCountMax = 512 << 10
    /// Loose files in a list.
    static let looseFileCountMax = 1000
    /// The longest file that may be uploaded or fetched.
    static let fileByteCountMax: UInt64 = 16 << 40
    /// Hours after which an idle session ends when nothing was configured.
    static let sessionExpiryHours = 24
    /// How often idle sessions are looked for.
    static let expiryPause: Duration = .seconds(600)
}
