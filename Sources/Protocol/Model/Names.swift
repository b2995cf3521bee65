@_spi(_Unicode) import Swift

/// The name of a data center, storage or image: text for people. Never a path, never an id.
/// Source: docs/security.md, "Names".
package struct ResourceName: Hashable, Sendable {
    /// The most characters a name may have.
    package static let characterCountMax = 128
    /// The name in Unicode normalisation form C.
    package let text: String

    /// Checks and normalises: 1 to 128 characters, no control or direction-changing ones, no blank ends.
    package init(_ given: String) throws(InvalidValue) {
        let text = String(String.UnicodeScalarView(given._nfc))
        guard !text.isEmpty else { throw InvalidValue("a name must not be empty") }
        guard text.utf8.count <= ResourceName.characterCountMax * 4, text.count <= ResourceName.characterCountMax else {
            throw InvalidValue("a name has at most \(ResourceName.characterCountMax) characters")
        }
        guard !Prose.hasForbidden(text, allowingLines: false) else {
            throw InvalidValue("a name must not have control characters or ones that change the direction of writing")
        }
        guard text.first?.isWhitespace == false, text.last?.isWhitespace == false else {
            throw InvalidValue("a name must not begin or end with a space")
        }
        self.text = text
    }
}

/// The description of a resource: up to 2,048 characters, lines allowed.
package struct Description: Hashable, Sendable {
    /// The most characters a description may have.
    package static let characterCountMax = 2048
    /// The description in Unicode normalisation form C.
    package let text: String

    /// Checks and normalises; an empty description is allowed.
    package init(_ given: String) throws(InvalidValue) {
        let text = String(String.UnicodeScalarView(given._nfc))
        guard text.utf8.count <= Description.characterCountMax * 4, text.count <= Description.characterCountMax else {
            throw InvalidValue("a description has at most \(Description.characterCountMax) characters")
        }
        guard !Prose.hasForbidden(text, allowingLines: true) else {
            throw InvalidValue(
                "a description must not have control characters or ones that change the direction of writing")
        }
        self.text = text
    }
}

enum Prose {
    /// Control characters, and those of Unicode that reorder what a reader sees.
    static func hasForbidden(_ text: String, allowingLines: Bool) -> Bool {
        text.unicodeScalars.contains { scalar in
            switch scalar.value {
            case 0x0a, 0x0d, 0x09: !allowingLines
            case 0x00...0x1f, 0x7f...0x9f, 0x200e, 0x200f, 0x202a...0x202e, 0x2066...0x2069, 0x061c, 0x2028, 0x2029,
                0xfeff:
                true
            default: false
            }
        }
    }
}

/// The address of a host as an admin types it: an IP address or a DNS name. Never begins with a dash,
/// never has a character that a shell would read. Source: docs/security.md, "SSH".
package struct HostAddress: Hashable, Sendable {
    /// The address as given.
    package let text: String

    /// Checks an IP address or a DNS name of at most 253 bytes.
    package init(_ given: String) throws(InvalidValue) {
        if (try? IPAddress(parsing: given)) != nil {
            text = given
            return
        }
        let labels = given.split(separator: ".", omittingEmptySubsequences: false)
        let fits =
            !given.isEmpty && given.utf8.count <= 253
            && labels.allSatisfy { label in
                !label.isEmpty && label.utf8.count <= 63 && label.first != "-" && label.last != "-"
                    && label.utf8.allSatisfy { Ascii.isAlphanumeric($0) || $0 == 0x2d }
            }
        // Four numbers that are no IPv4 address, such as 10.0.0.300, must not pass for a name.
        let isNumeric = labels.last?.utf8.allSatisfy { (0x30...0x39).contains($0) } ?? true
        guard fits, !isNumeric else {
            throw InvalidValue("a host address is an IP address or a DNS name; '\(given.prefix(80))' is neither")
        }
        text = given
    }
}

/// A user name on a host: letters, digits, `_`, `.`, `-`; at most 32; begins with a letter or `_`.
package struct UserName: Hashable, Sendable {
    /// The name as given.
    package let text: String

    /// Checks the POSIX portable form.
    package init(_ given: String) throws(InvalidValue) {
        guard let first = given.utf8.first, given.utf8.count <= 32, Ascii.isLetter(first) || first == 0x5f,
            given.utf8.allSatisfy({ Ascii.isAlphanumeric($0) || [0x5f, 0x2d, 0x2e].contains($0) })
        else {
            throw InvalidValue(
                "a user name has 1 to 32 letters, digits, '_', '.' or '-' and begins with a letter or '_'")
        }
        text = given
    }
}

/// Tests on single bytes of ASCII text.
package enum Ascii {
    /// A letter or a digit.
    package static func isAlphanumeric(_ byte: UInt8) -> Bool { isLetter(byte) || (0x30...0x39).contains(byte) }
    /// A letter.
    package static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte | 0x20) }
}

/// A secret in memory: it never shows itself in a log or a debugger's description.
package struct Secret: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The secret itself; call it only where it is used.
    package let reveal: String

    /// Wraps a secret.
    package init(_ text: String) { reveal = text }

    /// Not the secret.
    package var description: String { "(secret)" }
    /// Not the secret.
    package var debugDescription: String { "(secret)" }
    /// Not the secret.
    package var customMirror: Mirror { Mirror(self, children: []) }
}
