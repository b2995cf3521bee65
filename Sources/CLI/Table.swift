/// A column of a table: its title and how its cell is made from an item.
package struct Column: Sendable {
    /// The title, in capitals.
    package let title: String
    /// The text of an item's cell.
    package let cell: @Sendable (JSONValue) -> String

    /// A column made by a function.
    package init(_ title: String, _ cell: @escaping @Sendable (JSONValue) -> String) {
        self.title = title
        self.cell = cell
    }

    /// A column that shows the member at a path.
    package init(_ title: String, _ path: String...) {
        self.init(title) { CellText.plain($0[path: path]) }
    }

    /// A column that shows a number of bytes.
    package static func bytes(_ title: String, _ path: String...) -> Column {
        Column(title) { item in item[path: path].integer.map(ByteText.short) ?? "-" }
    }
}

/// How values are written in tables.
package enum CellText {
    /// A value in one line; control characters are taken out, since the terminal would obey them.
    package static func plain(_ value: JSONValue) -> String {
        switch value {
        case .null: "-"
        case .bool(let value): value ? "yes" : "no"
        case .integer(let value): String(value)
        case .number(let value): String(value)
        case .string(let text): text.isEmpty ? "-" : harmless(text)
        case .list(let values): values.isEmpty ? "-" : values.map(plain).joined(separator: ", ")
        case .object: value.compact
        }
    }

    /// The text without characters that a terminal would obey.
    package static func harmless(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    switch scalar.value {
                    case 0x00...0x1f, 0x7f...0x9f, 0x200e, 0x200f, 0x202a...0x202e, 0x2066...0x2069: " "
                    default: scalar
                    }
                }))
    }
}

/// Lays out rows in columns.
package enum Table {
    /// The table, titles first, columns two spaces apart; the last column is not padded.
    package static func render(_ items: [JSONValue], _ columns: [Column]) -> String {
        let rows = [columns.map(\.title)] + items.map { item in columns.map { $0.cell(item) } }
        let widths = columns.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            row.enumerated().map { place, cell in
                place == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[place] - cell.count)
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    /// One resource, a line for each member; members of members as `a.b`.
    package static func details(_ item: JSONValue) -> String {
        var lines: [(String, String)] = []
        collect(item, prefix: "", into: &lines)
        let width = lines.map(\.0.count).max() ?? 0
        return lines.map { $0.0 + String(repeating: " ", count: width - $0.0.count + 2) + $0.1 }
            .joined(separator: "\n")
    }

    private static let firstKeys = ["id", "name", "description", "type", "state", "status"]

    private static func collect(_ value: JSONValue, prefix: String, into lines: inout [(String, String)]) {
        guard case .object(let members) = value else {
            lines.append((prefix, cell(value, named: prefix)))
            return
        }
        let keys = members.keys.sorted { a, b in
            let first = (firstKeys.firstIndex(of: a) ?? firstKeys.count, a)
            let second = (firstKeys.firstIndex(of: b) ?? firstKeys.count, b)
            return first < second
        }
        for key in keys {
            let name = prefix.isEmpty ? key : prefix + "." + key
            guard let member = members[key] else { continue }
            if case .object(let inner) = member, !inner.isEmpty {
                collect(member, prefix: name, into: &lines)
            } else if case .list(let items) = member,
                items.contains(where: { if case .object = $0 { true } else { false } })
            {
                for (index, item) in items.enumerated() { collect(item, prefix: "\(name)[\(index)]", into: &lines) }
            } else {
                lines.append((name, cell(member, named: name)))
            }
        }
    }

    private static func cell(_ value: JSONValue, named name: String) -> String {
        guard name.hasSuffix("Bytes"), let count = value.integer else { return CellText.plain(value) }
        return count < 1024 ? String(count) : "\(count) (\(ByteText.short(count)))"
    }
}

/// Numbers of bytes for people.
package enum ByteText {
    private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

    /// Three digits and a binary unit: `1.50 GiB`.
    package static func short(_ count: Int64) -> String {
        var value = Double(count)
        var unit = 0
        while value >= 1023.5, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        if unit == 0 { return "\(count) B" }
        let digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
        return decimal(value, digits: digits) + " " + units[unit]
    }

    /// Reads `1073741824`, `500M`, `1GiB`, `1.5 TB`; every unit is binary.
    package static func parse(_ text: String) -> UInt64? {
        let trimmed = text.filter { !$0.isWhitespace }
        let number = trimmed.prefix { $0.isNumber || $0 == "." }
        var unit = trimmed.dropFirst(number.count).uppercased()
        if unit.hasSuffix("IB") { unit.removeLast(2) } else if unit.hasSuffix("B") { unit.removeLast() }
        guard let power = ["", "K", "M", "G", "T", "P"].firstIndex(of: unit) else { return nil }
        if let whole = UInt64(number) {
            let (result, overflow) = whole.multipliedReportingOverflow(by: 1 << (10 * UInt64(power)))
            return overflow ? nil : result
        }
        guard let value = Double(number), value >= 0 else { return nil }
        return UInt64(exactly: (value * Double(UInt64(1) << (10 * UInt64(power)))).rounded(.down))
    }

    /// A decimal with a fixed number of digits after the point.
    package static func decimal(_ value: Double, digits: Int) -> String {
        let scale = [1, 10, 100, 1000][min(3, max(0, digits))]
        let scaled = Int64((value * Double(scale)).rounded())
        guard digits > 0 else { return String(scaled) }
        let fraction = String(scaled % Int64(scale))
        return "\(scaled / Int64(scale))." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
