// Goal: a server cannot make this host visit what it must not, take a cut file for a whole one, or hang.
// Method: a scripted server gives the answers that honest servers do not give.
import Fetch
import Foundation
import Model
import Testing

@Suite struct HostileServers {
    static func reply(_ status: String, _ headers: [String] = [], _ body: String = "") -> String {
        (["HTTP/1.1 \(status)"] + headers + ["Connection: close", "", body]).joined(separator: "\r\n")
    }

    @Test(arguments: [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://127.1/", "http://0x7f000001/",
        "http://2130706433/", "http://169.254.169.254/latest/meta-data/", "http://0xA9FEA9FE/",
        "http://[::ffff:169.254.169.254]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://0.0.0.0/", "http://[::]/", "http://224.0.0.1/",
        "http://255.255.255.255/", "https://127.0.0.1/", "ftp://127.0.0.1/file", "sftp://127.0.0.1/file",
    ])
    func deniesAddressesByDefault(_ url: String) {
        let caught = Caught().get(FetchRequest(url: url, connectSeconds: 5))
        guard case .addressDenied = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(caught.responses.isEmpty)
    }

    @Test func deniesPrivateNetworksWhenTold() {
        for url in [
            "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://100.64.0.1/", "http://[fd00::1]/",
        ] {
            let policy = AddressPolicy(allowsPrivateNetworks: false)
            let caught = Caught().get(FetchRequest(url: url, addresses: policy, connectSeconds: 5))
            guard case .addressDenied = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        }
    }

    @Test func deniesPorts() throws {
        let server = try ScriptedServer(http: { _, connection in connection.send(Self.reply("200 OK")) })
        var request = FetchRequest.local(server.url())
        request.addresses.deniedPorts = [server.port]
        guard case .addressDenied(_, server.port) = Caught().get(request).error else { return #expect(Bool(false)) }
        #expect(server.requests.isEmpty)
    }

    @Test(arguments: [
        "file:///etc/passwd", "gopher://127.0.0.1/", "scp://127.0.0.1/x", "dict://127.0.0.1/", "ldap://127.0.0.1/",
    ])
    func deniesSchemes(_ url: String) throws {
        guard case .schemeNotAllowed = Caught().get(.local(url)).error else { return #expect(Bool(false), "first hop") }
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("302 Found", ["Location: \(url)"]))
        })
        let caught = Caught().get(.local(server.url()))
        guard case .schemeNotAllowed = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(caught.bytes.isEmpty)
    }

    @Test func deniesRedirectsToFTP() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("302 Found", ["Location: ftp://127.0.0.1/x"]))
        })
        guard case .schemeNotAllowed = Caught().get(.local(server.url())).error else { return #expect(Bool(false)) }
    }

    @Test func deniesRedirectsToTheMetadataService() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("302 Found", ["Location: http://169.254.169.254/latest/meta-data/"]))
        })
        let caught = Caught().get(.local(server.url(), denied: ["169.254.0.0/16"]))
        guard case .addressDenied = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(caught.words == "the address 169.254.169.254, port 80, must not be fetched from")
    }

    @Test func followsFiveRedirectsAndNoMore() throws {
        let server = try ScriptedServer(http: { head, connection in
            let left = Int(head[0].split(separator: " ")[1].dropFirst()) ?? 0
            connection.send(
                left == 0
                    ? Self.reply("200 OK", ["Content-Length: 2"], "ok")
                    : Self.reply("302 Found", ["Location: /\(left - 1)"]))
        })
        #expect(Caught().get(.local(server.url("/5"))).bytes == Array("ok".utf8))
        guard case .tooManyRedirects(5) = Caught().get(.local(server.url("/6"))).error else {
            return #expect(Bool(false))
        }
        let loop = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("301 Moved", ["Location: /again"]))
        })
        guard case .tooManyRedirects(5) = Caught().get(.local(loop.url())).error else { return #expect(Bool(false)) }
        #expect(loop.requests.count == 6)
    }

    @Test func keepsCredentialsFromOtherHosts() throws {
        let other = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Content-Length: 2"], "ok"))
        })
        let first = try ScriptedServer(http: { [port = other.port] _, connection in
            connection.send(Self.reply("302 Found", ["Location: http://localhost:\(port)/file"]))
        })
        let caught = Caught().get(.local("http://keeper:secret@127.0.0.1:\(first.port)/file"))
        #expect(caught.bytes == Array("ok".utf8), "\(caught.words)")
        #expect(first.requests.first?.contains { $0.hasPrefix("Authorization: Basic ") } == true)
        #expect(
            other.requests.first?.contains {
                $0.lowercased().hasPrefix("authorization") || $0.contains("secret") || $0.contains("keeper")
            } == false)
    }

    /// The passive answer of an FTP server names a port of this deployment.
    @Test func checksTheDataConnectionOfFTP() throws {
        let victim = try ScriptedServer(http: { _, _ in })
        let server = try ScriptedServer { [port = victim.port] connection in
            connection.send("220 hello\r\n")
            while let line = connection.line() {
                switch line.split(separator: " ").first {
                case "USER": connection.send("230 in\r\n")
                case "PWD": connection.send("257 \"/\"\r\n")
                case "EPSV": connection.send("229 entering (|||\(port)|)\r\n")
                case "PASV": connection.send("227 entering (169,254,169,254,\(port >> 8),\(port & 255))\r\n")
                case "QUIT": return connection.send("221 bye\r\n")
                default: connection.send("200 fine\r\n")
                }
            }
        }
        var request = FetchRequest.local(server.url(scheme: "ftp"))
        request.addresses.deniedPorts = [victim.port]
        let caught = Caught().get(request)
        guard case .addressDenied(_, victim.port) = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(victim.requests.isEmpty)
    }

    @Test func seesThatAFileWasCut() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(
                Self.reply(
                    "200 OK", ["Content-Length: 1000000", "ETag: \"a\""], String(repeating: "x", count: 300_000)))
        })
        let caught = Caught().get(.local(server.url()))
        guard case .truncated(300_000, 1_000_000) = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(caught.error?.isRetryable == true)
        #expect(caught.bytes.count == 300_000, "what came is right and may be kept")
        #expect(caught.responses.first?.validator == "\"a\"")
    }

    @Test func seesThatAChunkedFileWasCut() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Transfer-Encoding: chunked"], "5\r\nhello\r\n"))
        })
        let caught = Caught().get(.local(server.url()))
        #expect(caught.error?.isRetryable == true, "\(caught.words)")
    }

    @Test func resumesAfterACutUntilItIsWhole() throws {
        let file = sample(1_000_000)
        let server = try ScriptedServer(http: { head, connection in
            let range = head.first { $0.hasPrefix("Range: bytes=") }.flatMap { Int($0.dropFirst(13).dropLast()) } ?? 0
            let status = range == 0 ? "200 OK" : "206 Partial Content"
            var headers = ["Content-Length: \(file.count - range)", "ETag: \"v1\""]
            if range > 0 { headers.append("Content-Range: bytes \(range)-\(file.count - 1)/\(file.count)") }
            connection.send(Self.reply(status, headers))
            connection.send(Array(file[range..<min(range + 300_000, file.count)]))
        })
        let caught = Caught()
        let policy = RetryPolicy()
        for _ in 0..<4 {
            caught.get(
                .local(server.url()), from: UInt64(caught.bytes.count), validator: caught.responses.last?.validator)
            guard let error = caught.error else { break }
            #expect(policy.pause(after: error, failures: 1, spread: 0) == .milliseconds(500))
        }
        #expect(same(caught.bytes, file))
        #expect(caught.responses.map(\.offset) == [0, 300_000, 600_000, 900_000])
        #expect(server.requests.dropFirst().allSatisfy { $0.contains("If-Range: \"v1\"") })
    }

    @Test func beginsAgainWhenTheServerIgnoresTheVersion() throws {
        let server = try ScriptedServer(http: { head, connection in
            let isPartial = head.contains { $0.hasPrefix("Range:") }
            connection.send(
                isPartial
                    ? Self.reply(
                        "206 Partial Content", ["Content-Length: 1", "Content-Range: bytes 2-2/3", "ETag: \"new\""], "c"
                    )
                    : Self.reply("200 OK", ["Content-Length: 3", "ETag: \"new\""], "abc"))
        })
        let caught = Caught().get(.local(server.url()), from: 2, validator: "\"old\"")
        #expect(caught.responses.map(\.offset) == [0] && caught.bytes == Array("abc".utf8))
    }

    @Test func refusesAPartThatBeginsElsewhere() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(
                Self.reply(
                    "206 Partial Content", ["Content-Length: 2", "Content-Range: bytes 1-2/3", "ETag: \"v\""], "bc"))
        })
        let caught = Caught().get(.local(server.url()), from: 2, validator: "\"v\"")
        guard case .protocolViolation = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        let unasked = Caught().get(.local(server.url()))
        guard case .status(206, _) = unasked.error else { return #expect(Bool(false), "\(unasked.words)") }
    }

    @Test func doesNotTrustWeakVersions() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Content-Length: 3", "ETag: W/\"v\""], "abc"))
        })
        let caught = Caught().get(.local(server.url()))
        #expect(caught.responses.first?.validator == nil)
        Caught().get(.local(server.url()), from: 1, validator: "x\r\nHost: elsewhere")
        #expect(server.requests.last?.contains { $0.hasPrefix("Range:") || $0.contains("elsewhere") } == false)
    }

    @Test func givesUpOnASlowServer() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Content-Length: 100"], "abc"))
            connection.hold()
        })
        var request = FetchRequest.local(server.url())
        request.slowSeconds = 1
        let caught = Caught().get(request)
        guard case .tooSlow = caught.error else { return #expect(Bool(false), "\(caught.words)") }
        #expect(caught.bytes == Array("abc".utf8))
    }

    @Test func canBeCancelledWhileNothingComes() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Content-Length: 100"], "abc"))
            connection.hold()
        })
        let start = ContinuousClock.now
        let caught = Caught().get(
            .local(server.url()), isCancelled: { ContinuousClock.now - start > .milliseconds(300) })
        guard case .cancelled = caught.error else { return #expect(Bool(false), "\(caught.words)") }
    }

    @Test func stopsAnEndlessFile() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK"))
            for _ in 0..<100 { connection.send([UInt8](repeating: 1, count: 100_000)) }
        })
        var request = FetchRequest.local(server.url())
        request.fileBytesMax = 3_000_000
        guard case .tooLarge(3_000_000) = Caught().get(request).error else { return #expect(Bool(false)) }
    }

    @Test func stopsAnEndlessHead() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send("HTTP/1.1 200 OK\r\n")
            for index in 0..<100_000 { connection.send("X-\(index): y\r\n") }
        })
        #expect(Caught().get(.local(server.url())).error != nil)
    }

    struct Full: Error {}

    @Test func endsWhenTheReceiverFails() throws {
        let server = try ScriptedServer(http: { _, connection in
            connection.send(Self.reply("200 OK", ["Content-Length: 3000000"]))
            connection.send([UInt8](repeating: 1, count: 3_000_000))
        })
        do {
            _ = try Fetch.get(.local(server.url()), onResponse: { _ in }, onBytes: { _ in throw Full() })
            #expect(Bool(false), "it throws")
        } catch {
            guard case .receiver(let cause) = error else { return #expect(Bool(false), "\(error)") }
            #expect(cause is Full)
        }
    }

    @Test func saysWhenNobodyIsThere() throws {
        let port = try Loopback.freePort()
        let closed = Caught().get(.local("http://127.0.0.1:\(port)/")).error
        guard case .notConnected? = closed else { return #expect(Bool(false)) }
        #expect(closed?.isRetryable == true)
        guard
            case .hostNotFound(host: "no-such-host.invalid") = Caught().get(.local("http://no-such-host.invalid/"))
                .error
        else {
            return #expect(Bool(false))
        }
        let mute = try ScriptedServer(http: { _, _ in })
        guard case .interrupted = Caught().get(.local(mute.url())).error else { return #expect(Bool(false)) }
    }
}
