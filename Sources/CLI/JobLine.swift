/// A job in one line, for tables and for the progress bar.
package enum JobLine {
    /// The done part in per cent.
    package static func percent(_ job: JSONValue) -> String {
        guard let fraction = job["progress"]["fraction"].double else { return "-" }
        return String(Int((min(1, max(0, fraction)) * 100).rounded(.down))) + " %"
    }

    /// What the job is about.
    package static func resource(_ job: JSONValue) -> String {
        let resource = job["resource"]
        guard let id = resource["id"].text else { return "-" }
        return (resource["type"].text.map { $0 + " " } ?? "") + (resource["name"].text ?? id)
    }

    /// Whether the job's state is final.
    package static func hasEnded(_ job: JSONValue) -> Bool {
        ["succeeded", "failed", "cancelled"].contains(job["state"].text ?? "")
    }

    /// The progress bar: phase, bar, part, bytes, rate, time to go, what was reused; cut to `columns`.
    package static func bar(_ job: JSONValue, columns: Int) -> String {
        let progress = job["progress"]
        let phase = progress["phase"].text ?? currentStep(job) ?? job["state"].text ?? ""
        var parts: [String] = [CellText.harmless(phase)]
        let fraction = min(1, max(0, progress["fraction"].double ?? 0))
        let width = 24
        let full = Int((fraction * Double(width)).rounded(.down))
        parts.append("[" + String(repeating: "#", count: full) + String(repeating: ".", count: width - full) + "]")
        parts.append(percent(job))
        if let done = progress["doneBytes"].integer {
            let total = progress["totalBytes"].integer
            parts.append(ByteText.short(done) + (total.map { "/" + ByteText.short($0) } ?? ""))
        }
        if let rate = progress["bytesPerSecond"].double, rate > 0 {
            parts.append(ByteText.short(Int64(rate)) + "/s")
        }
        if let seconds = progress["etaSeconds"].double { parts.append("ETA " + duration(Int64(seconds))) }
        if let reused = progress["reusedBytes"].integer, reused > 0 {
            parts.append("reused " + ByteText.short(reused))
        }
        return String(parts.joined(separator: "  ").prefix(max(20, columns - 1)))
    }

    /// `1:02:03` or `2:03`.
    package static func duration(_ seconds: Int64) -> String {
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : String(value) }
        let clipped = max(0, seconds)
        let minutes = clipped / 60
        return minutes >= 60
            ? "\(minutes / 60):\(two(minutes % 60)):\(two(clipped % 60))" : "\(minutes):\(two(clipped % 60))"
    }

    private static func currentStep(_ job: JSONValue) -> String? {
        (job["steps"].array ?? []).first { $0["state"].text == "running" }?["name"].text
    }
}

/// A line on the terminal that is drawn over itself. Nothing is drawn where there is no terminal.
struct ProgressLine {
    private var isDrawn = false

    mutating func draw(_ text: String) {
        guard Terminal.hasErrorTerminal else { return }
        Terminal.write("\r\u{1b}[K" + text, to: 2)
        isDrawn = true
    }

    mutating func clear() {
        guard isDrawn else { return }
        Terminal.write("\r\u{1b}[K", to: 2)
        isDrawn = false
    }
}
