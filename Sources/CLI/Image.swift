import ArgumentParser
import NIOHTTP1

struct Image: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Images.",
        subcommands: [List.self, Show.self, AddImage.self, Edit.self, Delete.self, DownloadImage.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List images.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions
        @Option(help: "Only those on this image storage.") var storage: String?
        @Option(help: "Only those of this type: system or disk.") var type: String?
        @Option(help: "Only those with this status, such as ready.") var status: String?

        func run() async throws {
            try await global.withAPI { api in
                var id: String?
                if let storage { id = try await api.id(.storage, storage) }
                let filters = [("imageStorageId", id), ("type", type), ("status", status)]
                global.show(try await api.list(.image, options: list, filters: filters), of: .image)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show an image.")
        @Argument(help: "Its name or id.") var image: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.find(.image, image)) }
        }
    }

    struct Edit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Change an image's name or description.")
        @Argument(help: "Its name or id.") var image: String
        @OptionGroup var text: TextEdit
        @OptionGroup var global: GlobalOptions

        func run() async throws { try await text.apply(to: .image, image, global: global) }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete images.")
        @Argument(help: "Their names or ids.") var images: [String]
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                var ids: [String] = []
                for image in images { ids.append(try await api.id(.image, image)) }
                try Terminal.confirm(
                    "Delete \(images.joined(separator: ", "))? Its content is destroyed.", isConfirmed: confirm.yes)
                let watcher = JobWatcher(api: api, global: global)
                if ids.count == 1 {
                    let answer = try await api.send(.DELETE, Noun.image.path(ids[0])).json
                    try await watcher.follow([answer], wait: wait)
                    return
                }
                let body = JSONValue.object(["ids": .list(ids.map(JSONValue.string))])
                let answer = try await api.send(.POST, "/v1/images/bulk-delete", body: body).json
                try await watcher.followBulk(answer, wait: wait)
            }
        }
    }
}
