import Foundation
import Inventory
import Logging
import Model
import Operations

/// The Prometheus text format, version 0.0.4.
struct PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"
    private(set) var text = ""

    enum Kind: String { case counter, gauge, histogram }

    /// Begins a metric.
    mutating func metric(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    /// Adds a sample.
    mutating func sample(_ name: String, _ labels: [(String, String)] = [], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0.0)=\"\(PrometheusText.escaped($0.1))\"" }.joined(separator: ",") + "}"
        }
        text += " " + PrometheusText.number(value) + "\n"
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}

/// What `/metrics` tells.
enum MetricsPage {
    static func render(_ environment: APIEnvironment, _ metrics: HTTPMetrics) async throws -> String {
        var page = PrometheusText()
        page.metric("lamina_build_info", .gauge, "The version of the controller.")
        page.sample("lamina_build_info", [("version", environment.version)], 1)
        add(metrics.snapshot, to: &page)
        let inventory = environment.operations.inventory
        let jobs = try await inventory.count(JobRecord.self, by: "state")
        page.metric("lamina_jobs", .gauge, "Jobs that the controller remembers, by state.")
        for state in ["queued", "running", "succeeded", "failed", "cancelled"] {
            page.sample("lamina_jobs", [("state", state)], Double(jobs[state] ?? 0))
        }
        let storages = try await inventory.count(ImageStorageRecord.self, by: "status")
        page.metric("lamina_image_storages", .gauge, "Image storages, by status.")
        for status in ["connecting", "connected", "disconnected"] {
            page.sample("lamina_image_storages", [("status", status)], Double(storages[status] ?? 0))
        }
        let images = try await inventory.count(ImageRecord.self, by: "status")
        page.metric("lamina_images", .gauge, "Images, by status.")
        for status in ["creating", "ready", "failed", "recycled", "expunged"] {
            page.sample("lamina_images", [("status", status)], Double(images[status] ?? 0))
        }
        addProcess(to: &page)
        return page.text
    }

    private static func add(_ state: HTTPMetrics.State, to page: inout PrometheusText) {
        page.metric("lamina_http_requests_total", .counter, "Requests that were answered.")
        let series = state.requests.sorted { a, b in
            (a.key.route, a.key.method, a.key.code) < (b.key.route, b.key.method, b.key.code)
        }
        for (key, count) in series {
            page.sample(
                "lamina_http_requests_total",
                [("method", key.method), ("route", key.route), ("code", String(key.code))], Double(count))
        }
        let name = "lamina_http_request_duration_seconds"
        page.metric(name, .histogram, "Time until the head of the answer.")
        for (route, durations) in state.durations.sorted(by: { $0.key < $1.key }) {
            for (index, bound) in HTTPMetrics.bucketBounds.enumerated() {
                page.sample(
                    name + "_bucket", [("route", route), ("le", String(bound))], Double(durations.buckets[index]))
            }
            page.sample(name + "_bucket", [("route", route), ("le", "+Inf")], Double(durations.count))
            page.sample(name + "_sum", [("route", route)], durations.sum)
            page.sample(name + "_count", [("route", route)], Double(durations.count))
        }
    }

    /// What the kernel says of this process; what cannot be read is left out.
    private static func addProcess(to page: inout PrometheusText) {
        if let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),
            let pages = text.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
        {
            page.metric("process_resident_memory_bytes", .gauge, "Resident memory.")
            page.sample("process_resident_memory_bytes", [], pages * Double(sysconf(Int32(_SC_PAGESIZE))))
        }
        if let open = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            page.metric("process_open_fds", .gauge, "Open file descriptors.")
            page.sample("process_open_fds", [], Double(open.count))
        }
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
            page.metric("process_cpu_seconds_total", .counter, "CPU time.")
            page.sample("process_cpu_seconds_total", [], seconds(usage.ru_utime) + seconds(usage.ru_stime))
        }
    }
}
