// Goal: files come whole, and can be resumed, from the servers that people have.
// Method: nginx, vsftpd and sshd on loopback; whole files, the rest of files, files that changed in between, and
// what each server says when it refuses. Debian packages: nginx-light vsftpd openssh-server openssl.
import Fetch
import Foundation
import Model
import Testing

@Suite struct RealServers {
    static let image = sample(5_000_001)

    @Suite(.enabled(if: isInstalled(Nginx.program) && isInstalled("/usr/bin/openssl"), "needs nginx-light, openssl"))
    struct HTTP {
        @Test func fetchesAndResumes() throws {
            let server = try Nginx()
            try server.scratch.write("files/image", image)
            let request = FetchRequest.local("http://127.0.0.1:\(server.port)/image")
            let whole = Caught().get(request)
            #expect(whole.error == nil)
            #expect(same(whole.bytes, image))
            #expect(whole.pieces.dropLast().allSatisfy { $0 == 1 << 20 })
            let response = try #require(whole.responses.first)
            #expect(response.totalBytes == 5_000_001 && response.offset == 0)
            let validator = try #require(response.validator)
            #expect(validator.hasPrefix("\""))
            let rest = Caught().get(request, from: 3_000_000, validator: validator)
            #expect(rest.result == FetchResult(response: rest.responses[0], receivedBytes: 2_000_001))
            #expect(
                rest.responses == [
                    FetchResponse(
                        offset: 3_000_000, totalBytes: 5_000_001, contentType: response.contentType,
                        validator: validator)
                ])
            #expect(same(rest.bytes, Array(image[3_000_000...])))
            let nothing = Caught().get(request, from: 5_000_001, validator: validator)
            #expect(nothing.result?.fileBytes == 5_000_001 && nothing.bytes.isEmpty)
        }

        @Test func beginsAgainWhenTheFileChanged() throws {
            let server = try Nginx()
            try server.scratch.write("files/image", image)
            let request = FetchRequest.local("http://127.0.0.1:\(server.port)/image")
            let old = try #require(Caught().get(request).responses.first?.validator)
            let other = sample(2_000_000, seed: 9)
            try server.scratch.write("files/image", other)
            for offset in [UInt64(1_000_000), 2_000_000, 4_000_000] {
                let again = Caught().get(request, from: offset, validator: old)
                #expect(again.responses.map(\.offset) == [0])
                #expect(same(again.bytes, other))
            }
            let without = Caught().get(request, from: 1000, validator: nil)
            #expect(without.responses.map(\.offset) == [0] && same(without.bytes, other))
        }

        @Test func fetchesEmptyFilesAndFollowsRedirects() throws {
            let server = try Nginx()
            try server.scratch.write("files/image", image)
            try server.scratch.write("files/empty", [])
            let empty = Caught().get(.local("http://127.0.0.1:\(server.port)/empty"))
            #expect(empty.result?.fileBytes == 0 && empty.responses.count == 1)
            #expect(same(Caught().get(.local("http://127.0.0.1:\(server.port)/moved")).bytes, image))
        }

        @Test func namesWhatTheServerRefuses() throws {
            let server = try Nginx()
            func words(_ path: String) -> FetchError? {
                Caught().get(.local("http://127.0.0.1:\(server.port)/\(path)")).error
            }
            guard case .fileNotFound = words("nothing") else { return #expect(Bool(false), "404") }
            guard case .accessDenied = words("locked") else { return #expect(Bool(false), "403") }
            guard case .accessDenied = words("asks") else { return #expect(Bool(false), "401") }
            guard case .status(503, 7) = words("busy") else { return #expect(Bool(false), "503") }
        }

        @Test func checksCertificates() throws {
            let server = try Nginx()
            try server.scratch.write("files/image", image)
            var request = FetchRequest.local("https://127.0.0.1:\(server.tlsPort)/image")
            guard case .tls = Caught().get(request).error else { return #expect(Bool(false), "an unknown certificate") }
            request.caFile = server.scratch.path + "/cert.pem"
            let whole = Caught().get(request)
            #expect(same(whole.bytes, image), "\(whole.words)")
            let validator = try #require(whole.responses.first?.validator)
            #expect(Caught().get(request, from: 4_999_999, validator: validator).bytes == Array(image.suffix(2)))
            var renamed = request
            renamed.url = "https://localhost:\(server.tlsPort)/image"
            guard case .tls = Caught().get(renamed).error else {
                return #expect(Bool(false), "a certificate of another name")
            }
            var downgrade = request
            downgrade.url = "https://127.0.0.1:\(server.tlsPort)/downgrade"
            guard case .schemeNotAllowed = Caught().get(downgrade).error else {
                return #expect(Bool(false), "from https to http")
            }
            request.caFile = server.scratch.path + "/absent.pem"
            guard case .local = Caught().get(request).error else { return #expect(Bool(false), "no such file") }
        }

        @Test func stopsAtTheLimitAndOnCancel() throws {
            let server = try Nginx()
            try server.scratch.write("files/image", image)
            var request = FetchRequest.local("http://127.0.0.1:\(server.port)/image")
            request.fileBytesMax = 5_000_000
            guard case .tooLarge(5_000_000) = Caught().get(request).error else {
                return #expect(Bool(false), "too large")
            }
            request.fileBytesMax = 5_000_001
            #expect(Caught().get(request).error == nil)
            guard case .cancelled = Caught().get(request, isCancelled: { true }).error else {
                return #expect(Bool(false), "cancelled")
            }
        }
    }

    @Suite(.enabled(if: isInstalled(Vsftpd.program) && getuid() == 0, "needs vsftpd and root"))
    struct FTP {
        @Test func fetchesResumesAndRefuses() throws {
            let server = try Vsftpd()
            try server.scratch.write("files/image", image)
            let request = FetchRequest.local("ftp://127.0.0.1:\(server.port)/image")
            let whole = Caught().get(request)
            #expect(same(whole.bytes, image), "\(whole.words)")
            let response = try #require(whole.responses.first)
            #expect(response.totalBytes == 5_000_001)
            let validator = try #require(response.validator)
            #expect(validator.hasPrefix("size=5000001;time="))
            let rest = Caught().get(request, from: 3_000_000, validator: validator)
            #expect(
                rest.responses.map(\.offset) == [3_000_000] && same(rest.bytes, Array(image[3_000_000...])),
                "\(rest.words)"
            )
            let nothing = Caught().get(request, from: 5_000_001, validator: validator)
            #expect(nothing.result?.fileBytes == 5_000_001 && nothing.bytes.isEmpty, "\(nothing.words)")
            let other = sample(100_000, seed: 4)
            try server.scratch.write("files/image", other)
            for offset in [UInt64(50_000), 3_000_000] {
                let again = Caught().get(request, from: offset, validator: validator)
                #expect(again.responses.map(\.offset) == [0] && same(again.bytes, other), "\(again.words)")
            }
            guard case .fileNotFound = Caught().get(.local("ftp://127.0.0.1:\(server.port)/none")).error else {
                return #expect(Bool(false), "no such file")
            }
            guard case .accessDenied = Caught().get(.local("ftp://eve:secret@127.0.0.1:\(server.port)/image")).error
            else {
                return #expect(Bool(false), "no such user")
            }
        }
    }

    @Suite(.enabled(if: isInstalled(Sshd.program) && getuid() == 0, "needs openssh-server and root"))
    struct SFTP {
        @Test func fetchesAndResumesFromAKnownHost() throws {
            let server = try Sshd()
            let path = server.scratch.path + "/files/image"
            try server.scratch.write("files/image", image)
            var request = FetchRequest.local("sftp://keeper:open%20sesame@127.0.0.1:\(server.port)\(path)")
            guard case .hostKeyNotKnown(let found, let kind, false)? = Caught().get(request).error else {
                return #expect(Bool(false), "an unknown host")
            }
            #expect(try found == server.fingerprint(kind.lowercased()))
            request.knownHostKeys = [found]
            let whole = Caught().get(request)
            #expect(same(whole.bytes, image), "\(whole.words)")
            let validator = try #require(whole.responses.first?.validator)
            let rest = Caught().get(request, from: 4_000_000, validator: validator)
            #expect(
                rest.responses.map(\.offset) == [4_000_000] && same(rest.bytes, Array(image[4_000_000...])),
                "\(rest.words)"
            )
            let nothing = Caught().get(request, from: 5_000_001, validator: validator)
            #expect(nothing.result?.fileBytes == 5_000_001, "\(nothing.words)")
            try server.scratch.write("files/image", Array(image.dropLast()))
            let again = Caught().get(request, from: 4_000_000, validator: validator)
            #expect(again.responses.map(\.offset) == [0] && again.bytes.count == 5_000_000, "\(again.words)")
            request.knownHostKeys = ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
            guard case .hostKeyNotKnown(found, _, true)? = Caught().get(request).error else {
                return #expect(Bool(false), "another host's key")
            }
        }

        @Test func takesKeysInEveryForm() throws {
            let server = try Sshd()
            let path = server.scratch.path + "/files/image"
            try server.scratch.write("files/image", image)
            let keys = try ["ed25519", "ecdsa"].map {
                try String(contentsOfFile: server.scratch.path + "/\($0).pub", encoding: .utf8)
            }
            var request = FetchRequest.local("sftp://127.0.0.1:\(server.port)\(path)")
            request.userName = "keeper"
            request.password = "open sesame"
            request.knownHostKeys = keys
            #expect(same(Caught().get(request).bytes, image))
            request.knownHostKeys = keys.map { "[127.0.0.1]:\(server.port) \($0)" }
            #expect(same(Caught().get(request).bytes, image))
            request.knownHostKeys = []
            guard case .hostKeyNotKnown(let found, _, _)? = Caught().get(request).error else {
                return #expect(Bool(false), "an unknown host")
            }
            let inURL = found.replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "+", with: "-")
                .replacingOccurrences(of: "SHA256:", with: "SHA256-")
            let url = "sftp://keeper;fingerprint=\(inURL):open%20sesame@127.0.0.1:\(server.port)\(path)"
            #expect(same(Caught().get(.local(url)).bytes, image), "\(Caught().get(.local(url)).words)")
        }

        @Test func namesWhatTheServerRefuses() throws {
            let server = try Sshd()
            var request = FetchRequest.local("sftp://keeper:wrong@127.0.0.1:\(server.port)/etc/hostname")
            request.knownHostKeys = [try server.fingerprint("ed25519"), try server.fingerprint("ecdsa")]
            guard case .accessDenied = Caught().get(request).error else {
                return #expect(Bool(false), "a wrong password")
            }
            request.password = "open sesame"
            request.url = "sftp://keeper@127.0.0.1:\(server.port)/nothing/here"
            let none = Caught().get(request)
            guard case .fileNotFound = none.error else { return #expect(Bool(false), "no such file: \(none.words)") }
        }
    }
}
