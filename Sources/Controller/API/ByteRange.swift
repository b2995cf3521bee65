/// The `Range` field (RFC 9110, section 14) for one range of bytes.
enum ByteRange: Equatable, Sendable {
    /// No range, or one that is to be ignored: send all.
    case whole
    /// These bytes.
    case part(first: UInt64, count: UInt64)
    /// No byte of the content is in the range: 416.
    case unsatisfiable

    /// Reads the field for a content of `byteCount` bytes. A unit other than bytes, a malformed field and a list of several
    /// ranges are ignored, as the RFC allows.
    init(field: String?, byteCount: UInt64) {
        guard let field, field.count <= 128, field.lowercased().hasPrefix("bytes=") else {
            self = .whole
            return
        }
        let text = field.dropFirst(6).filter { $0 != " " && $0 != "\t" }
        let sides = text.split(separator: "-", omittingEmptySubsequences: false)
        guard sides.count == 2, !(sides[0].isEmpty && sides[1].isEmpty), !text.contains(","),
            let first = ByteRange.number(sides[0]), let second = ByteRange.number(sides[1])
        else {
            self = .whole
            return
        }
        switch (first, second) {
        case (.some(let first), .some(let last)) where last < first: self = .whole
        case (.some(let first), let last):
            guard first < byteCount else {
                self = .unsatisfiable
                return
            }
            self = .part(first: first, count: min(last ?? .max, byteCount - 1) - first + 1)
        case (.none, .some(let suffix)):
            guard suffix > 0, byteCount > 0 else {
                self = .unsatisfiable
                return
            }
            let count = min(suffix, byteCount)
            self = .part(first: byteCount - count, count: count)
        case (.none, .none): self = .whole
        }
    }

    /// `.some(nil)` for an empty text; nil when it is no number. One beyond 64 bits lies beyond every content.
    private static func number(_ text: Substring) -> UInt64?? {
        if text.isEmpty { return .some(nil) }
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return .some(UInt64(text) ?? .max)
    }
}
