/// A moment in UTC, to the millisecond; written as RFC 3339 (`2026-01-31T12:00:00.000Z`).
package struct Timestamp: Hashable, Sendable, Comparable {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package let milliseconds: Int64

    /// Creates a moment from milliseconds since 1970.
    package init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// Orders by time.
    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

    /// The moment `seconds` later.
    package func adding(seconds: Int64) -> Timestamp { Timestamp(milliseconds: milliseconds + seconds * 1000) }

    /// Reads RFC 3339 with an optional fraction and `Z` or a numeric offset.
    package init(parsing text: String) throws(InvalidValue) {
        let wrong = InvalidValue("a time is RFC 3339, such as 2026-01-31T12:00:00Z")
        let bytes = Array(text.utf8)
        func number(_ from: Int, _ count: Int) -> Int64? {
            guard from + count <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[from..<from + count] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard bytes.count >= 20, bytes.count <= 40, let year = number(0, 4), let month = number(5, 2),
            let day = number(8, 2), let hour = number(11, 2), let minute = number(14, 2), let second = number(17, 2),
            bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[10] | 0x20 == 0x74, bytes[13] == 0x3a, bytes[16] == 0x3a,
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
        else { throw wrong }
        var place = 19
        var fraction: Int64 = 0
        if bytes[place] == 0x2e {
            place += 1
            var scale: Int64 = 100
            while place < bytes.count, (0x30...0x39).contains(bytes[place]) {
                fraction += Int64(bytes[place] - 0x30) * scale
                scale /= 10
                place += 1
            }
        }
        var offset: Int64 = 0
        guard place < bytes.count else { throw wrong }
        if bytes[place] | 0x20 == 0x7a, place + 1 == bytes.count {
            offset = 0
        } else if bytes[place] == 0x2b || bytes[place] == 0x2d, place + 6 == bytes.count, bytes[place + 3] == 0x3a,
            let hours = number(place + 1, 2), let minutes = number(place + 4, 2)
        {
            offset = (hours * 60 + minutes) * (bytes[place] == 0x2d ? -1 : 1)
        } else {
            throw wrong
        }
        let days = Timestamp.days(year: year, month: month, day: day)
        let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
        self.init(milliseconds: seconds * 1000 + fraction)
    }

    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that start in March.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Timestamp: CustomStringConvertible {
    /// RFC 3339 in UTC with milliseconds.
    package var description: String {
        func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { (a >= 0 ? a : a - b + 1) / b }
        let seconds = floorDivide(milliseconds, 1000)
        let days = floorDivide(seconds, 86_400)
        let time = seconds - days * 86_400
        let z = days + 719_468
        let era = floorDivide(z, 146_097)
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shifted + 2) / 5 + 1
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func pad(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
        }
        return pad(year, 4) + "-" + pad(month, 2) + "-" + pad(day, 2) + "T" + pad(time / 3600, 2) + ":"
            + pad(time / 60 % 60, 2) + ":" + pad(time % 60, 2) + "." + pad(milliseconds - seconds * 1000, 3) + "Z"
    }
}

extension Timestamp: Codable {
    /// Reads RFC 3339.
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do { try self.init(parsing: text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    /// Writes RFC 3339.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// Tells the time. A parameter everywhere, so that tests choose it; the real one is made in the Mains.
package struct WallClock: Sendable {
    /// The moment of the call.
    package let now: @Sendable () -> Timestamp

    /// Creates a clock from a function.
    package init(now: @escaping @Sendable () -> Timestamp) { self.now = now }
}
