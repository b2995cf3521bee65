// Goal: a disk that anything uses, or that has anything on it, is not offered and not wiped. Method: what lsblk, wipefs,
// mountinfo and the kernel say, as texts of several versions; for each use of a disk one that has only that.
import FoundationEssentials
import Model
import Testing

@Suite struct FreeDiskTests {
    private static func listing(_ text: String) throws -> BlockDeviceListing {
        try JSONDecoder().decode(BlockDeviceListing.self, from: Data(text.utf8))
    }

    private static func disks(_ text: String, _ facts: BlockDeviceFacts = examined("vdb")) throws -> [BlockDevice] {
        try listing("{\"blockdevices\":[\(text)]}").disks(facts)
    }

    /// Facts of disks on which nothing was found.
    private static func examined(_ names: String..., mountInfo: String = "") -> BlockDeviceFacts {
        BlockDeviceFacts(
            mounts: MountTable(mountInfo: mountInfo),
            signatures: Dictionary(uniqueKeysWithValues: names.map { ($0, []) }))
    }

    private static func disk(_ more: String = "", size: UInt64 = 1 << 40) -> String {
        "{\"name\":\"vdb\",\"kname\":\"vdb\",\"path\":\"/dev/vdb\",\"maj:min\":\"252:16\",\"size\":\(size),"
            + "\"type\":\"disk\",\"ro\":false,\"serial\":\"S1\",\"mountpoints\":[null]\(more)}"
    }

    @Test func freeDisk() throws {
        let found = try #require(try Self.disks(Self.disk(",\"model\":\"  QEMU DISK  \"")).first)
        #expect(found.refusal == nil)
        #expect(found.device == "/dev/vdb")
        #expect(found.id == "serial:S1")
        #expect(found.model == "QEMU DISK")
        #expect(found.sizeBytes == 1 << 40)
    }

    /// lsblk before 2.33 knows no path and no mountpoints, and writes numbers and flags as strings.
    @Test func oldListing() throws {
        let old =
            "{\"name\":\"sdb\",\"kname\":\"sdb\",\"maj:min\":\"8:16\",\"size\":\"1000204886016\",\"type\":\"disk\","
            + "\"ro\":\"0\",\"mountpoint\":null,\"model\":null,\"serial\":\"\",\"wwn\":\"0x5000\"}"
        let found = try #require(try Self.disks(old, Self.examined("sdb")).first)
        #expect(found.refusal == nil)
        #expect(found.device == "/dev/sdb")
        #expect(found.id == "wwn:0x5000")
        #expect(found.sizeBytes == 1_000_204_886_016)
        #expect(found.serial == nil)
        let mounted = old.replacing("\"mountpoint\":null", with: "\"mountpoint\":\"/data\"")
        #expect(try Self.disks(mounted, Self.examined("sdb")).first?.refusal == .mounted(at: ["/data"]))
        let readOnly = old.replacing("\"ro\":\"0\"", with: "\"ro\":\"1\"")
        #expect(try Self.disks(readOnly, Self.examined("sdb")).first?.refusal == .readOnly)
    }

    @Test func mountedDisks() throws {
        #expect(
            try Self.disks(Self.disk().replacing("[null]", with: "[\"/a\",null,\"/b\"]")).first?.refusal
                == .mounted(at: ["/a", "/b"]))
        // A mount that lsblk does not see, in another namespace say.
        let info = "36 35 252:16 / /hidden rw,noatime - xfs /dev/vdb rw\n"
        #expect(
            try Self.disks(Self.disk(), Self.examined("vdb", mountInfo: info)).first?.refusal
                == .mounted(at: ["/hidden"]))
        // Something on it, however deep.
        let deep =
            ",\"children\":[{\"name\":\"vdb1\",\"kname\":\"vdb1\",\"maj:min\":\"252:17\",\"size\":1,\"type\":\"part\","
            + "\"children\":[{\"name\":\"vg-lv\",\"kname\":\"dm-0\",\"maj:min\":\"253:0\",\"size\":1,\"type\":\"lvm\","
            + "\"mountpoints\":[\"/deep\"]}]}]"
        #expect(try Self.disks(Self.disk(deep)).first?.refusal == .mounted(at: ["/deep"]))
    }

    @Test func partitionedDisks() throws {
        let part =
            ",\"children\":[{\"name\":\"vdb1\",\"kname\":\"vdb1\",\"maj:min\":\"252:17\",\"size\":1,\"type\":\"part\"}]"
        let found = try #require(try Self.disks(Self.disk(part)).first)
        #expect(found.refusal == .partitioned(["vdb1"]))
        #expect(found.refusal?.yieldsToSerial == true)
    }

    @Test func signedDisks() throws {
        var facts = Self.examined()
        facts.signatures["vdb"] = BlockDeviceFacts.signatures(
            wipefs: "# offset,uuid,label,type\n0x0,9f2d,,xfs\n0x1fe,,,dos\n0x0,9f2d,,xfs\n")
        let found = try #require(try Self.disks(Self.disk(), facts).first)
        #expect(found.refusal == .signed(["xfs", "dos"]))
        #expect(found.refusal?.yieldsToSerial == true)
        // Nobody could look: nobody may say that it is free.
        #expect(try Self.disks(Self.disk(), Self.examined()).first?.refusal == .notExamined)
    }

    @Test(arguments: ["lvm", "raid1", "crypt", "mpath"])
    func heldDisks(type: String) throws {
        let child =
            ",\"children\":[{\"name\":\"dm-x\",\"kname\":\"dm-0\",\"maj:min\":\"253:0\",\"size\":1,\"type\":\"\(type)\"}]"
        let found = try #require(try Self.disks(Self.disk(child)).first)
        #expect(found.refusal == .held(by: ["dm-x"]))
        #expect(found.refusal?.yieldsToSerial == false)
    }

    @Test func disksThatTheKernelHolds() throws {
        var facts = Self.examined("vdb")
        // A loop whose backing file is the disk, or md that lsblk does not show yet.
        facts.holders["vdb"] = ["loop3"]
        #expect(try Self.disks(Self.disk(), facts).first?.refusal == .held(by: ["loop3"]))
        // Of a partition: the disk is held as well, and that is told before that it has partitions.
        facts.holders = ["vdb1": ["md0"]]
        let part =
            ",\"children\":[{\"name\":\"vdb1\",\"kname\":\"vdb1\",\"maj:min\":\"252:17\",\"size\":1,\"type\":\"part\"}]"
        #expect(try Self.disks(Self.disk(part), facts).first?.refusal == .held(by: ["md0"]))
    }

    @Test func swap() throws {
        #expect(try Self.disks(Self.disk().replacing("[null]", with: "[\"[SWAP]\"]")).first?.refusal == .swap)
        var facts = Self.examined("vdb")
        facts.swaps = BlockDeviceFacts.swaps(
            table: "Filename\t\tType\t\tSize\nUsed\n/dev/vdb1                partition 1 0 -2\n")
        #expect(facts.swaps.contains("/dev/vdb1"))
        let part =
            ",\"children\":[{\"name\":\"vdb1\",\"kname\":\"vdb1\",\"path\":\"/dev/vdb1\",\"maj:min\":\"252:17\",\"size\":1,\"type\":\"part\"}]"
        let found = try #require(try Self.disks(Self.disk(part), facts).first)
        #expect(found.refusal == .swap)
        #expect(found.refusal?.yieldsToSerial == false)
    }

    @Test func devicesThatAreNoDisks() throws {
        for type in ["rom", "raid1", "lvm", "unknown"] {
            let text = Self.disk().replacing("\"type\":\"disk\"", with: "\"type\":\"\(type)\"")
            #expect(try Self.disks(text).first?.refusal == .notADisk(type: type))
        }
        #expect(try Self.disks(Self.disk(size: 0)).isEmpty)
        let small = BlockDevice.sizeBytesMin
        #expect(try Self.disks(Self.disk(size: small - 1)).first?.refusal == .tooSmall(sizeBytes: small - 1))
        #expect(try Self.disks(Self.disk(size: small)).first?.refusal == nil)
    }

    /// A refusal that yields to a typed serial is never shown in place of one that does not.
    @Test func whatIsInUseComesFirst() {
        var disk = BlockDevice(
            device: "/dev/vdb", id: "x", sizeBytes: 1, isReadOnly: true, mountPoints: ["/m"], partitions: ["p"],
            holders: ["h"], signatures: ["xfs"], isSwap: true)
        var refusals: [DiskRefusal?] = []
        refusals.append(disk.refusal)
        disk.mountPoints = []
        refusals.append(disk.refusal)
        disk.isSwap = false
        refusals.append(disk.refusal)
        disk.holders = []
        refusals.append(disk.refusal)
        disk.isReadOnly = false
        refusals.append(disk.refusal)
        disk.sizeBytes = 1 << 40
        refusals.append(disk.refusal)
        disk.partitions = []
        refusals.append(disk.refusal)
        disk.signatures = []
        refusals.append(disk.refusal)
        #expect(
            refusals == [
                .mounted(at: ["/m"]), .swap, .held(by: ["h"]), .readOnly, .tooSmall(sizeBytes: 1), .partitioned(["p"]),
                .signed(["xfs"]), nil,
            ])
    }

    @Test func identityLastsAsLongAsItCan() throws {
        let bare = Self.disk().replacing("\"serial\":\"S1\"", with: "\"serial\":null")
        #expect(try Self.disks(bare).first?.id == "dev:252:16")
        var facts = Self.examined("vdb")
        facts.sequences["vdb"] = "42"
        #expect(try Self.disks(bare, facts).first?.id == "seq:42")
        #expect(try Self.disks(Self.disk(), facts).first?.id == "serial:S1")
        #expect(try Self.disks(Self.disk(",\"wwn\":\"W\""), facts).first?.id == "wwn:W")
    }

    @Test func anotherDiskUnderTheSameName() {
        let shown = BlockDevice(device: "/dev/vdb", id: "serial:A", sizeBytes: 10, serial: "A")
        let choice = DiskChoice(shown)
        #expect(choice.difference(from: shown) == nil)
        for change in [\BlockDevice.id, \.device] as [WritableKeyPath<BlockDevice, String>] {
            var other = shown
            other[keyPath: change] = "other"
            // The name alone says nothing: the kernel may give it anew.
            #expect((choice.difference(from: other) != nil) == (change == \BlockDevice.id))
        }
        var other = shown
        other.serial = nil
        #expect(choice.difference(from: other) != nil)
        other = shown
        other.sizeBytes = 11
        #expect(choice.difference(from: other) != nil)
    }

    @Test(arguments: ["", "{", "[]", "{\"blockdevices\":[{}]}", "{\"blockdevices\":{}}"])
    func listingsThatAreNone(text: String) {
        #expect(throws: (any Error).self) { try Self.listing(text) }
    }
}
