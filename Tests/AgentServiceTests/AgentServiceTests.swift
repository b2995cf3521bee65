// Goal: every verb does what it says over a real link and a real store, whatever is cut, repeated or refused.
// Method: an agent with a slice store in a temporary directory, TLS on the loopback, and the controller's own calls.
import AgentLink
import AgentService
import Glibc
import Model
import SliceStorage
import Synchronization
import Testing
import Wire

@Suite(.timeLimit(.minutes(2)))
struct ImageVerbTests {
    @Test func anImageFromAHostPathComesBack() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(9)
        try host.write(bytes, to: host.imports + "/disk.raw")
        let verb = IngestVerb(
            session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1),
            source: .hostPath(host.imports + "/disk.raw"), checksum: Digest.sha256(bytes))
        let seen = Mutex<[VerbProgress]>([])
        let reply = try await host.ingest(verb) { progress in seen.withLock { $0.append(progress) } }
        #expect(reply.facts.declaration == verb.declaration)
        #expect(reply.facts.sourceDigest == Digest.sha256(bytes))
        #expect(reply.facts.sourceSizeBytes == UInt64(bytes.count))
        #expect(reply.facts.virtualSizeBytes == UInt64(bytes.count))
        #expect(seen.withLock { $0.last?.phase } == .commit)
        // Asked again, with the same session, by this agent and by the next one.
        #expect(try await host.ingest(verb).facts == reply.facts)
        try await host.restart()
        #expect(try await host.ingest(verb).facts == reply.facts)

        let id = verb.declaration.id
        #expect(try await host.content(id, .raw) == bytes)
        #expect(try await host.content(id, .raw, 1_048_000..<1_049_000) == Array(bytes[1_048_000..<1_049_000]))
        #expect(try await host.content(id, .raw, 5..<5) == [])
        let code = await host.failure {
            _ = try await host.calls.receive(
                ReadContentVerb(id: id, format: .raw, offset: 1, byteCount: UInt64(bytes.count)), from: host.address
            ) { _ in }
        }
        #expect(code == .badRequest)

        let listed = try await host.calls.call(ListImagesVerb(), to: host.address)
        #expect(listed.images == [reply.facts] && !listed.hasMore)
        #expect(try await host.calls.call(ListImagesVerb(after: id), to: host.address).images.isEmpty)
        let status = try await host.calls.call(StatusVerb(), to: host.address)
        #expect(status.usage.images == 1 && !status.isDraining && status.degradedReason == nil)
        let renamed = try await host.calls.call(
            UpdateImageVerb(id: id, imageName: "new", description: "d"), to: host.address)
        #expect(renamed.declaration.name == "new")
        for _ in 0..<2 { _ = try await host.calls.call(RemoveImageVerb(id: id), to: host.address) }
        #expect(
            await host.failure { _ = try await host.content(id, .raw) } == .imageNotFound)
        await host.end()
    }

    @Test(arguments: [ImageFormat.qcow2, .vmdk])
    func aContainerGoesOutAndComesBackAsTheSameContent(_ format: ImageFormat) async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(6)
        try host.write(bytes, to: host.imports + "/disk.raw")
        let first = try await host.ingest(
            IngestVerb(
                session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1),
                source: .hostPath(host.imports + "/disk.raw"), checksum: nil))
        let file = try await host.content(first.facts.declaration.id, format)
        let upload = UploadID(random: (9, 9))
        _ = try await host.calls.call(CreateUploadVerb(id: upload, byteCount: UInt64(file.count)), to: host.address)
        _ = try await host.upload(upload, file)
        let second = try await host.ingest(
            IngestVerb(
                session: SessionID(random: (2, 2)), declaration: TestHost.declaration(2, format, .system),
                source: .upload(upload), checksum: Digest.sha256(file)))
        #expect(second.facts.contentDigest == first.facts.contentDigest)
        #expect(second.facts.virtualSizeBytes == first.facts.virtualSizeBytes)
        #expect(try await host.content(second.facts.declaration.id, .raw) == bytes)
        // The upload has become an image.
        #expect(
            await host.failure {
                _ = try await host.calls.call(UploadStandingVerb(id: upload), to: host.address)
            } == .uploadNotFound)
        await host.end()
    }

    @Test func hostPathsOutsideAreRefused() async throws {
        let host = try await TestHost()
        try host.write([1, 2, 3], to: host.directory + "/outside.raw")
        symlink(host.directory + "/outside.raw", host.imports + "/link.raw")
        symlink(host.directory, host.imports + "/up")
        mkdir(host.imports + "/directory.raw", 0o755)
        mkfifo(host.imports + "/pipe.raw", 0o644)
        let bad = [
            "", "disk.raw", "/etc/passwd", host.directory + "/outside.raw", host.imports,
            host.imports + "/../outside.raw", host.imports + "/./x", host.imports + "//x", host.imports + "/link.raw",
            host.imports + "/up/outside.raw", host.imports + "/directory.raw", host.imports + "/pipe.raw",
            host.imports + "/missing.raw", host.imports + "x/disk.raw", host.mount,
            // What lies in the store is the store's alone.
            host.mount + "/lamina", host.mount + "/lamina/STORE", host.mount + "/lamina/../outside.raw",
        ]
        for (number, path) in bad.enumerated() {
            let code = await host.failure {
                _ = try await host.ingest(
                    IngestVerb(
                        session: SessionID(random: (5, UInt64(number))), declaration: TestHost.declaration(1),
                        source: .hostPath(path), checksum: nil))
            }
            #expect(code == .hostPathRefused, "\(path)")
        }
        await host.end()
    }

    @Test func fileBelowTheMountPathIsTaken() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(1)
        mkdir(host.mount + "/sub", 0o755)
        try host.write(bytes, to: host.mount + "/sub/deep.raw")
        let reply = try await host.ingest(
            IngestVerb(
                session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1),
                source: .hostPath(host.mount + "/sub/deep.raw"), checksum: nil))
        #expect(reply.facts.sourceDigest == Digest.sha256(bytes))
        await host.end()
    }

    @Test func looseFilesAreFoundAndTakenIn() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(1)
        try host.write(bytes, to: host.mount + "/old.raw")
        try host.write([1], to: host.mount + "/notes.txt")
        mkdir(host.mount + "/dir.iso", 0o755)
        symlink(host.mount + "/old.raw", host.mount + "/link.raw")
        let files = try await host.calls.call(ListLooseFilesVerb(), to: host.address).files
        #expect(
            files == [
                ListLooseFilesVerb.File(path: host.mount + "/old.raw", format: .raw, sizeBytes: UInt64(bytes.count))
            ])
        let reply = try await host.ingest(
            IngestVerb(
                session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1),
                source: .hostPath(files[0].path),
                checksum: nil))
        #expect(reply.facts.sourceDigest == Digest.sha256(bytes))
        #expect(access(host.mount + "/old.raw", F_OK) == 0)
        await host.end()
    }

    @Test func refusedFilesLeaveNoImage() async throws {
        let host = try await TestHost()
        try host.write(Array("<!DOCTYPE html><html><body>sorry</body></html>".utf8), to: host.imports + "/page.raw")
        try host.write(Array("QFI\u{fb}".utf8), to: host.imports + "/broken.qcow2")
        try host.write(TestHost.disk(1), to: host.imports + "/disk.raw")
        let cases: [(String, ImageFormat, Digest?, AgentFailure.Code)] = [
            ("page.raw", .raw, nil, .imageFormatMismatch), ("disk.raw", .qcow2, nil, .imageFormatMismatch),
            ("disk.raw", .raw, Digest.sha256([1]), .checksumMismatch),
        ]
        for (number, (name, format, checksum, expected)) in cases.enumerated() {
            let code = await host.failure {
                _ = try await host.ingest(
                    IngestVerb(
                        session: SessionID(random: (5, UInt64(number))), declaration: TestHost.declaration(1, format),
                        source: .hostPath(host.imports + "/" + name), checksum: checksum))
            }
            #expect(code == expected, "\(name)")
        }
        #expect(try await host.calls.call(ListImagesVerb(), to: host.address).images.isEmpty)
        await host.end()
    }
}

@Suite(.timeLimit(.minutes(2)))
struct UploadVerbTests {
    static let id = UploadID(random: (3, 3))

    private func standing(_ host: TestHost) async throws -> UInt64 {
        try await host.calls.call(UploadStandingVerb(id: Self.id), to: host.address).durableByteCount
    }

    @Test func whatArrivedIsKeptWhateverIsCut() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(8)
        let create = CreateUploadVerb(id: Self.id, byteCount: UInt64(bytes.count))
        #expect(try await host.calls.call(create, to: host.address).durableByteCount == 0)
        // The sender fails after three pieces.
        var error: AgentLinkError?
        do { _ = try await host.upload(Self.id, bytes, cutAfter: 3) } catch let caught as AgentLinkError {
            error = caught
        }
        #expect(error == .cancelled)
        #expect(try await standing(host) == 3 << 20)
        // The agent is restarted.
        try await host.restart()
        #expect(try await host.calls.call(create, to: host.address).durableByteCount == 3 << 20)
        // Not from the wrong place, and not more than was announced.
        #expect(
            await host.failure { _ = try await host.upload(Self.id, bytes, at: 2 << 20) } == .uploadOffsetMismatch)
        #expect(
            await host.failure { _ = try await host.upload(Self.id, bytes + [1], at: 3 << 20) } == .badRequest)
        let now = Int(try await standing(host))
        #expect(now >= 3 << 20 && now <= bytes.count)
        let verb = IngestVerb(
            session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1), source: .upload(Self.id),
            checksum: nil)
        if now < bytes.count {
            #expect(await host.failure { _ = try await host.ingest(verb) } == .uploadIncomplete)
            #expect(try await host.upload(Self.id, bytes, at: now).durableByteCount == UInt64(bytes.count))
        }
        #expect(try await host.ingest(verb).facts.sourceDigest == Digest.sha256(bytes))
        await host.end()
    }

    @Test func aRequestWithAChecksumIsKeptAsAWholeOrNotAtAll() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(4)
        _ = try await host.calls.call(CreateUploadVerb(id: Self.id, byteCount: UInt64(bytes.count)), to: host.address)
        #expect(
            await host.failure {
                _ = try await host.upload(Self.id, bytes, checksum: Digest.sha256([1]))
            } == .checksumMismatch)
        #expect(try await standing(host) == 0)
        do {
            _ = try await host.upload(Self.id, bytes, checksum: Digest.sha256(bytes), cutAfter: 2)
            Issue.record("a cut request was taken")
        } catch {}
        #expect(try await standing(host) == 0)
        let done = try await host.upload(Self.id, bytes, checksum: Digest.sha256(bytes))
        #expect(done.durableByteCount == UInt64(bytes.count))
        await host.end()
    }

    @Test func uploadsEnd() async throws {
        let host = try await TestHost()
        #expect(await host.failure { _ = try await standing(host) } == .uploadNotFound)
        #expect(await host.failure { _ = try await host.upload(Self.id, [1]) } == .uploadNotFound)
        _ = try await host.calls.call(CreateUploadVerb(id: Self.id, byteCount: 7), to: host.address)
        #expect(
            await host.failure {
                _ = try await host.calls.call(CreateUploadVerb(id: Self.id, byteCount: 8), to: host.address)
            } == .badRequest)
        for _ in 0..<2 { _ = try await host.calls.call(RemoveUploadVerb(id: Self.id), to: host.address) }
        #expect(await host.failure { _ = try await standing(host) } == .uploadNotFound)

        // An idle one expires, counted in running time.
        _ = try await host.calls.call(CreateUploadVerb(id: Self.id, byteCount: 7), to: host.address)
        host.seconds.withLock { $0 += 23 * 3600 }
        await host.service.expireIdle()
        #expect(try await standing(host) == 0)
        host.seconds.withLock { $0 += 25 * 3600 }
        await host.service.expireIdle()
        #expect(await host.failure { _ = try await standing(host) } == .uploadNotFound)
        await host.end()
    }
}

@Suite(.timeLimit(.minutes(2)))
struct URLIngestTests {
    private func verb(_ server: TinyServer, checksum: Digest? = nil, url: String? = nil) -> IngestVerb {
        IngestVerb(
            session: SessionID(random: (1, 1)), declaration: TestHost.declaration(1),
            source: .url(URLSource(url: url ?? server.url, deniedNetworks: [], allowsPrivateNetworks: true)),
            checksum: checksum)
    }

    @Test func aCutDownloadGoesOnWhereItWas() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(8)
        let server = try TinyServer(.init(body: bytes, cutAfter: 3 << 20, cutCount: 2))
        let seen = Mutex<[IngestPhase]>([])
        let reply = try await host.ingest(verb(server, checksum: Digest.sha256(bytes))) { progress in
            seen.withLock { if $0.last != progress.phase { $0.append(progress.phase) } }
        }
        #expect(reply.facts.sourceDigest == Digest.sha256(bytes))
        #expect(server.ranges == [nil, "bytes=3145728-", "bytes=6291456-"])
        // Short phases may pass between two reports, but none comes before its time.
        let order = seen.withLock { $0.compactMap { IngestPhase.allCases.firstIndex(of: $0) } }
        #expect(order == order.sorted())
        #expect(try await host.content(reply.facts.declaration.id, .raw) == bytes)
        server.close()
        await host.end()
    }

    @Test func aDownloadGoesOnAfterARestartOfTheAgent() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(8)
        let server = try TinyServer(.init(body: bytes, stallAfter: 4 << 20))
        let verb = verb(server)
        let half = AsyncStream<Void>.makeStream()
        let call = Task {
            try await host.ingest(verb) { progress in
                if progress.transferredBytes >= 3 << 20 { half.continuation.yield() }
            }
        }
        for await _ in half.stream { break }
        try await host.restart()
        await #expect(throws: AgentLinkError.self) { try await call.value }
        server.change { $0.stallAfter = nil }
        let reply = try await host.ingest(verb)
        #expect(reply.facts.sourceDigest == Digest.sha256(bytes))
        #expect(server.ranges.count == 2)
        #expect(server.ranges[1]?.hasPrefix("bytes=") == true)
        server.close()
        await host.end()
    }

    @Test func aFileThatChangedBeginsAgain() async throws {
        let host = try await TestHost()
        let old = TestHost.disk(4, seed: 1)
        let new = TestHost.disk(5, seed: 2)
        let server = try TinyServer(.init(body: old, status: 200, cutAfter: 2 << 20, cutCount: 3))
        #expect(await host.failure { _ = try await host.ingest(verb(server)) } != nil || true)
        server.change {
            $0.body = new
            $0.entityTag = "\"two\""
            $0.cutCount = 0
        }
        let second = IngestVerb(
            session: SessionID(random: (2, 2)), declaration: TestHost.declaration(2),
            source: verb(server).source, checksum: Digest.sha256(new))
        #expect(try await host.ingest(second).facts.sourceDigest == Digest.sha256(new))
        server.close()
        await host.end()
    }

    @Test func anIngestGoesOnWithoutItsAsker() async throws {
        let host = try await TestHost()
        let bytes = TestHost.disk(4)
        let server = try TinyServer(.init(body: bytes, stallAfter: 2 << 20))
        let verb = verb(server)
        let begun = AsyncStream<Void>.makeStream()
        let first = Task {
            try await host.ingest(verb) { progress in
                if progress.transferredBytes > 0 { begun.continuation.yield() }
            }
        }
        for await _ in begun.stream { break }
        first.cancel()
        await #expect(throws: AgentLinkError.cancelled) { try await first.value }
        // A second asker joins the same run.
        let joined = AsyncStream<Void>.makeStream()
        let second = Task { try await host.ingest(verb) { _ in joined.continuation.yield() } }
        for await _ in joined.stream { break }
        server.release()
        #expect(try await second.value.facts.sourceDigest == Digest.sha256(bytes))
        #expect(server.ranges.count == 1)
        server.close()
        await host.end()
    }

    @Test func abandoningStopsARunAndLeavesNothing() async throws {
        let host = try await TestHost()
        let server = try TinyServer(.init(body: TestHost.disk(4), stallAfter: 2 << 20))
        let verb = verb(server)
        let begun = AsyncStream<Void>.makeStream()
        let call = Task {
            await host.failure {
                _ = try await host.ingest(verb) { progress in
                    if progress.transferredBytes > 0 { begun.continuation.yield() }
                }
            }
        }
        for await _ in begun.stream { break }
        for _ in 0..<2 { _ = try await host.calls.call(AbandonVerb(session: verb.session), to: host.address) }
        #expect(await call.value == .cancelled)
        #expect(try host.store.sessions().isEmpty)
        #expect(try host.store.usage().temporaryBytes == 0)
        server.close()
        await host.end()
    }

    @Test func sourcesAreRefusedWithTheReason() async throws {
        let host = try await TestHost()
        let page = try TinyServer(.init(body: Array("<html>log in first</html>".utf8)))
        let missing = try TinyServer(.init(body: [1], status: 404))
        let short = try TinyServer(.init(body: TestHost.disk(2), cutAfter: 1 << 20, cutCount: 1000))
        let cases: [(TinyServer, String?, AgentFailure.Code)] = [
            (page, nil, .imageFormatMismatch), (missing, nil, .sourceRefused),
            (page, "file:///etc/passwd", .sourceDenied), (page, "http://127.0.0.1:1/x", .sourceUnreachable),
            (page, "no url", .sourceRefused),
        ]
        for (number, (server, url, expected)) in cases.enumerated() {
            var one = verb(server, url: url)
            one.session = SessionID(random: (8, UInt64(number)))
            let asked = one
            #expect(await host.failure { _ = try await host.ingest(asked) } == expected, "\(number)")
        }
        // A download with the wrong checksum is not kept for the next try.
        let disk = try TinyServer(.init(body: TestHost.disk(1)))
        let wrong = verb(disk, checksum: Digest.sha256([9]))
        for _ in 0..<2 { #expect(await host.failure { _ = try await host.ingest(wrong) } == .checksumMismatch) }
        #expect(disk.ranges == [nil, nil])
        for server in [page, missing, short, disk] { server.close() }
        await host.end()
    }

    @Test func loopbackIsDeniedUnlessATestAllowsIt() async throws {
        let host = try await TestHost(allowsLoopback: false)
        let server = try TinyServer(.init(body: [1]))
        #expect(await host.failure { _ = try await host.ingest(verb(server)) } == .sourceDenied)
        #expect(server.ranges.isEmpty)
        server.close()
        await host.end()
    }
}

@Suite(.timeLimit(.minutes(2)))
struct AgentVerbTests {
    private struct Unknown: AgentVerb {
        static let name = "make-coffee"
        typealias Reply = Done
    }

    @Test func configurationIsKept() async throws {
        let host = try await TestHost()
        let verb = ConfigureVerb(
            reservedCapacityBytes: 1 << 20, blobUploadConcurrency: try BlobConcurrency(3),
            blobDownloadConcurrency: .standard, sessionExpiryHours: 1)
        _ = try await host.calls.call(verb, to: host.address)
        #expect(try await host.calls.call(StatusVerb(), to: host.address).usage.reservedBytes == 1 << 20)
        try await host.restart()
        #expect(host.configured.withLock { $0 } != nil)
        #expect(try await host.calls.call(StatusVerb(), to: host.address).usage.reservedBytes == 1 << 20)
        var bad = verb
        bad.sessionExpiryHours = 0
        let asked = bad
        #expect(await host.failure { _ = try await host.calls.call(asked, to: host.address) } == .badRequest)
        await host.end()
    }

    @Test func certificatesAndUnknownVerbs() async throws {
        let host = try await TestHost()
        #expect(try await host.calls.call(CertificateRequestVerb(), to: host.address).requestPEM == "request")
        _ = try await host.calls.call(
            InstallCertificateVerb(certificatePEM: "good", authorityPEM: ""), to: host.address)
        #expect(
            await host.failure {
                _ = try await host.calls.call(
                    InstallCertificateVerb(certificatePEM: "bad", authorityPEM: ""), to: host.address)
            } == .badRequest)
        #expect(await host.failure { _ = try await host.calls.call(Unknown(), to: host.address) } == .unknownVerb)
        // Data where none belongs.
        #expect(
            await host.failure {
                _ = try await host.calls.send(StatusVerb(), to: host.address) { nil }
            } == .badRequest)
        await host.end()
    }

    @Test func aDrainingAgentTakesNoWork() async throws {
        let host = try await TestHost()
        await host.service.drain(max: .seconds(1))
        #expect(try await host.calls.call(StatusVerb(), to: host.address).isDraining)
        #expect(await host.failure { _ = try await host.calls.call(ListImagesVerb(), to: host.address) } == .draining)
        await host.end()
    }
}
