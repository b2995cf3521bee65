// Goal: every value that an outsider can type is accepted exactly when its rule says so.
// Method: tables of texts against verdicts, and round trips.
import Model
import Testing

@Suite struct AddressTests {
    @Test(arguments: [
        ("10.0.0.1", "10.0.0.1"), ("255.255.255.255", "255.255.255.255"), ("::1", "::1"), ("::", "::"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("fe80::1:2", "fe80::1:2"), ("::ffff:10.0.0.1", "10.0.0.1"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ])
    func isRead(text: String, canonical: String) throws {
        #expect(try IPAddress(parsing: text).description == canonical)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.+4", " 1.2.3.4", "0x7f.1.1.1", ":::", "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "12345::", "g::", "::1%eth0", "[::1]", "1.2.3.4::", "::1.2.3.4.5",
    ])
    func isRefused(text: String) {
        #expect(throws: InvalidValue.self) { try IPAddress(parsing: text) }
    }

    @Test func classes() throws {
        #expect(try IPAddress(parsing: "127.9.9.9").isLoopback)
        #expect(try IPAddress(parsing: "::ffff:127.0.0.1").isLoopback)
        #expect(try IPAddress(parsing: "::ffff:169.254.169.254").isLinkLocal)
        #expect(try IPAddress(parsing: "fe80::1").isLinkLocal)
        #expect(try IPAddress(parsing: "100.64.0.1").isPrivate)
        #expect(try !IPAddress(parsing: "8.8.8.8").isPrivate)
        #expect(try IPAddress(parsing: "239.1.1.1").isMulticast)
    }

    @Test func networks() throws {
        let network = try CIDR(parsing: "10.1.2.0/23")
        #expect(network.contains(try IPAddress(parsing: "10.1.3.255")))
        #expect(!network.contains(try IPAddress(parsing: "10.1.4.0")))
        #expect(!network.contains(try IPAddress(parsing: "::1")))
        #expect(try CIDR(parsing: "fd00::/8").contains(IPAddress(parsing: "fdff::1")))
        #expect(try CIDR(parsing: "10.0.0.1/32").contains(IPAddress(parsing: "10.0.0.1")))
    }

    @Test(arguments: [
        "10.1.2.3/24", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/0", "10.0.0.0/+8", "/8", "x/8",
        "10.0.0.0/8/8",
    ])
    func networkIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try CIDR(parsing: text) }
    }
}

@Suite struct NameTests {
    @Test func isNormalised() throws {
        // "é" as a letter and an accent becomes one character.
        #expect(try Array(ResourceName("e\u{301}").text.unicodeScalars).count == 1)
        #expect(try ResourceName(String(repeating: "é", count: 128)).text.count == 128)
    }

    @Test(arguments: [
        "", " a", "a ", "a\nb", "a\u{0}b", "a\u{202e}b", "a\u{2066}b", "a\u{7f}", "\u{feff}a",
        String(repeating: "x", count: 129),
    ])
    func isRefused(text: String) {
        #expect(throws: InvalidValue.self) { try ResourceName(text) }
    }

    @Test func aFloodOfAccentsIsNoCharacter() {
        #expect(throws: InvalidValue.self) { try ResourceName("e" + String(repeating: "\u{301}", count: 100_000)) }
    }

    @Test(arguments: ["h1", "host-1.example.org", "10.0.0.1", "fd00::1", "xn--bcher-kva.example"])
    func hostIsAccepted(text: String) throws { _ = try HostAddress(text) }

    @Test(arguments: [
        "", "-h", "h-", "a..b", "a b", "10.0.0.300", "1.2.3", "h;id", "$(id)", "a_b", "é",
        String(repeating: "a", count: 64), "-oProxyCommand=x",
    ])
    func hostIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try HostAddress(text) }
    }

    @Test(arguments: ["", "1a", "-a", "a b", "a;b", "root:x", String(repeating: "a", count: 33)])
    func userIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try UserName(text) }
    }

    @Test func aSecretDoesNotShow() {
        let secret = Secret("hunter2")
        #expect(!"\(secret)".contains("hunter2"))
        #expect(!String(reflecting: secret).contains("hunter2"))
        var dumped = ""
        dump(secret, to: &dumped)
        #expect(!dumped.contains("hunter2"))
    }
}

@Suite struct MountPathTests {
    @Test(arguments: [
        "/lamina", "/srv/images", "/mnt/disk1", "/data/", "/home/ops/images", "/var/lamina", "/opt/store", "/usr1",
    ])
    func isAccepted(text: String) throws {
        #expect(try !MountPath(text).text.hasSuffix("/"))
    }

    @Test(arguments: [
        "", "relative", "/", "//", "/etc", "/etc/", "/etc/x", "/usr/local/x", "/bin", "/boot/x", "/dev/shm", "/proc/1",
        "/sys/x",
        "/root/x", "/run/x", "/sbin", "/tmp/x", "/lib/x", "/lib64", "/home", "/opt", "/var", "/var/lib/x", "/mnt",
        "/a//b", "/a/../etc", "/a/./b",
        "/a b", "/a\nb", "/a;b", "/ä", "/opt/lamina-agent/x",
    ])
    func isRefused(text: String) {
        #expect(throws: InvalidValue.self) { try MountPath(text) }
    }

    @Test func lengthIsBounded() throws {
        _ = try MountPath("/" + String(repeating: "a", count: 254))
        #expect(throws: InvalidValue.self) { try MountPath("/" + String(repeating: "a", count: 255)) }
    }
}

@Suite struct TimeAndIdTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", Int64(0)), ("2026-01-31T12:00:00.250Z", 1_769_860_800_250),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000),
        ("2026-01-31T12:00:00+02:00", 1_769_853_600_000), ("1969-12-31T23:59:59.999Z", -1),
        ("2100-03-01T00:00:00Z", 4_107_542_400_000),
    ])
    func timeIsRead(text: String, milliseconds: Int64) throws {
        let time = try Timestamp(parsing: text)
        #expect(time.milliseconds == milliseconds)
        #expect(try Timestamp(parsing: time.description) == time)
    }

    @Test(arguments: [
        "", "2026", "2026-13-01T00:00:00Z", "2026-01-01 00:00", "2026-01-01T00:00:00", "2026-01-01T25:00:00Z",
        "2026-01-01T00:00:00ZZ",
    ])
    func timeIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try Timestamp(parsing: text) }
    }

    @Test func idIsAUUIDOfVersionFour() throws {
        var generator = SystemRandomNumberGenerator()
        let id = ImageID(using: &generator)
        let text = Array(id.description)
        #expect(text.count == 36 && text[14] == "4" && "89ab".contains(text[19]))
        #expect(try ImageID(parsing: id.description) == id)
        #expect(try ImageID(parsing: id.description.uppercased()) == id)
        #expect(ImageID(bytes: id.bytes) == id)
    }

    @Test(arguments: [
        "", "x", "01234567-89ab-4cde-8f01-23456789abc", "0123456789ab4cde8f0123456789abcd",
        "g1234567-89ab-4cde-8f01-23456789abcd",
    ])
    func idIsRefused(text: String) {
        #expect(throws: InvalidValue.self) { try ImageID(parsing: text) }
    }

    @Test func digestOfTheStandard() throws {
        // FIPS 180-4's example "abc".
        let abc = Digest.sha256(Array("abc".utf8))
        #expect(abc.hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(try Digest(parsing: abc.description) == abc)
        var hasher = SHA256Hasher()
        hasher.update(Array("a".utf8))
        _ = hasher.current()
        hasher.update(Array("bc".utf8))
        #expect(hasher.current() == abc)
        #expect(Digest(bytes: abc.bytes) == abc)
        #expect(throws: InvalidValue.self) { try Digest(parsing: "sha256:00") }
    }
}
