import AgentLink
import Bootstrap
import Identity
import Inventory
import Logging
import Model
import Scheduler
import Secrets

/// What an admin can ask for.
package final class Operations: Sendable {
    /// The records, for reading.
    package let inventory: Inventory
    let rooms: Rooms
    let passwords: Passwords
    let logIns = Shared(LogInLimiter())
    let uploadsBeingWritten = Shared<Set<UploadID>>([])
    let allAgentsMustBeTold: Shared<Bool>
    private let pings: Pings

    /// Introduces the rooms to each other; nothing runs before `run`.
    /// - Parameters:
    ///   - bundles: the agents that can be brought to hosts, one for each architecture.
    ///   - sleep: pauses; throws when its task is cancelled.
    ///   - resolve: addresses of a host's name.
    package init(
        inventory: Inventory, agents: any AgentCalls, hosts: any HostBootstrap, authority: Authority,
        bundles: [BundleFile], clock: WallClock, randomness: Randomness, log: Logger,
        passwordCost: ScryptCost = .standard,
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) },
        resolve: @escaping @Sendable (String) async -> [IPAddress] = HostNames.resolve
    ) {
        self.inventory = inventory
        rooms = Rooms(
            inventory: inventory, agents: agents, hosts: hosts, authority: authority, bundles: bundles, clock: clock,
            randomness: randomness, sleep: sleep, resolve: resolve, log: log)
        passwords = Passwords(cost: passwordCost, randomness: randomness)
        let rooms = self.rooms
        // An agent may have missed what was changed while the controller was down.
        allAgentsMustBeTold = Shared(true)
        pings = Pings(rooms: rooms, allMustBeTold: allAgentsMustBeTold)
        let scheduler = Scheduler(
            inventory: inventory,
            types: [
                AddStandaloneStorage(rooms: rooms).type, ReconnectImageStorage(rooms: rooms).type,
                DeleteImageStorage(rooms: rooms).type, AddImage(rooms: rooms).type, DeleteImage(rooms: rooms).type,
            ],
            clock: clock, randomness: randomness, log: log, sleep: sleep,
            limit: { key in await rooms.limit(of: key) })
        rooms.schedulerBox.withLock { $0 = scheduler }
    }

    /// Goes on with every unfinished job and runs the loops (ping, expiry) until the task is cancelled; jobs that run then
    /// are let go of as they are and go on at the next start.
    package func run() async {
        let rooms = self.rooms
        let pings = self.pings
        await withTaskGroup { group in
            group.addTask { await rooms.scheduler.run() }
            group.addTask { await pings.run() }
            group.addTask { await Expiry(rooms: rooms).run() }
        }
    }

    /// One round of pings; for those who drive the clock themselves.
    package func pingOnce(within bound: Duration) async { await pings.round(within: bound) }

    /// One round of expiry; for those who drive the clock themselves.
    package func expireOnce() async { await Expiry(rooms: rooms).round() }
}

extension Rooms {
    /// How many jobs of a concurrency key may run at once: of a storage, as many as blobs may be uploaded to it at once.
    func limit(of key: String) async -> Int {
        let parts = key.split(separator: "/")
        guard parts.count == 2, let id = try? ImageStorageID(parsing: String(parts[1])) else { return 1 }
        do throws(InventoryError) {
            return try await inventory.find(ImageStorageRecord.self, id)?.blobUploadConcurrency ?? 1
        } catch {
            log.error("a limit cannot be read", metadata: ["key": "\(key)", "error": "\(error)"])
            return 1
        }
    }
}
