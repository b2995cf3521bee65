import ArgumentParser
import Foundation
import NIOHTTP1

struct User: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Accounts.",
        subcommands: [List.self, Show.self, Add.self, Edit.self, Password.self, Delete.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List accounts.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.list(.user, options: list), of: .user) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show an account.")
        @Argument(help: "Its name or id.") var user: String
        @OptionGroup var global: GlobalOptions

        func run() async throws { try await global.withAPI { global.show(try await $0.find(.user, user)) } }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add an account.", aliases: ["create"])
        @Option(help: "Its name.") var name: String
        @Option(help: "Its role: viewer, operator or admin.") var role: String
        @OptionGroup var password: PasswordOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var body = JSONObject()
            body.set("name", name)
            body.set("role", role)
            body.set("password", try password.read(prompt: "Password of the new account"))
            let sent = body.json
            try await global.withAPI { api in
                let made = try await api.send(.POST, Noun.user.path, body: sent).json
                global.report(made, "Added account '\(name)' (\(CellText.plain(made["role"]))).")
            }
        }
    }

    struct Edit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Change an account's role or description.")
        @Argument(help: "Its name or id.") var user: String
        @Option(help: "The new role: viewer, operator or admin.") var role: String?
        @Option(help: "The new description.") var description: String?
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var patch = JSONObject()
            patch.set("role", role)
            patch.set("description", description)
            try await TextEdit.send(patch, to: .user, user, global: global)
        }
    }

    struct Password: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Set an account's password.")
        @Argument(help: "Its name or id.") var user: String
        @OptionGroup var password: PasswordOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var patch = JSONObject()
            patch.set("password", try password.read(prompt: "New password"))
            try await TextEdit.send(patch, to: .user, user, global: global)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete an account; its sessions end.")
        @Argument(help: "Its name or id.") var user: String
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await Deletion.run(.user, user, confirm: confirm, global: global)
        }
    }
}

/// The deletion of small resources, which is done at once.
enum Deletion {
    static func run(_ noun: Noun, _ nameOrID: String, confirm: ConfirmOptions, global: GlobalOptions) async throws {
        try await global.withAPI { api in
            let id = try await api.id(noun, nameOrID)
            try Terminal.confirm("Delete \(noun.word) '\(nameOrID)'?", isConfirmed: confirm.yes)
            _ = try await api.send(.DELETE, noun.path(id))
            global.report(.object(["id": .string(id)]), "Deleted \(noun.word) '\(nameOrID)'.")
        }
    }
}

struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "API tokens: long-lived, for scripts.",
        subcommands: [List.self, Add.self, Delete.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List API tokens; the secrets are not kept.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.list(.token, options: list), of: .token) }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an API token. It is shown once.", aliases: ["create"])
        @Option(help: "Its name.") var name: String
        @Option(help: "Its description.") var description: String?
        @Option(help: "Its role; yours when absent.") var role: String?
        @Option(help: "When it ends, in RFC 3339; never when absent.") var expiresAt: String?
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            var body = JSONObject()
            body.set("name", name)
            body.set("description", description)
            body.set("role", role)
            body.set("expiresAt", expiresAt)
            let sent = body.json
            try await global.withAPI { api in
                let made = try await api.send(.POST, Noun.token.path, body: sent).json
                if global.output == .table { Terminal.note("Keep it safe: it is shown only now.") }
                global.report(made, made["token"].text ?? "")
            }
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete an API token; it ends at once.")
        @Argument(help: "Its name or id.") var token: String
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await Deletion.run(.token, token, confirm: confirm, global: global)
        }
    }
}

struct Param: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "param", abstract: "System parameters.", subcommands: [List.self, Show.self, Set.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List system parameters.")
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let items = try await api.send(.GET, Noun.param.path).json["items"].array ?? []
                global.show((items, false), of: .param)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a system parameter.")
        @Argument(help: "Its name, such as job.retention-days.") var name: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.send(.GET, Noun.param.path(name)).json) }
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set a system parameter.",
            discussion: "VALUE is JSON where it parses as such (3, true, [\"10.0.0.0/8\"]), and text otherwise.",
            aliases: ["edit"])
        @Argument(help: "Its name, such as job.retention-days.") var name: String
        @Argument(help: "Its value.") var value: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            let parsed = JSONValue.parse(.init(value.utf8)) ?? .string(value)
            try await global.withAPI { api in
                let changed = try await api.send(.PATCH, Noun.param.path(name), body: .object(["value": parsed])).json
                global.report(changed, "\(name) = \(CellText.plain(changed["value"]))")
            }
        }
    }
}

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "The audit log.", subcommands: [List.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List who did what, the newest first.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.list(.audit, options: list), of: .audit) }
        }
    }
}
