// Goal: system parameters and data centers keep what they may be, and tell who changed them.
// Method: every parameter with good and bad values; data centers that are empty and not.
import Bootstrap
import ControllerTestSupport
import Inventory
import Model
import Operations
import Testing
import Wire

@Suite(.timeLimit(.minutes(1)))
struct SettingsTests {
    private func set(
        _ lab: Lab, _ name: String, _ value: SystemParameter.Value, ifMatch: Int? = nil, caller: Caller = Lab.admin
    ) async throws(OperationError) -> SystemParameter {
        try await lab.operations.setSystemParameter(name, value, ifMatch: ifMatch, caller: caller)
    }

    @Test func theyStandAsTheSeedSays() async throws {
        let lab = try await Lab()
        let all = try await lab.operations.listSystemParameters(caller: Lab.viewer)
        let standards = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0.standard) })
        #expect(
            standards == [
                "image.deletion-policy": .text("delayed"), "image.retention-days": .count(3),
                "upload.expiry-hours": .count(24), "agent.ping-seconds": .count(5), "job.retention-days": .count(30),
                "url-import.allow-private-networks": .flag(true),
                "url-import.deny": .networks(
                    try ["127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"].map { try CIDR(parsing: $0) }),
            ])
        #expect(all.map(\.name) == all.map(\.name).sorted())
        await lab.end()
    }

    @Test func aChangeIsInForceCountedAndWrittenDown() async throws {
        let lab = try await Lab()
        let set = try await set(lab, "job.retention-days", .count(7), ifMatch: 1)
        #expect(set.value == .count(7) && set.revision == 2 && set.updatedAt != nil)
        #expect(try await lab.operations.systemParameter("job.retention-days", caller: Lab.viewer) == set)
        #expect(try await lab.audit("system-parameter.set") == ["done 30 -> 7"])
        let stale = await refusal { () throws(OperationError) in
            try await self.set(lab, "job.retention-days", .count(8), ifMatch: 1)
        }
        #expect(stale == .preconditionFailed)
        let weak = await refusal { () throws(OperationError) in
            try await self.set(lab, "job.retention-days", .count(8), caller: Lab.operator)
        }
        #expect(weak == .forbidden(needed: .admin))
        #expect(try await lab.operations.systemParameter("job.retention-days", caller: Lab.viewer) == set)
        await lab.end()
    }

    static let bad: [(String, SystemParameter.Value)] = [
        ("image.deletion-policy", .text("sometimes")), ("image.deletion-policy", .flag(true)),
        ("image.retention-days", .count(-1)), ("upload.expiry-hours", .count(0)), ("upload.expiry-hours", .count(721)),
        ("agent.ping-seconds", .count(301)), ("job.retention-days", .text("7")),
        ("url-import.allow-private-networks", .count(1)), ("url-import.deny", .text("10.0.0.0/8")),
    ]

    @Test(arguments: bad) func aBadValueIsRefused(_ name: String, _ value: SystemParameter.Value) async throws {
        let lab = try await Lab()
        let before = try await lab.operations.systemParameter(name, caller: Lab.viewer)
        let error = await refusal { () throws(OperationError) in try await set(lab, name, value) }
        #expect(error?.code == "invalid-value" && error?.field == "/value")
        #expect(try await lab.operations.systemParameter(name, caller: Lab.viewer) == before)
        let unknown = await refusal { () throws(OperationError) in try await set(lab, "no.such", value) }
        #expect(unknown?.code == "system-parameter-not-found")
        await lab.end()
    }

    @Test func theHoursOfUploadsReachTheAgents() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        _ = try await set(lab, "upload.expiry-hours", .count(2))
        await lab.operations.pingOnce(within: .seconds(10))
        let kept = try #require(lab.host.instance(storage.id)?.configuration)
        #expect(try Messages.decode(ConfigureVerb.self, from: kept).sessionExpiryHours == 2)
        let upload = try await lab.operations.createUpload(
            imageStorageID: storage.id, byteCount: 1, fileName: nil, caller: Lab.admin)
        #expect(upload.expiresAt == lab.bench.clock.wall.now().adding(seconds: 2 * 3600))
        await lab.end()
    }

    @Test func aDataCenterWithStoragesStays() async throws {
        let lab = try await Lab()
        let storage = try await lab.addStorage()
        let full = await refusal { () throws(OperationError) in
            try await lab.operations.deleteDataCenter(lab.dataCenter, caller: Lab.admin)
        }
        #expect(full?.code == "data-center-not-empty" && full?.items.map(\.id) == [storage.id.description])
        let made = try await lab.operations.createDataCenter(name: "two", description: "d", caller: Lab.admin)
        let taken = await refusal { () throws(OperationError) in
            try await lab.operations.createDataCenter(name: "two", description: "", caller: Lab.admin)
        }
        #expect(taken?.code == "name-taken")
        let renamed = try await lab.operations.updateDataCenter(
            made.id, NamePatch(name: "three"), ifMatch: made.revision, caller: Lab.admin)
        #expect(renamed.name == "three" && renamed.description == "d")
        let stale = await refusal { () throws(OperationError) in
            try await lab.operations.updateDataCenter(
                made.id, NamePatch(name: "four"), ifMatch: made.revision, caller: Lab.admin)
        }
        #expect(stale == .preconditionFailed)
        try await lab.operations.deleteDataCenter(made.id, caller: Lab.admin)
        let gone = await refusal { () throws(OperationError) in
            try await lab.operations.deleteDataCenter(made.id, caller: Lab.admin)
        }
        #expect(gone?.code == "data-center-not-found")
        await lab.end()
    }

    @Test func aProbeTellsWhatTheHostHasAndChangesNothing() async throws {
        let lab = try await Lab()
        let probe = try await lab.operations.probe(Lab.host(), caller: Lab.admin)
        #expect(probe.hostKey == LabHost.hostKey && probe.sudo == "root")
        #expect(probe.freeDisks.map(\.device) == ["/dev/vdb"])
        #expect(probe.otherDisks.map(\.reason) == ["carries data (xfs)", "is mounted at /"])
        #expect(lab.host.taps.journal == ["probe"])
        lab.host.taps.fail("probe", with: .authenticationFailed(detail: "wrong password"))
        let refused = await refusal { () throws(OperationError) in
            try await lab.operations.probe(Lab.host(), caller: Lab.admin)
        }
        #expect(refused?.code == "ssh-authentication-failed" && refused?.detail == "log-in refused: wrong password")
        #expect(
            try await lab.audit("image-storage.probe")
                == ["failed 127.0.0.1: ssh-authentication-failed", "done 127.0.0.1"])
        await lab.end()
    }
}
