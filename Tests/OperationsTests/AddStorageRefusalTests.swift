// Goal: what cannot be a storage is refused with a code, a field and words, before anything is done that would have to be
// undone.
// Method: wrong values, roles and names against the operation; unfit hosts against the step `check`.
import Bootstrap
import ControllerTestSupport
import Foundation
import Inventory
import Model
import Operations
import Secrets
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2)))
struct AddStorageRefusalTests {
    struct WrongValue: Sendable, CustomTestStringConvertible {
        var field: String
        var spoil: @Sendable (inout StandaloneSpec) -> Void
        var testDescription: String { field }
        init(_ field: String, _ spoil: @escaping @Sendable (inout StandaloneSpec) -> Void) {
            self.field = field
            self.spoil = spoil
        }
    }

    static let wrongValues = [
        WrongValue("/name") { $0.name = "" },
        WrongValue("/description") { $0.description = "\u{202e}" },
        WrongValue("/dataCenterId") { $0.dataCenterID = InventoryBench.makeID(77) },
        WrongValue("/host/address") { $0.host.address = "-oProxyCommand=x" },
        WrongValue("/host/sshPort") { $0.host.sshPort = 0 },
        WrongValue("/host/sshPort") { $0.host.sshPort = 65536 },
        WrongValue("/host/username") { $0.host.username = "-l" },
        WrongValue("/host/password") { $0.host.credential = .password(Secret("")) },
        WrongValue("/host/password") { $0.host.credential = .password(Secret("a\nb")) },
        WrongValue("/host/privateKey") {
            $0.host.credential = .privateKey(Secret(String(repeating: "k", count: 40_000)))
        },
        WrongValue("/host/hostKey") { $0.host.hostKey = "MD5:00" },
        WrongValue("/disk/device") { $0.disk = .freeDisk(device: "vdb", serial: nil) },
        WrongValue("/disk/device") { $0.disk = .freeDisk(device: "/dev/../etc/passwd", serial: nil) },
        WrongValue("/mountPath") { $0.mountPath = "/etc" },
        WrongValue("/mountPath") { $0.mountPath = "/srv/../etc" },
        WrongValue("/imageSyncNetwork") { $0.imageSyncNetwork = "10.0.0.0/33" },
        WrongValue("/dataNetwork") { $0.dataNetwork = "everything" },
        WrongValue("/reservedCapacityBytes") { $0.reservedCapacityBytes = .max },
        WrongValue("/blobUploadConcurrency") { $0.blobUploadConcurrency = 0 },
        WrongValue("/blobDownloadConcurrency") { $0.blobDownloadConcurrency = 17 },
    ]

    @Test(arguments: wrongValues) func aWrongValueNamesItsField(_ wrong: WrongValue) async throws {
        let lab = try await Lab()
        var spec = lab.spec()
        wrong.spoil(&spec)
        let error = await refusal { [spec] () throws(OperationError) in
            try await lab.operations.addStandalone(spec, caller: Lab.admin)
        }
        #expect(error?.code == "invalid-value" && error?.field == wrong.field && error?.detail.isEmpty == false)
        #expect(lab.host.taps.journal.isEmpty)
        #expect(try await lab.inventory.list(ImageStorageRecord.self, Query()).items.isEmpty)
        #expect(try await lab.inventory.list(JobRecord.self, Query()).items.isEmpty)
        await lab.end()
    }

    @Test(arguments: [Lab.operator, Lab.viewer]) func onlyAnAdminAdds(_ caller: Caller) async throws {
        let lab = try await Lab()
        let error = await refusal { () throws(OperationError) in
            try await lab.operations.addStandalone(lab.spec(), caller: caller)
        }
        #expect(error == .forbidden(needed: .admin))
        #expect(try await lab.audit("image-storage.add") == ["denied needs admin"])
        #expect(try await lab.inventory.list(ImageStorageRecord.self, Query()).items.isEmpty)
        await lab.end()
    }

    @Test func placesAndNamesThatAreTaken() async throws {
        let lab = try await Lab()
        let first = try await lab.addStorage(lab.spec("one", mountPath: "/srv/one"))
        let jobs = try await lab.inventory.list(JobRecord.self, Query()).items.count
        for (name, path, code) in [
            ("two", "/srv/one", "image-storage-exists"), ("two", "/srv/one/below", "mount-path-in-use"),
            ("one", "/srv/two", "name-taken"),
        ] {
            let error = await refusal { () throws(OperationError) in
                try await lab.operations.addStandalone(lab.spec(name, mountPath: path), caller: Lab.admin)
            }
            #expect(error?.code == code)
            if code != "name-taken" { #expect(error?.items.map(\.id) == [first.id.description]) }
        }
        #expect(try await lab.inventory.list(ImageStorageRecord.self, Query()).items.count == 1)
        #expect(try await lab.inventory.list(JobRecord.self, Query()).items.count == jobs)
        // A name that only begins alike is another place.
        #expect(try await lab.addStorage(lab.spec("three", mountPath: "/srv/one-more")).status == .connected)
        await lab.end()
    }

    // The same host under another name is known by its key only once it was looked at.
    @Test func theSameHostUnderAnotherNameIsFoundOut() async throws {
        let lab = try await Lab()
        let first = try await lab.addStorage()
        try await lab.bench.write { transaction throws(InventoryError) in
            try transaction.change(ImageStorageRecord.self, first.id) { $0.hostAddress = "storage.example" }
        }
        let (job, second) = try await lab.operations.addStandalone(lab.spec("two"), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "image-storage-exists")
        #expect(try await lab.inventory.find(ImageStorageRecord.self, second.id) == nil)
        #expect(lab.host.taps.count("prepare") == 1)
        await lab.end()
    }

    @Test func oneStoreIsNotTwoStorages() async throws {
        let lab = try await Lab()
        let first = try await lab.addStorage()
        // The disk was copied.
        await lab.host.stopAgent(first.id)
        try FileManager.default.copyItem(
            atPath: lab.host.place(of: "/srv/one"), toPath: lab.host.place(of: "/srv/two"))
        let (job, second) = try await lab.operations.addStandalone(
            lab.spec("two", mountPath: "/srv/two", retrieves: true), caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == "image-storage-known")
        #expect(ended.error?.detail.contains("'one'") == true)
        #expect(try await lab.inventory.find(ImageStorageRecord.self, second.id) == nil)
        #expect(lab.host.instance(second.id) == nil && lab.host.prepared(second.id) == nil)
        #expect(lab.host.hasStore(at: "/srv/one"))
        #expect(try await lab.storage(first.id).storeID == first.storeID)
        await lab.end()
    }

    struct UnfitHost: Sendable, CustomTestStringConvertible {
        var code: String
        var field: String?
        var disk = DiskSpec.localDirectory
        var words: String
        var spoilSpec: @Sendable (inout StandaloneSpec) -> Void = { _ in }
        var spoilHost: @Sendable (inout ProbeReport) -> Void = { _ in }
        var testDescription: String { "\(code) \(words)" }
    }

    static let unfitHosts = [
        UnfitHost(
            code: "sudo-required", disk: .freeDisk(device: "/dev/vdb", serial: nil), words: "neither",
            spoilHost: { $0.sudo = .denied }),
        UnfitHost(code: "architecture-unsupported", words: "x86_64", spoilHost: { $0.architecture = "riscv64" }),
        UnfitHost(
            code: "network-not-on-host", field: "/imageSyncNetwork", words: "10.1.0.5/24",
            spoilSpec: { $0.imageSyncNetwork = "10.9.0.0/24" }),
        UnfitHost(
            code: "network-not-on-host", field: "/dataNetwork", words: "10.8.0.0/24",
            spoilSpec: { $0.dataNetwork = "10.8.0.0/24" }),
        UnfitHost(
            code: "disk-not-found", disk: .freeDisk(device: "/dev/vdz", serial: nil), words: "free disks: /dev/vdb"),
        UnfitHost(code: "disk-not-free", disk: .freeDisk(device: "/dev/vdc", serial: nil), words: "xfs"),
        UnfitHost(code: "disk-not-free", disk: .freeDisk(device: "/dev/vdc", serial: "S9"), words: "xfs"),
        UnfitHost(code: "disk-not-free", disk: .freeDisk(device: "/dev/vda", serial: "S0"), words: "is mounted at /"),
        UnfitHost(
            code: "no-space", field: "/reservedCapacityBytes", words: "free bytes",
            spoilHost: { $0.mounts[0].freeBytes = (64 << 20) + (1 << 20) - 1 }),
        UnfitHost(
            code: "no-space", field: "/reservedCapacityBytes", words: "/srv has",
            spoilHost: {
                $0.mounts.append(
                    ProbedMount(path: "/srv", source: "x", fileSystem: "xfs", sizeBytes: 1 << 40, freeBytes: 1))
            }),
        UnfitHost(
            code: "ssh-host-key-changed", words: "expected SHA256:BBB",
            spoilSpec: { $0.host.hostKey = "SHA256:" + String(repeating: "B", count: 43) }),
    ]

    @Test(arguments: unfitHosts) func anUnfitHostIsRefusedBeforeAnythingIsDoneToIt(_ unfit: UnfitHost) async throws {
        let lab = try await Lab()
        lab.host.report.withLock { unfit.spoilHost(&$0) }
        var spec = lab.spec(disk: unfit.disk)
        unfit.spoilSpec(&spec)
        let (job, storage) = try await lab.operations.addStandalone(spec, caller: Lab.admin)
        let ended = try await lab.inventory.ended(job.id)
        #expect(ended.state == .failed && ended.error?.code == unfit.code && ended.error?.field == unfit.field)
        #expect(ended.error?.detail.contains(unfit.words) == true, "\(ended.error?.detail ?? "")")
        #expect(lab.host.taps.journal == ["probe"])
        try await lab.expectGone(storage.id)
        await lab.end()
    }

    @Test func theChosenDiskIsTheOneThatWasSeen() async throws {
        let lab = try await Lab()
        let free = try await lab.addStorage(lab.spec(disk: .freeDisk(device: "/dev/vdb", serial: nil)))
        let seen = DiskChoice(device: "/dev/vdb", id: "serial:S1", sizeBytes: 1 << 40, serial: "S1")
        #expect(free.diskChoice == seen)
        #expect(lab.host.prepared(free.id)?.disk == .freeDisk(seen))
        let signed = try await lab.addStorage(
            lab.spec("two", disk: .freeDisk(device: "/dev/vdc", serial: "S2"), mountPath: "/srv/two"))
        let confirmed = DiskChoice(
            device: "/dev/vdc", id: "serial:S2", sizeBytes: 1 << 40, serial: "S2", confirmedSerial: "S2")
        #expect(lab.host.prepared(signed.id)?.disk == .freeDisk(confirmed))
        await lab.end()
    }

    @Test func aHostWithoutSudoTakesALocalDirectoryInTheUsersScope() async throws {
        let lab = try await Lab()
        lab.host.report.withLock { $0.sudo = .denied }
        let storage = try await lab.addStorage()
        #expect(storage.hostScope == .user && storage.status == .connected)
        await lab.end()
    }
}
