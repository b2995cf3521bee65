import Foundation
import Testing

/// Measures how far the process's memory rises: the peak is reset, then read again (Linux, proc(5) clear_refs).
struct MemoryPeak {
    private let startBytes: Int

    init() throws {
        try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
        startBytes = try Self.peakBytes()
    }

    /// Bytes that the peak rose since `init`.
    func growthBytes() throws -> Int { try Self.peakBytes() - startBytes }

    private static func peakBytes() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(Int(line.split(separator: " ")[1])) * 1024
    }
}
