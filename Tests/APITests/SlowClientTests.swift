import API
import AgentLink
import HTTPTypes
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
// Goal: a client that sends or takes too slowly is let go, one that waits for the controller is not, and no address has
// more than its share. Method: the watch is driven by a clock of the test's own; the handler by a channel without a network.
import Operations
import Testing
import Wire

@Suite struct SlowClientTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func watch() -> PaceWatch {
        PaceWatch(now: start, window: .seconds(30), idleMax: .seconds(75), byteCountMin: 1000)
    }

    @Test func headThatDoesNotCome() {
        let watch = watch()
        #expect(!watch.isTooSlow(now: start + .seconds(75)))
        #expect(watch.isTooSlow(now: start + .seconds(76)))
    }

    @Test(arguments: [PaceWatch.Waiting.body, .answer])
    func rateBelowTheMinimum(waiting: PaceWatch.Waiting) {
        var watch = watch()
        watch.wait(for: waiting, now: start)
        for second in 1...30 { watch.moved(33, now: start + .seconds(Int64(second))) }
        #expect(!watch.isTooSlow(now: start + .seconds(30)))
        #expect(watch.isTooSlow(now: start + .seconds(31)))
        // Enough in the window begins another one.
        watch.moved(10, now: start + .seconds(31))
        #expect(!watch.isTooSlow(now: start + .seconds(61)))
        #expect(watch.isTooSlow(now: start + .seconds(62)))
    }

    @Test func timeOfTheControllerDoesNotCount() {
        var watch = watch()
        watch.wait(for: .body, now: start)
        watch.wait(for: .nothing, now: start + .seconds(20))
        #expect(!watch.isTooSlow(now: start + .seconds(100_000)))
        watch.wait(for: .body, now: start + .seconds(100_000))
        // Twenty seconds were waited before.
        #expect(!watch.isTooSlow(now: start + .seconds(100_010)))
        #expect(watch.isTooSlow(now: start + .seconds(100_011)))
    }

    @Test func idleBetweenRequestsIsNotAddedUp() {
        var watch = watch()
        for request in 1...10 {
            let at = start + .seconds(Int64(request) * 70)
            watch.wait(for: .nothing, now: at)
            watch.wait(for: .head, now: at)
            #expect(!watch.isTooSlow(now: at + .seconds(70)))
        }
    }

    @Test func waitingForTheSameGoesOn() {
        var watch = watch()
        watch.wait(for: .answer, now: start)
        watch.wait(for: .answer, now: start + .seconds(29))
        #expect(watch.isTooSlow(now: start + .seconds(31)))
    }

    @Test func addressesHaveTheirShare() {
        let counter = ConnectionCounter(perAddressMax: 2, inAllMax: 3)
        #expect(counter.enter("a") && counter.enter("a"))
        #expect(!counter.enter("a"))
        #expect(counter.enter("b"))
        #expect(!counter.enter("c"))
        counter.leave("a")
        #expect(counter.enter("c"))
        #expect(!counter.enter("b"))
        counter.leave("b")
        counter.leave("c")
        #expect(counter.enter("a"))
    }

    private func channel(_ counter: ConnectionCounter, _ address: String = "192.0.2.1") throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: address, port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(PaceHandler(counter: counter))
        return channel
    }

    @Test func connectionsOverTheShareAreClosed() throws {
        let counter = ConnectionCounter(perAddressMax: 1, inAllMax: 10)
        let first = try channel(counter)
        #expect(first.isActive)
        let second = try channel(counter)
        second.embeddedEventLoop.run()
        #expect(!second.isActive)
        // The refused one took no place, and the first gives its own back.
        _ = try? second.finish()
        let other = try channel(counter, "192.0.2.2")
        #expect(other.isActive)
        _ = try? first.finish()
        let third = try channel(counter)
        #expect(third.isActive)
        for channel in [other, third] { _ = try? channel.finish() }
        #expect(counter.enter("192.0.2.1") && counter.enter("192.0.2.2"))
    }

    /// A request whose head is there, and whose body is being asked for.
    private func begin(_ channel: EmbeddedChannel) throws {
        try channel.writeInbound(
            HTTPRequestPart.head(HTTPRequest(method: .put, scheme: "https", authority: "x", path: "/")))
        channel.read()
    }

    @Test func silentConnectionIsClosed() throws {
        let channel = try channel(ConnectionCounter())
        channel.embeddedEventLoop.advanceTime(by: .seconds(75))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(!channel.isActive)
    }

    @Test(arguments: [(100, false), (16 << 10, true)])
    func bodyThatComesTooSlowlyIsNotWaitedFor(count: Int, isKept: Bool) throws {
        let channel = try channel(ConnectionCounter())
        try begin(channel)
        for _ in 0..<8 {
            channel.embeddedEventLoop.advanceTime(by: .seconds(5))
            guard channel.isActive else { break }
            try channel.writeInbound(HTTPRequestPart.body(ByteBuffer(repeating: 7, count: count)))
            channel.read()
        }
        #expect(channel.isActive == isKept)
        _ = try? channel.finish()
    }

    @Test func controllerMayTakeItsTime() throws {
        let channel = try channel(ConnectionCounter())
        try begin(channel)
        try channel.writeInbound(HTTPRequestPart.end(nil))
        channel.embeddedEventLoop.advanceTime(by: .minutes(30))
        #expect(channel.isActive)
        // Answered, the connection waits for the next head again.
        try channel.writeOutbound(HTTPResponsePart.head(HTTPResponse(status: .ok)))
        try channel.writeOutbound(HTTPResponsePart.end(nil))
        channel.embeddedEventLoop.advanceTime(by: .seconds(70))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .seconds(15))
        #expect(!channel.isActive)
    }

    @Test func partsPassAsTheyAre() throws {
        let channel = try channel(ConnectionCounter())
        let head = HTTPRequest(method: .put, scheme: "https", authority: "x", path: "/")
        try channel.writeInbound(HTTPRequestPart.head(head))
        try channel.writeInbound(HTTPRequestPart.body(ByteBuffer(string: "abc")))
        try channel.writeInbound(HTTPRequestPart.end(nil))
        #expect(try channel.readInbound(as: HTTPRequestPart.self) == .head(head))
        #expect(try channel.readInbound(as: HTTPRequestPart.self) == .body(ByteBuffer(string: "abc")))
        #expect(try channel.readInbound(as: HTTPRequestPart.self) == .end(nil))
        try channel.writeOutbound(HTTPResponsePart.head(HTTPResponse(status: .ok)))
        try channel.writeOutbound(HTTPResponsePart.body(ByteBuffer(string: "xyz")))
        try channel.writeOutbound(HTTPResponsePart.end(nil))
        #expect(try channel.readOutbound(as: HTTPResponsePart.self) == .head(HTTPResponse(status: .ok)))
        #expect(try channel.readOutbound(as: HTTPResponsePart.self) == .body(ByteBuffer(string: "xyz")))
        #expect(try channel.readOutbound(as: HTTPResponsePart.self) == .end(nil))
        #expect(channel.isActive)
        _ = try? channel.finish()
    }
}
