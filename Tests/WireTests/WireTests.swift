// Goal: the handshake is frozen, and the JSON of every verb stays what it is.
// Method: bytes and texts written here by hand.
import Model
import Testing
import Wire

struct HelloTests {
    private func peer(_ role: PeerRole) throws -> PeerIdentity {
        PeerIdentity(role: role, id: try PeerID(parsing: "01234567-89ab-4cde-8f01-23456789abcd"))
    }

    @Test func helloIsFrozen() throws {
        let hello = Hello(identity: try peer(.controller), softwareVersion: "0.1.0", versionMin: 1, versionMax: 1)
        #expect(hello.frame().payload == GoldenFrames.hello)
        #expect(try Hello(payload: GoldenFrames.hello) == hello)
        // Later versions may add fields behind; they are skipped.
        #expect(try Hello(payload: GoldenFrames.hello + [1, 2, 3]) == hello)
    }

    @Test func versionsAreAgreed() throws {
        let mine = try Hello(payload: GoldenFrames.hello)
        #expect(try mine.agreed(with: Hello(payload: GoldenFrames.helloOfNewerAgent)) == .one)
        let other = Hello(identity: try peer(.agent), softwareVersion: "9", versionMin: 2, versionMax: 4)
        #expect(throws: WireError.self) { try mine.agreed(with: other) }
    }

    @Test func badHellosAreRefused() throws {
        let good = GoldenFrames.hello
        for count in 0..<good.count {
            #expect(throws: WireError.self, "\(count) bytes") { try Hello(payload: Array(good[..<count])) }
        }
        for (place, value) in [(0, UInt8(0)), (0, 9), (4, 0), (4, 3), (5, 65), (22, 0x1b), (22, 0xff)] {
            var bytes = good
            bytes[place] = value
            #expect(throws: WireError.self, "byte \(place) = \(value)") { try Hello(payload: bytes) }
        }
    }
}

struct MessageTests {
    static let id = "01234567-89ab-4cde-8f01-23456789abcd"
    static let digest = "sha256:" + String(repeating: "ab", count: 32)

    private func check<V: AgentVerb & Equatable>(_ verb: V, _ json: String) throws {
        try check(verb, json) { $0 == verb }
    }

    private func check<V: AgentVerb>(_ verb: V, _ json: String, _ isSame: (V) -> Bool = { _ in true }) throws {
        let expected = #"{"arguments":"# + json + #","verb":""# + V.name + #""}"#
        let body = try Messages.request(verb)
        #expect(String(decoding: body, as: UTF8.self) == expected)
        #expect(try Messages.verbName(body) == V.name)
        let read = try Messages.arguments(of: V.self, from: body)
        #expect(try Messages.request(read) == body)
        #expect(isSame(read))
    }

    @Test func verbsOfStatusAndCertificates() throws {
        try check(StatusVerb(), "{}")
        try check(
            ConfigureVerb(
                reservedCapacityBytes: 1 << 30, blobUploadConcurrency: .standard,
                blobDownloadConcurrency: BlobConcurrency(16), sessionExpiryHours: 24),
            #"{"blobDownloadConcurrency":16,"blobUploadConcurrency":1,"#
                + #""reservedCapacityBytes":1073741824,"sessionExpiryHours":24}"#)
        try check(CertificateRequestVerb(), "{}")
        try check(
            InstallCertificateVerb(certificatePEM: "a/b", authorityPEM: "c"),
            #"{"authorityPEM":"c","certificatePEM":"a/b"}"#)
    }

    @Test func verbsOfImages() throws {
        let id = MessageTests.id
        let declaration = ImageDeclaration(
            id: try ImageID(parsing: id), name: "n", description: "d", type: .system, format: .qcow2,
            createdAt: try Timestamp(parsing: "2026-01-31T12:00:00Z"))
        let declared =
            #"{"createdAt":"2026-01-31T12:00:00.000Z","description":"d","format":"qcow2","id":""# + id
            + #"","name":"n","type":"system"}"#
        let session = try SessionID(parsing: id)
        try check(
            IngestVerb(
                session: session, declaration: declaration,
                source: .url(
                    URLSource(
                        url: "https://h/p", deniedNetworks: [CIDR(parsing: "10.0.0.0/8")], allowsPrivateNetworks: true)),
                checksum: try Digest(parsing: MessageTests.digest)),
            #"{"checksum":""# + MessageTests.digest + #"","declaration":"# + declared + #","session":""# + id
                + #"","source":{"url":{"_0":{"allowsPrivateNetworks":true,"deniedNetworks":["10.0.0.0/8"],"#
                + #""url":"https://h/p"}}}}"#)
        try check(
            IngestVerb(session: session, declaration: declaration, source: .hostPath("/a"), checksum: nil),
            #"{"declaration":"# + declared + #","session":""# + id + #"","source":{"hostPath":{"_0":"/a"}}}"#)
        try check(AbandonVerb(session: session), #"{"session":""# + id + #""}"#)
        try check(ListImagesVerb(), "{}")
        try check(ListImagesVerb(after: try ImageID(parsing: id)), #"{"after":""# + id + #""}"#)
        try check(ListLooseFilesVerb(), "{}")
        try check(
            UpdateImageVerb(id: try ImageID(parsing: id), imageName: "n", description: ""),
            #"{"description":"","id":""# + id + #"","imageName":"n"}"#)
        try check(RemoveImageVerb(id: try ImageID(parsing: id)), #"{"id":""# + id + #""}"#)
        try check(
            ContentInfoVerb(id: try ImageID(parsing: id), format: .raw), #"{"format":"raw","id":""# + id + #""}"#)
        try check(
            ReadContentVerb(id: try ImageID(parsing: id), format: .qcow2, offset: 5, byteCount: 1 << 40),
            #"{"byteCount":1099511627776,"format":"qcow2","id":""# + id + #"","offset":5}"#)
    }

    @Test func verbsOfUploads() throws {
        let id = try UploadID(parsing: MessageTests.id)
        let text = #""id":""# + MessageTests.id + #"""#
        try check(CreateUploadVerb(id: id, byteCount: 7), #"{"byteCount":7,"# + text + "}")
        try check(UploadStandingVerb(id: id), "{" + text + "}")
        try check(WriteUploadVerb(id: id, offset: 3), "{" + text + #","offset":3}"#)
        try check(RemoveUploadVerb(id: id), "{" + text + "}")
    }

    @Test func progressAndFailures() throws {
        let progress = VerbProgress(phase: .slice, doneBytes: 1, totalBytes: nil, reusedBytes: 2, transferredBytes: 3)
        #expect(
            String(decoding: try Messages.encode(progress), as: UTF8.self)
                == #"{"doneBytes":1,"phase":"slice","reusedBytes":2,"transferredBytes":3}"#)
        let failure = AgentFailure(code: .noSpace, detail: "full", isRetryable: true)
        #expect(
            String(decoding: try Messages.encode(failure), as: UTF8.self)
                == #"{"code":"image-storage-full","detail":"full","isRetryable":true}"#)
        let newer = Array(#"{"code":"moon-too-full","detail":"x","isRetryable":false,"more":1}"#.utf8)
        #expect(try Messages.decode(AgentFailure.self, from: newer).code == .internal)
    }

    @Test func badMessagesAreRefused() {
        for text in ["", "{", "[]", #"{"verb":7}"#, #"{"arguments":{}}"#, "\u{0}", String(repeating: "[", count: 9000)]
        {
            #expect(throws: WireError.self, "\(text.prefix(20))") { try Messages.verbName(Array(text.utf8)) }
        }
        let long = [UInt8](repeating: 0x20, count: WireLimits.messageByteCountMax + 1)
        #expect(throws: WireError.self) { try Messages.verbName(long) }
    }
}
