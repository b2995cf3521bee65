// Goal: both ends of a connection keep the order of an exchange, whatever the other end sends.
// Method: the machines are driven frame by frame, with a clock of the test.
import Model
import Testing
import Wire

struct ClientMachineTests {
    static let agent = PeerIdentity(role: .agent, id: PeerID(random: (1, 2)))
    static let controller = PeerIdentity(role: .controller, id: PeerID(random: (3, 4)))
    static let theirs = Hello(identity: agent, softwareVersion: "a")
    static let mine = Hello(identity: controller, softwareVersion: "c")

    private func ready() -> ClientMachine {
        var machine = ClientMachine(hello: Self.mine, peer: Self.agent, now: .zero)
        #expect(machine.connected() == [.send(Self.mine.frame())])
        #expect(machine.received(Self.theirs.frame(), now: .zero) == [.ready(Self.theirs, .one)])
        #expect(machine.isIdle)
        return machine
    }

    @Test func anExchange() {
        var machine = ready()
        let asked = machine.ask([1], sendsData: false, silence: .ofExchange(.seconds(9)), now: .zero)
        #expect(asked == [.send(Frame(.request, exchange: 1, payload: [1]))])
        #expect(machine.received(Frame(.progress, exchange: 1, payload: [2]), now: .zero) == [.progress([2])])
        #expect(machine.received(Frame(.data, exchange: 1, payload: [3]), now: .zero) == [.data([3])])
        #expect(machine.received(Frame(.ping), now: .zero) == [.send(Frame(.pong))])
        #expect(machine.received(Frame(.reply, exchange: 1, payload: [4]), now: .zero) == [.reply([4])])
        #expect(
            machine.ask([5], sendsData: true, silence: .ofExchange(.seconds(9)), now: .zero)
                == [.send(Frame(.request, exchange: 2, flags: 1, payload: [5]))])
        #expect(machine.piece([6]) == [.send(Frame(.data, exchange: 2, payload: [6]))])
        #expect(machine.endData() == [.send(Frame(.end, exchange: 2))])
        #expect(machine.received(Frame(.failure, exchange: 2, payload: [7]), now: .zero) == [.failure([7])])
        #expect(machine.isIdle)
    }

    @Test func anAnswerBeforeAllDataWasSentEndsTheSending() {
        var machine = ready()
        _ = machine.ask([], sendsData: true, silence: .ofLink(.seconds(9)), now: .zero)
        #expect(
            machine.received(Frame(.failure, exchange: 1), now: .zero)
                == [.send(Frame(.cancel, exchange: 1)), .failure([])])
        #expect(machine.piece([1]).isEmpty)
        #expect(machine.endData().isEmpty)
        #expect(machine.isIdle)
    }

    @Test func cancellingWaitsForTheEnd() {
        var machine = ready()
        _ = machine.ask([], sendsData: false, silence: .ofExchange(.seconds(60)), now: .zero)
        #expect(machine.cancel(now: .seconds(1)) == [.send(Frame(.cancel, exchange: 1))])
        #expect(machine.cancel(now: .seconds(1)).isEmpty)
        #expect(machine.received(Frame(.data, exchange: 1, payload: [1]), now: .seconds(1)).isEmpty)
        #expect(machine.tick(now: .seconds(5)).isEmpty)
        var slow = machine
        #expect(slow.tick(now: .seconds(6)) == [.timeout("no end of a cancelled exchange in time")])
        #expect(machine.received(Frame(.failure, exchange: 1), now: .seconds(6)) == [.failure([])])
        #expect(machine.isIdle)
    }

    @Test func unexpectedFramesEndTheConnection() {
        for frame in [Frame(.reply), Frame(.request), Frame(.ping)] {
            var machine = ClientMachine(hello: Self.mine, peer: Self.agent, now: .zero)
            let during = "waiting for a hello"
            #expect(machine.received(frame, now: .zero) == [.violation(.unexpected(frame.kind, during: during))])
            #expect(machine.isClosed)
            #expect(machine.received(Self.theirs.frame(), now: .zero).isEmpty)
        }
        for frame in [Self.theirs.frame(), Frame(.request), Frame(.reply), Frame(.data), Frame(.end), Frame(.cancel)] {
            var machine = ready()
            #expect(machine.received(frame, now: .zero) == [.violation(.unexpected(frame.kind, during: "idle"))])
        }
        for frame in [Frame(.reply, exchange: 2), Frame(.data, exchange: 0), Frame(.progress, exchange: 9)] {
            var machine = ready()
            _ = machine.ask([], sendsData: false, silence: .ofExchange(.seconds(60)), now: .zero)
            #expect(
                machine.received(frame, now: .zero)
                    == [.violation(.badExchange(found: frame.exchange, expected: 1))])
        }
    }

    @Test func aHelloOfSomebodyElseIsRefused() {
        var machine = ClientMachine(hello: Self.mine, peer: Self.agent, now: .zero)
        let other = Hello(identity: PeerIdentity(role: .agent, id: PeerID(random: (9, 9))), softwareVersion: "")
        guard case .violation(.badHello) = machine.received(other.frame(), now: .zero).first else {
            Issue.record("taken")
            return
        }
        var old = ClientMachine(hello: Self.mine, peer: Self.agent, now: .zero)
        let newer = Hello(identity: Self.agent, softwareVersion: "", versionMin: 7, versionMax: 7)
        guard case .violation(.noCommonVersion) = old.received(newer.frame(), now: .zero).first else {
            Issue.record("taken")
            return
        }
    }

    @Test func silence() {
        var fresh = ClientMachine(hello: Self.mine, peer: Self.agent, now: .seconds(100))
        #expect(fresh.deadline == .seconds(110))
        #expect(fresh.tick(now: .seconds(109)).isEmpty)
        #expect(fresh.tick(now: .seconds(110)) == [.timeout("no hello from the agent in time")])

        // A call waits for frames of its exchange only.
        var call = ready()
        _ = call.ask([], sendsData: false, silence: .ofExchange(.seconds(20)), now: .zero)
        #expect(call.deadline == .seconds(15))
        #expect(call.tick(now: .seconds(15)) == [.send(Frame(.ping))])
        #expect(call.received(Frame(.pong), now: .seconds(16)).isEmpty)
        #expect(call.tick(now: .seconds(19)).isEmpty)
        #expect(call.tick(now: .seconds(20)) == [.timeout("no answer and no progress for 20 s")])

        // Bulk is alive as long as pings come back, and a slow taker at this end is not the agent's silence.
        var bulk = ready()
        _ = bulk.ask([], sendsData: true, silence: .ofLink(.seconds(20)), now: .zero)
        #expect(bulk.tick(now: .seconds(15)) == [.send(Frame(.ping))])
        #expect(bulk.received(Frame(.pong), now: .seconds(16)).isEmpty)
        #expect(bulk.tick(now: .seconds(30)).isEmpty)
        bulk.hold()
        #expect(bulk.tick(now: .seconds(500)) == [.send(Frame(.ping))])
        #expect(bulk.tick(now: .seconds(501)).isEmpty)
        bulk.unhold(now: .seconds(501))
        #expect(bulk.tick(now: .seconds(520)) == [.send(Frame(.ping))])
        #expect(bulk.tick(now: .seconds(521)) == [.timeout("nothing was heard for 20 s")])
    }
}

struct ServerMachineTests {
    static let theirs = ClientMachineTests.mine
    static let mine = ClientMachineTests.theirs

    private func ready() -> ServerMachine {
        var machine = ServerMachine(hello: Self.mine, peer: ClientMachineTests.controller, now: .zero)
        #expect(machine.connected() == [.send(Self.mine.frame())])
        #expect(machine.received(Self.theirs.frame(), now: .zero) == [.ready(Self.theirs, .one)])
        return machine
    }

    private func asked(_ flags: UInt16 = 0) -> ServerMachine {
        var machine = ready()
        #expect(
            machine.received(Frame(.request, exchange: 1, flags: flags, payload: [1]), now: .zero)
                == [.start(exchange: 1, body: [1], dataFollows: flags == 1)])
        return machine
    }

    @Test func anExchangeThatGivesData() {
        var machine = asked()
        #expect(machine.progress([2], of: 1) == [.send(Frame(.progress, exchange: 1, payload: [2]))])
        #expect(machine.data([3], of: 1) == [.send(Frame(.data, exchange: 1, payload: [3]))])
        #expect(machine.received(Frame(.ping), now: .zero) == [.send(Frame(.pong))])
        #expect(machine.finish(.reply, [4], of: 1) == [.send(Frame(.reply, exchange: 1, payload: [4]))])
        // What comes late is nobody's.
        #expect(machine.data([5], of: 1).isEmpty)
        #expect(machine.finish(.failure, [], of: 1).isEmpty)
        // A withdrawal that crossed the reply means nothing.
        #expect(machine.received(Frame(.cancel, exchange: 1), now: .zero).isEmpty)
        #expect(machine.isIdle)
    }

    @Test func anExchangeThatTakesData() {
        var machine = asked(1)
        #expect(machine.received(Frame(.data, exchange: 1, payload: [2]), now: .zero) == [.data([2])])
        #expect(machine.received(Frame(.end, exchange: 1), now: .zero) == [.dataEnded])
        #expect(machine.finish(.reply, [], of: 1) == [.send(Frame(.reply, exchange: 1))])
        #expect(machine.isIdle)
    }

    @Test func afterAnEarlyAnswerDataIsThrownAway() {
        for last in [FrameKind.end, .cancel] {
            var machine = asked(1)
            #expect(machine.finish(.failure, [9], of: 1) == [.send(Frame(.failure, exchange: 1, payload: [9]))])
            #expect(!machine.isIdle)
            #expect(machine.received(Frame(.data, exchange: 1, payload: [2]), now: .zero).isEmpty)
            #expect(machine.received(Frame(last, exchange: 1), now: .zero).isEmpty)
            #expect(machine.isIdle)
        }
    }

    @Test func cancelling() {
        var machine = asked(1)
        #expect(machine.received(Frame(.cancel, exchange: 1), now: .zero) == [.cancelled])
        var again = machine
        #expect(
            again.received(Frame(.cancel, exchange: 1), now: .zero)
                == [.violation(.unexpected(.cancel, during: "cancelling"))])
        #expect(machine.finish(.failure, [], of: 1) == [.send(Frame(.failure, exchange: 1))])
        #expect(machine.isIdle)
    }

    @Test func unexpectedFramesEndTheConnection() {
        var fresh = ServerMachine(hello: Self.mine, peer: ClientMachineTests.controller, now: .zero)
        #expect(
            fresh.received(Frame(.request, exchange: 1), now: .zero)
                == [.violation(.unexpected(.request, during: "waiting for a hello"))])
        for kind in [FrameKind.hello, .reply, .failure, .progress] {
            var machine = ready()
            #expect(machine.received(Frame(kind), now: .zero) == [.violation(.unexpected(kind, during: "idle"))])
        }
        var pipelined = asked()
        #expect(
            pipelined.received(Frame(.request, exchange: 2), now: .zero)
                == [.violation(.unexpected(.request, during: "an exchange runs"))])
        var unasked = asked()
        #expect(
            unasked.received(Frame(.data, exchange: 1), now: .zero)
                == [.violation(.unexpected(.data, during: "an exchange runs"))])
        var repeated = asked()
        _ = repeated.finish(.reply, [], of: 1)
        #expect(
            repeated.received(Frame(.request, exchange: 1), now: .zero)
                == [.violation(.badExchange(found: 1, expected: 1))])
    }

    @Test func silence() {
        var fresh = ServerMachine(hello: Self.mine, peer: ClientMachineTests.controller, now: .zero)
        #expect(fresh.deadline == .seconds(10))
        #expect(fresh.tick(now: .seconds(10)) == [.timeout("no hello in time")])
        var machine = ready()
        #expect(machine.tick(now: .seconds(89)).isEmpty)
        #expect(machine.received(Frame(.ping), now: .seconds(89)) == [.send(Frame(.pong))])
        #expect(machine.deadline == .seconds(179))
        #expect(machine.tick(now: .seconds(179)) == [.timeout("nothing was heard for 90 s")])
    }
}
