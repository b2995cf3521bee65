// Model: the values that every room shares.
//
// Hides: how digests, identifiers, times, addresses and names are written and checked.
// Invariants: every value here is valid by construction; a failed check names the rule that it broke.
// Is not: a place for I/O, clocks, randomness or JSON coders. It imports no Foundation.

/// Why a text is not the value it should be. The words are for the person who typed the text.
public struct InvalidValue: Error, Sendable, Equatable, CustomStringConvertible {
    /// What was expected, what was found, what to do.
    public let reason: String

    /// Creates the error from words for the person who typed the value.
    public init(_ reason: String) { self.reason = reason }

    /// The same words.
    public var description: String { reason }
}
