// Goal: a call gives its reply or a typed reason, over real links, and its end leaves nothing behind.
// Method: an agent of the test answers verbs over the loopback with the project's own server of links.
import AgentLink
import LinkTestSupport
import Logging
import Model
import Synchronization
import Testing
import Transport
import Wire

/// An agent of a test.
final class TestAgent: Sendable {
    let address: AgentAddress
    let calls: AgentConnections
    let server: LinkServer
    let listener: SocketListener

    init(_ handler: @escaping LinkServer.Handler) async throws {
        let authority = try TestAuthority()
        let id = ImageStorageID(random: (4, 4))
        let server = LinkServer(
            hello: Hello(identity: .agent(of: id), softwareVersion: "test"), time: .continuous(), handler: handler)
        self.server = server
        listener = try await authority.listen(as: .agent(of: id)) { link in _ = await server.serve(link) }
        address = AgentAddress(identity: id, host: "127.0.0.1", port: listener.ports[0])
        let box = try CredentialBox(try authority.credentials(TestAuthority.controller))
        calls = AgentConnections(
            dialer: SocketDialer(credentials: box),
            hello: Hello(identity: TestAuthority.controller, softwareVersion: "test"), time: .continuous(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    func end() async {
        await calls.close()
        await listener.close()
    }

    static func reply(_ value: some Encodable) -> Answer {
        do throws(WireError) { return .reply(try Messages.encode(value)) } catch {
            return .failure(AgentFailure(code: .internal, detail: "\(error)"))
        }
    }

    /// The error of a call.
    static func error<T>(_ body: () async throws(AgentLinkError) -> T) async -> AgentLinkError? {
        do throws(AgentLinkError) {
            _ = try await body()
            return nil
        } catch { return error }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct AgentLinkTests {
    static let id = UploadID(random: (1, 1))
    static let image = ImageID(random: (1, 1))

    @Test func callsAndFailures() async throws {
        let agent = try await TestAgent { request in
            if request.verb == RemoveUploadVerb.name { return TestAgent.reply(Done()) }
            return .failure(AgentFailure(code: .imageNotFound, detail: request.verb))
        }
        for _ in 0..<20 {
            #expect(try await agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address) == Done())
        }
        // One connection was used again and again.
        #expect(agent.server.connectionCount == 1)
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.call(RemoveImageVerb(id: Self.image), to: agent.address)
        }
        #expect(error == .failed(AgentFailure(code: .imageNotFound, detail: "remove-image")))
        #expect(agent.server.connectionCount == 1)
        await agent.end()
    }

    /// Data that is ready at once must not overtake the request that it belongs to.
    @Test func theRequestGoesBeforeItsData() async throws {
        let agent = try await TestAgent { request in
            do throws(RequestEnd) {
                var count: UInt64 = 0
                while let piece = try await request.nextPiece() { count += UInt64(piece.count) }
                return TestAgent.reply(UploadStanding(durableByteCount: count, byteCount: count))
            } catch { return .failure(AgentFailure(code: .cancelled, detail: "\(error)")) }
        }
        for _ in 0..<300 {
            let left = Mutex(1)
            let standing = try await agent.calls.send(WriteUploadVerb(id: Self.id, offset: 0), to: agent.address) {
                left.withLock { left in
                    guard left > 0 else { return nil }
                    left -= 1
                    return [1, 2, 3]
                }
            }
            #expect(standing.durableByteCount == 3)
        }
        await agent.end()
    }

    @Test func progressComesInOrder() async throws {
        let agent = try await TestAgent { request in
            for number: UInt64 in 0..<50 {
                await request.report(VerbProgress(phase: .slice, doneBytes: number, totalBytes: 50))
            }
            return TestAgent.reply(Done())
        }
        let seen = Mutex<[UInt64]>([])
        _ = try await agent.calls.call(
            AbandonVerb(session: SessionID(random: (1, 1))), to: agent.address, silenceMax: .seconds(9)
        ) {
            progress in seen.withLock { $0.append(progress.doneBytes) }
        }
        #expect(seen.withLock { $0 } == Array(0..<50))
        await agent.end()
    }

    @Test func dataIsSent() async throws {
        let agent = try await TestAgent { request in
            var count: UInt64 = 0
            do throws(RequestEnd) {
                while let piece = try await request.nextPiece() { count += UInt64(piece.count) }
            } catch { return .failure(AgentFailure(code: .cancelled, detail: "\(error)")) }
            return TestAgent.reply(UploadStanding(durableByteCount: count, byteCount: count))
        }
        for pieces in [0, 1, 20] {
            let left = Mutex(pieces)
            let standing = try await agent.calls.send(WriteUploadVerb(id: Self.id, offset: 0), to: agent.address) {
                left.withLock { left in
                    left -= 1
                    return left < 0 ? nil : [UInt8](repeating: 1, count: 1 << 20)
                }
            }
            #expect(standing.durableByteCount == UInt64(pieces) << 20)
        }
        await agent.end()
    }

    @Test func aSenderThatFailsIsCancelledAndTheAgentKnows() async throws {
        struct Trouble: Error {}
        let got = AsyncStream<RequestEnd?>.makeStream()
        let agent = try await TestAgent { request in
            do throws(RequestEnd) {
                while try await request.nextPiece() != nil {}
                got.continuation.yield(nil)
            } catch { got.continuation.yield(error) }
            return .failure(AgentFailure(code: .cancelled, detail: ""))
        }
        let count = Mutex(0)
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.send(WriteUploadVerb(id: Self.id, offset: 0), to: agent.address) {
                if count.withLock({
                    $0 += 1
                    return $0 > 3
                }) {
                    throw Trouble()
                }
                return [1]
            }
        }
        #expect(error == .cancelled)
        #expect(await got.stream.first { _ in true } == .some(.some(.cancelled)))
        // The connection is still good.
        #expect(agent.server.connectionCount == 1)
        await agent.end()
    }

    @Test func anEarlyFailureEndsTheSending() async throws {
        let agent = try await TestAgent { request in
            request.verb == WriteUploadVerb.name
                ? .failure(AgentFailure(code: .uploadNotFound, detail: "gone")) : TestAgent.reply(Done())
        }
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.send(WriteUploadVerb(id: Self.id, offset: 0), to: agent.address) {
                [UInt8](repeating: 1, count: 1 << 20)
            }
        }
        #expect(error == .failed(AgentFailure(code: .uploadNotFound, detail: "gone")))
        #expect(try await agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address) == Done())
        #expect(agent.server.connectionCount == 1)
        await agent.end()
    }

    @Test func dataIsReceivedAndCanBeStopped() async throws {
        struct Enough: Error {}
        let agent = try await TestAgent { request in
            do throws(RequestEnd) {
                for number in 0..<200 {
                    try await request.send([UInt8](repeating: UInt8(number & 255), count: 1 << 18))
                }
            } catch { return .failure(AgentFailure(code: .cancelled, detail: "\(error)")) }
            return TestAgent.reply(Done())
        }
        let verb = ReadContentVerb(id: Self.image, format: .raw, offset: 0, byteCount: 50 << 20)
        let count = Mutex(0)
        _ = try await agent.calls.receive(verb, from: agent.address) { piece in
            count.withLock { $0 += piece.count }
        }
        #expect(count.withLock { $0 } == 50 << 20)
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.receive(verb, from: agent.address) { _ in throw Enough() }
        }
        #expect(error == .cancelled)
        #expect(agent.server.connectionCount == 1)
        await agent.end()
    }

    @Test func aSilentAgentTimesOut() async throws {
        let never = AsyncStream<Void>.makeStream()
        let agent = try await TestAgent { _ in
            for await _ in never.stream { break }
            return TestAgent.reply(Done())
        }
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.call(StatusVerb(), to: agent.address, silenceMax: .milliseconds(50)) { _ in }
        }
        guard case .timeout = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        await agent.end()
    }

    @Test func aCallerThatGoesAwayIsCancelled() async throws {
        let started = AsyncStream<Void>.makeStream()
        let ended = AsyncStream<Void>.makeStream()
        let agent = try await TestAgent { request in
            request.onEnd { ended.continuation.yield() }
            started.continuation.yield()
            for await _ in AsyncStream<Void>.makeStream().stream { break }
            return TestAgent.reply(Done())
        }
        let call = Task {
            await TestAgent.error { () throws(AgentLinkError) in
                try await agent.calls.call(StatusVerb(), to: agent.address)
            }
        }
        for await _ in started.stream { break }
        call.cancel()
        #expect(await call.value == .cancelled)
        for await _ in ended.stream { break }
        await agent.end()
    }

    @Test func anAgentThatWasRestartedIsFoundAgain() async throws {
        let agent = try await TestAgent { _ in TestAgent.reply(Done()) }
        for _ in 0..<5 {
            #expect(try await agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address) == Done())
            await agent.listener.closeConnections()
        }
        await agent.end()
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address)
        }
        guard case .unreachable = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(error?.isRetryable == true)
    }

    @Test func theWrongAgentIsNotCalled() async throws {
        let agent = try await TestAgent { _ in TestAgent.reply(Done()) }
        var other = agent.address
        other.identity = ImageStorageID(random: (9, 9))
        let wrong = other
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.call(StatusVerb(), to: wrong)
        }
        guard case .wrongIdentity = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        await agent.end()
    }

    @Test func draining() async throws {
        let mayEnd = AsyncStream<Void>.makeStream()
        let started = AsyncStream<Void>.makeStream()
        let agent = try await TestAgent { _ in
            started.continuation.yield()
            for await _ in mayEnd.stream { break }
            return TestAgent.reply(Done())
        }
        async let running = agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address)
        for await _ in started.stream { break }
        agent.server.drain()
        mayEnd.continuation.yield()
        #expect(try await running == Done())
        let error = await TestAgent.error { () throws(AgentLinkError) in
            try await agent.calls.call(RemoveUploadVerb(id: Self.id), to: agent.address)
        }
        guard case .unreachable = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        await agent.end()
    }
}
