import Logging
import Model
import Synchronization
import Wire

/// Bounds of the connections to agents.
package enum AgentLinkLimits {
    /// Connections to one agent at once; a call more is refused and may be made again.
    static let connectionCountMax = 32
    /// Connections to one agent that are kept when nothing uses them.
    static let idleCountMax = 4
    /// How long a bulk exchange may be without a sign of life.
    static let bulkSilenceMax: Duration = .seconds(60)
}

/// The agents, over links: a small pool of connections to each.
package final class AgentConnections: AgentCalls {
    private struct Idle: Sendable {
        var connection: AgentConnection
        /// Ends with true when it was cancelled to use the connection again, with false when the connection is over.
        var watch: Task<Bool, Never>
        var number: UInt64
    }

    private struct Pool: Sendable {
        var idle: [Idle] = []
        var busyCount = 0
        var generation = 0
    }

    private let dialer: any Dialer
    private let hello: Hello
    private let time: MonotonicClock
    private let log: Logger
    private let pools = Mutex<[AgentAddress: Pool]>([:])
    private let numbers = Mutex<UInt64>(0)

    /// Creates the connections. `hello` says who the controller is.
    package init(dialer: any Dialer, hello: Hello, time: MonotonicClock, log: Logger) {
        self.dialer = dialer
        self.hello = hello
        self.time = time
        self.log = log
    }

    /// See `AgentCalls`.
    package func call<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, silenceMax: Duration,
        onProgress: @escaping @Sendable (VerbProgress) -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        let exchange = Exchange(
            body: try body(of: verb), silence: .ofExchange(silenceMax), onProgress: onProgress)
        return try AgentConnection.decoded(V.Reply.self, try await run(exchange, with: agent))
    }

    /// See `AgentCalls`.
    package func send<V: AgentVerb>(
        _ verb: V, to agent: AgentAddress, nextPiece: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws(AgentLinkError) -> V.Reply {
        let exchange = Exchange(
            body: try body(of: verb), silence: .ofLink(AgentLinkLimits.bulkSilenceMax), nextPiece: nextPiece)
        return try AgentConnection.decoded(V.Reply.self, try await run(exchange, with: agent))
    }

    /// See `AgentCalls`.
    package func receive<V: AgentVerb>(
        _ verb: V, from agent: AgentAddress, onPiece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws(AgentLinkError) -> V.Reply {
        let exchange = Exchange(
            body: try body(of: verb), silence: .ofLink(AgentLinkLimits.bulkSilenceMax), onPiece: onPiece)
        return try AgentConnection.decoded(V.Reply.self, try await run(exchange, with: agent))
    }

    /// See `AgentCalls`. Calls that run are left to end.
    package func forget(_ agent: AgentAddress) async {
        let idle = pools.withLock { pools -> [Idle] in
            let idle = pools[agent]?.idle ?? []
            pools[agent]?.idle = []
            pools[agent]?.generation += 1
            if pools[agent]?.busyCount == 0 { pools[agent] = nil }
            return idle
        }
        for one in idle { one.connection.close() }
    }

    /// Closes every idle connection; for the end of the program.
    package func close() async {
        for agent in pools.withLock({ Array($0.keys) }) { await forget(agent) }
    }

    private func body<V: AgentVerb>(of verb: V) throws(AgentLinkError) -> [UInt8] {
        do throws(WireError) { return try Messages.request(verb) } catch { throw .protocolViolation("\(error)") }
    }

    private func run(_ exchange: Exchange, with agent: AgentAddress) async throws(AgentLinkError) -> [UInt8] {
        let generation = try begin(agent)
        var connection: AgentConnection?
        defer { end(agent, connection, generation) }
        // A kept connection may have died unnoticed. What takes data cannot be asked twice, so it gets a fresh one.
        if exchange.nextPiece == nil, let kept = await idleConnection(to: agent) {
            connection = kept
            let wasTouched = Mutex(false)
            var first = exchange
            first.onProgress = { progress in
                wasTouched.withLock { $0 = true }
                exchange.onProgress(progress)
            }
            if let onPiece = exchange.onPiece {
                first.onPiece = { piece in
                    wasTouched.withLock { $0 = true }
                    try await onPiece(piece)
                }
            }
            do throws(AgentLinkError) { return try await kept.run(first) } catch {
                guard case .unreachable = error, !wasTouched.withLock({ $0 }) else { throw error }
            }
        }
        let fresh = try await connect(to: agent)
        connection = fresh
        return try await fresh.run(exchange)
    }

    private func connect(to agent: AgentAddress) async throws(AgentLinkError) -> AgentConnection {
        let link: any Link
        do throws(LinkError) {
            link = try await dialer.dial(
                host: agent.host, port: agent.port, expecting: .agent(of: agent.identity))
        } catch { throw AgentLinkError(error) }
        let connection = try await AgentConnection.greet(link, hello: hello, time: time)
        log.debug("connected", metadata: ["agent": "\(agent.identity)", "host": "\(agent.host)"])
        return connection
    }

    private func begin(_ agent: AgentAddress) throws(AgentLinkError) -> Int {
        let generation = pools.withLock { pools -> Int? in
            var pool = pools[agent] ?? Pool()
            guard pool.busyCount < AgentLinkLimits.connectionCountMax else { return nil }
            pool.busyCount += 1
            pools[agent] = pool
            return pool.generation
        }
        guard let generation else {
            throw .timeout("\(AgentLinkLimits.connectionCountMax) calls to this agent run already")
        }
        return generation
    }

    private func end(_ agent: AgentAddress, _ connection: AgentConnection?, _ generation: Int) {
        let keeps = pools.withLock { pools -> Bool in
            guard pools[agent] != nil else { return false }
            pools[agent]?.busyCount -= 1
            return connection?.isUsable == true && pools[agent]?.generation == generation
                && (pools[agent]?.idle.count ?? 0) < AgentLinkLimits.idleCountMax
        }
        guard let connection else { return }
        if keeps { keep(connection, for: agent) } else { connection.close() }
    }

    /// Keeps a connection until it is used again, ends, or was idle for too long.
    private func keep(_ connection: AgentConnection, for agent: AgentAddress) {
        let number = numbers.withLock { number -> UInt64 in
            number += 1
            return number
        }
        let time = time
        let watch = Task {
            let isAlive = await withTaskGroup(of: Bool.self) { group in
                group.addTask { await connection.watchIdle() }
                group.addTask {
                    await time.sleep(WireLimits.idleMax)
                    return Task.isCancelled
                }
                let first = await group.next() ?? false
                group.cancelAll()
                return first
            }
            if !isAlive {
                self.drop(number, of: agent)
                connection.close()
            }
            return isAlive
        }
        pools.withLock { pools in
            pools[agent, default: Pool()].idle.append(Idle(connection: connection, watch: watch, number: number))
        }
    }

    private func drop(_ number: UInt64, of agent: AgentAddress) {
        pools.withLock { pools in
            pools[agent]?.idle.removeAll { $0.number == number }
            if let pool = pools[agent], pool.idle.isEmpty, pool.busyCount == 0 { pools[agent] = nil }
        }
    }

    private func idleConnection(to agent: AgentAddress) async -> AgentConnection? {
        while let idle = pools.withLock({ $0[agent]?.idle.popLast() }) {
            idle.watch.cancel()
            if await idle.watch.value, idle.connection.isUsable { return idle.connection }
            idle.connection.close()
        }
        return nil
    }
}
