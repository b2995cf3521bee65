import ArgumentParser
import NIOHTTP1

struct DataCenter: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data-center", abstract: "Data centers.",
        subcommands: [List.self, Show.self, Add.self, Edit.self, Delete.self], aliases: ["dc"])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List data centers.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.list(.dataCenter, options: list), of: .dataCenter) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a data center.")
        @Argument(help: "Its name or id.") var dataCenter: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.find(.dataCenter, dataCenter)) }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add a data center.", aliases: ["create"])
        @Option(help: "Its name.") var name: String
        @Option(help: "Its description.") var description: String?
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var body = JSONObject()
            body.set("name", name)
            body.set("description", description)
            let sent = body.json
            try await global.withAPI { api in
                let made = try await api.send(.POST, Noun.dataCenter.path, body: sent).json
                global.report(made, "Added data center '\(made["name"].text ?? "")' (\(made["id"].text ?? "")).")
            }
        }
    }

    struct Edit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Edit a data center.")
        @Argument(help: "Its name or id.") var dataCenter: String
        @OptionGroup var text: TextEdit
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await text.apply(to: .dataCenter, dataCenter, global: global)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete a data center that has no storages.")
        @Argument(help: "Its name or id.") var dataCenter: String
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let id = try await api.id(.dataCenter, dataCenter)
                try Terminal.confirm("Delete data center '\(dataCenter)'?", isConfirmed: confirm.yes)
                _ = try await api.send(.DELETE, Noun.dataCenter.path(id))
                global.report(.object(["id": .string(id)]), "Deleted data center '\(dataCenter)'.")
            }
        }
    }
}

/// The name and the description, which every resource has.
struct TextEdit: ParsableArguments {
    @Option(help: "The new name.") var name: String?
    @Option(help: "The new description.") var description: String?

    /// The members to change.
    var patch: JSONObject {
        var patch = JSONObject()
        patch.set("name", name)
        patch.set("description", description)
        return patch
    }

    func apply(to noun: Noun, _ nameOrID: String, global: GlobalOptions) async throws {
        try await TextEdit.send(patch, to: noun, nameOrID, global: global)
    }

    /// Sends a merge patch and shows what came of it.
    static func send(_ patch: JSONObject, to noun: Noun, _ nameOrID: String, global: GlobalOptions) async throws {
        guard !patch.isEmpty else { throw CLIError.usage("nothing to change: give at least one option") }
        let sent = patch.json
        try await global.withAPI { api in
            let id = try await api.id(noun, nameOrID)
            let changed = try await api.send(.PATCH, noun.path(id), body: sent).json
            global.report(changed, "Changed \(noun.word) '\(CellText.plain(changed["name"]))'.")
        }
    }
}
