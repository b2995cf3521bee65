import ArgumentParser
import NIOHTTP1

struct Storage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "storage", abstract: "Image storages.",
        subcommands: [
            List.self, Show.self, Probe.self, AddStorage.self, Edit.self, Password.self, Reconnect.self, Enable.self,
            Disable.self, Usage.self, Delete.self,
        ])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List image storages.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions
        @Option(help: "Only those of this data center.") var dataCenter: String?
        @Option(help: "Only those in this state: enabled or disabled.") var state: String?
        @Option(help: "Only those with this status: connecting, connected or disconnected.") var status: String?

        func run() async throws {
            try await global.withAPI { api in
                var center: String?
                if let dataCenter { center = try await api.id(.dataCenter, dataCenter) }
                let filters = [("dataCenterId", center), ("state", state), ("status", status)]
                global.show(try await api.list(.storage, options: list, filters: filters), of: .storage)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show an image storage.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.find(.storage, storage)) }
        }
    }

    struct Probe: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Test the connection to a host and list its free disks; nothing is changed.")
        @OptionGroup var host: HostOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            let body = JSONValue.object(["host": try host.body().json])
            try await global.withAPI { api in
                global.show(try await api.send(.POST, "/v1/image-storages/probe", body: body).json)
            }
        }
    }

    struct Edit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Edit an image storage.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var text: TextEdit
        @OptionGroup var settings: StorageSettings
        @Option(help: "Move it to this data center.") var dataCenter: String?
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var patch = text.patch
            try settings.add(to: &patch)
            let center = dataCenter
            try await global.withAPI { api in
                var patch = patch
                if let center { patch.set("dataCenterId", try await api.id(.dataCenter, center)) }
                guard !patch.isEmpty else { throw CLIError.usage("nothing to change: give at least one option") }
                let id = try await api.id(.storage, storage)
                let changed = try await api.send(.PATCH, Noun.storage.path(id), body: patch.json).json
                global.report(changed, "Changed image storage '\(CellText.plain(changed["name"]))'.")
            }
        }
    }

    struct Password: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Store another password or key for the host; it takes effect with `storage reconnect`.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var credential: HostCredentialOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            let secret = try credential.read(prompt: "New password of the host")
            try await global.withAPI { api in
                let id = try await api.id(.storage, storage)
                let answer = try await api.send(
                    .PUT, Noun.storage.path(id, "password"), body: .object([secret.key: .string(secret.value)])
                ).json
                global.report(answer, "Stored. It takes effect with: lamina storage reconnect \(storage)")
            }
        }
    }

    struct Reconnect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run the set-up of the host's agent again and connect to it.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let id = try await api.id(.storage, storage)
                let answer = try await api.send(.POST, Noun.storage.path(id, "reconnect")).json
                try await JobWatcher(api: api, global: global).follow([answer], wait: wait)
            }
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let an image storage take work again.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var global: GlobalOptions

        func run() async throws { try await Storage.turn(storage, "enable", global) }
    }

    struct Disable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Keep new work away from an image storage.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var global: GlobalOptions

        func run() async throws { try await Storage.turn(storage, "disable", global) }
    }

    private static func turn(_ storage: String, _ verb: String, _ global: GlobalOptions) async throws {
        try await global.withAPI { api in
            let id = try await api.id(.storage, storage)
            let answer = try await api.send(.POST, Noun.storage.path(id, verb)).json
            global.report(answer, "Image storage '\(storage)' is \(CellText.plain(answer["state"])).")
        }
    }

    struct Usage: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show how full an image storage is.")
        @Argument(help: "Its name or id.") var storage: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let id = try await api.id(.storage, storage)
                global.show(try await api.send(.GET, Noun.storage.path(id, "usage")).json)
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take image storages out of Lamina; the data stays on their disks.")
        @Argument(help: "Their names or ids.") var storages: [String]
        @Flag(help: "Also with images on it or jobs under way.") var force = false
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                var ids: [String] = []
                for storage in storages { ids.append(try await api.id(.storage, storage)) }
                try Terminal.confirm(
                    "Delete \(storages.joined(separator: ", "))? The data stays on the disk.", isConfirmed: confirm.yes)
                let query = force ? [("force", "true")] : []
                if ids.count == 1 {
                    let answer = try await api.send(.DELETE, Noun.storage.path(ids[0]), query: query).json
                    try await JobWatcher(api: api, global: global).follow([answer], wait: wait)
                    return
                }
                var body = JSONObject()
                body.set("ids", raw: .list(ids.map(JSONValue.string)))
                if force { body.set("force", true) }
                let answer = try await api.send(.POST, "/v1/image-storages/bulk-delete", body: body.json).json
                try await JobWatcher(api: api, global: global).followBulk(answer, wait: wait)
            }
        }
    }
}
