/// The bounds of a run.
package enum Limits {
    /// How long a program may take unless its caller says otherwise.
    package static let timeout: Duration = .seconds(60)
    /// How many bytes a program may print unless its caller says otherwise: 4 MiB.
    package static let outputByteCountMax = 4 << 20
    /// How much of a complaint is passed on.
    static let messageCharacterCountMax = 600
    /// How often a program is looked at that has closed its output and not ended.
    static let tickMilliseconds: Int32 = 20
}
