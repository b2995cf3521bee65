import ArgumentParser
import Foundation
import NIOHTTP1

struct Job: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "job", abstract: "Jobs.", subcommands: [List.self, Show.self, Watch.self, Cancel.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List jobs, the newest first.")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var list: ListOptions
        @Option(help: "Only those in this state: queued, running, succeeded, failed or cancelled.") var state: String?
        @Option(help: "Only those of this type, such as add-image.") var type: String?

        func run() async throws {
            var options = list
            options.sort = list.sort ?? "-createdAt"
            let sorted = options
            try await global.withAPI { api in
                let filters = [("state", state), ("type", type)]
                global.show(try await api.list(.job, options: sorted, filters: filters), of: .job)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a job.")
        @Argument(help: "Its id.") var job: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { global.show(try await $0.send(.GET, Noun.job.path(job)).json) }
        }
    }

    struct Watch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Follow a job to its end; fails when the job fails.")
        @Argument(help: "Its id.") var job: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let ended = try await JobWatcher(api: api, global: global).watch(job)
                global.report(
                    ended, "Job \(job) (\(CellText.plain(ended["type"]))) \(CellText.plain(ended["state"])).")
                if let failure = JobWatcher.failure(ended) { throw CLIError.jobFailed(failure) }
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cancel a job; what it made so far is removed.")
        @Argument(help: "Its id.") var job: String
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                let answer = try await api.send(.POST, Noun.job.path(job, "cancel")).json
                let shown = answer["job"].isNull ? answer : answer["job"]
                global.report(answer, "Job \(job) is \(CellText.plain(shown["state"])); its work is being undone.")
            }
        }
    }
}

struct Event: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "event", abstract: "Events of jobs, images and image storages.", subcommands: [Watch.self])

    struct Watch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print events as they happen, one JSON object a line.")
        @Option(help: "Begin after the event with this number.") var after: String?
        @OptionGroup var global: GlobalOptions

        func run() async throws {
            try await global.withAPI { api in
                try await EventStream(api: api).read(after: after) { event in
                    var line = JSONObject()
                    line.set("id", event.id)
                    line.set("event", event.type)
                    line.set("data", raw: .string(event.data))
                    if let data = JSONValue.parse(.init(event.data.utf8)) { line.set("data", raw: data) }
                    Terminal.print(line.json.compact)
                }
                throw CLIError.notReachable("the controller ended the stream of events")
            }
        }
    }
}
