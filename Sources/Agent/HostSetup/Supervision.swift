import Disks
import Glibc
import HostCommand
import Model

/// Who keeps an instance running: systemd where it is PID 1 and we are root, else the bundle's own script.
struct Supervision {
    let layout: HostLayout
    let storage: ImageStorageID

    private static let unitDirectory = "/etc/systemd/system"
    private static let unitTemplate = "lamina-agent@.service"
    private static let timeoutStop: Duration = .seconds(90)

    private var isSystemd: Bool { layout.scope == .system && HostFiles.exists("/run/systemd/system") }
    private var unit: String { "lamina-agent@\(storage).service" }
    private var dropInDirectory: String { Supervision.unitDirectory + "/" + unit + ".d" }

    /// Starts it now and at every boot.
    func start(mountPath: MountPath, restart: Bool) throws(HostVerbFailure) {
        guard isSystemd else {
            if restart { try supervise("stop") }
            try supervise("enable")
            return try supervise("start")
        }
        let template = layout.bundle + "/units/" + Supervision.unitTemplate
        guard let text = try onHost({ () throws(DisksError) in try HostFiles.read(template) }) else {
            throw HostVerbFailure(.notInstalled, "the bundle has no unit '\(template)'")
        }
        try onHost { () throws(DisksError) in
            let access = HostFiles.Access(mode: 0o644)
            try HostFiles.write(text, to: Supervision.unitDirectory + "/" + Supervision.unitTemplate, access)
            try HostFiles.makeDirectory(dropInDirectory, HostFiles.Access(mode: 0o755))
            try HostFiles.write(dropIn(mountPath), to: dropInDirectory + "/storage.conf", access)
        }
        try systemctl(["daemon-reload"])
        try systemctl(["enable", "--quiet", unit])
        // A unit that failed before is started all the same.
        try systemctl(["reset-failed", unit], accepting: [0, 1])
        try systemctl([restart ? "restart" : "start", unit])
    }

    /// Stops it, now and at boot. What is not there is stopped.
    func stop() throws(HostVerbFailure) {
        guard isSystemd else {
            guard HostFiles.exists(script) else { return }
            try supervise("disable")
            return try supervise("stop")
        }
        guard HostFiles.exists(Supervision.unitDirectory + "/" + Supervision.unitTemplate) else { return }
        try systemctl(["disable", "--quiet", unit])
        try systemctl(["stop", unit])
    }

    /// Removes what `start` installed for this instance.
    func remove() throws(HostVerbFailure) {
        try stop()
        guard layout.scope == .system else { return }
        try onHost { () throws(DisksError) in
            try HostFiles.remove(dropInDirectory + "/storage.conf")
        }
        rmdir(dropInDirectory)
        if isSystemd {
            try systemctl(["daemon-reload"])
            try systemctl(["reset-failed", unit], accepting: [0, 1])
        }
    }

    /// How it is now.
    func state() throws(HostVerbFailure) -> (supervisor: String, isRunning: Bool, startsAtBoot: Bool) {
        guard isSystemd else {
            guard HostFiles.exists(script) else { return ("none", false, false) }
            let lines = try run(script, ["status", "\(storage)"]).text.split(separator: "\n")
            return ("supervisor", lines.first == "running", lines.dropFirst().first.map { $0 != "none" } ?? false)
        }
        let active = try run("systemctl", ["is-active", unit], accepting: Set(0...4)).text
        let enabled = try run("systemctl", ["is-enabled", unit], accepting: Set(0...4)).text
        return ("systemd", active.hasPrefix("active"), enabled.hasPrefix("enabled"))
    }

    /// The last lines of the log.
    func logTail() -> String? {
        let result =
            isSystemd
            ? try? HostCommand("journalctl", ["--unit", unit, "--lines", "15", "--no-pager", "--output", "cat"]).run()
            : try? HostCommand("tail", ["-n", "15", layout.logs + "/\(storage).log"]).run()
        return result.map { String($0.text.suffix(2000)) }
    }

    private func dropIn(_ path: MountPath) -> String {
        // A store in a home is the only thing of any home that the agent sees.
        let home =
            MountTable.contains("/home", path.text)
            ? "ProtectHome=tmpfs\nBindPaths=\(path)/lamina\n" : ""
        return """
            # Lamina image storage \(storage)
            [Unit]
            RequiresMountsFor=\(path)
            After=lamina-mount-\(storage).service

            [Service]
            ReadWritePaths=-\(path)/lamina
            \(home)
            """
    }

    private var script: String { layout.current + "/supervise" }

    private func supervise(_ verb: String) throws(HostVerbFailure) { try run(script, [verb, "\(storage)"]) }

    private func systemctl(_ arguments: [String], accepting: Set<Int32> = [0]) throws(HostVerbFailure) {
        try run("systemctl", arguments, accepting: accepting)
    }

    @discardableResult
    private func run(
        _ program: String, _ arguments: [String], accepting: Set<Int32> = [0]
    ) throws(HostVerbFailure) -> CommandResult {
        do throws(HostCommandError) {
            return try HostCommand(program, arguments, timeout: Supervision.timeoutStop).succeed(accepting: accepting)
        } catch {
            if case .notFound = error { throw HostVerbFailure(error) }
            let code: HostFailureCode =
                arguments.first == "stop" || arguments.first == "disable" ? .stopFailed : .startFailed
            throw HostVerbFailure(code, error.description)
        }
    }
}
