import HTTPTypes
import Hummingbird
import Inventory
import Model
import NIOCore
import Operations

extension HTTPField.Name {
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
}

/// `/v1/events`: server-sent events (WHATWG HTML).
enum EventRoutes {
    /// The JSON of an event.
    struct EventView: Codable, Sendable {
        var type: String
        var change: String
        var id: String
        var at: Timestamp
        var progress: ProgressView?

        init(_ event: EventRecord) {
            type = event.type.rawValue
            change = event.change.rawValue
            id = event.id
            at = event.at
            progress = event.progress.map(ProgressView.init)
        }

        static let schema = Schema.object(
            "Event",
            [
                .required("type", .values("job", "image", "image-storage"), "What it is about."),
                .required("change", .values("created", "updated", "deleted", "progressed"), "What happened to it."),
                .required("id", .text, "Its id; read it for what it is now."), .required("at", .dateTime, "When."),
                .optional("progress", ProgressView.schema, "With progressed."),
            ])
    }

    /// The text of an event. Progress has no number: a resume begins after the last durable event.
    static func text(_ event: EventRecord) -> String {
        let data = String(decoding: JSONText.encode(EventView(event)), as: UTF8.self)
        let id = event.sequence.map { "id: \($0)\n" } ?? ""
        return id + "event: \(event.type.rawValue)\ndata: \(data)\n\n"
    }

    static func all(_ environment: APIEnvironment) -> [Route] {
        [
            Route(
                .get, "/v1/events", "Follow what happens to jobs, images and image storages.", access: .role(.viewer),
                parameters: [
                    RouteParameter(
                        name: "Last-Event-ID", place: .header, schema: .count,
                        description: "Begin with the events after this one.")
                ],
                answers: [
                    AnswerShape(
                        status: .ok, description: "Server-sent events; each event's data is an Event.",
                        contentType: "text/event-stream")
                ]
            ) { request in
                let last = try lastSeen(request)
                let events = try await environment.operations.inventory.events(after: last)
                let body = ResponseBody { writer in
                    try await stream(events, until: environment.ending, into: &writer)
                    try await writer.finish(nil)
                }
                return Answer(
                    status: .ok,
                    headers: [.contentType: "text/event-stream", .cacheControl: "no-store", xAccelBuffering: "no"],
                    body: .stream(body))
            }
        ]
    }

    private static let xAccelBuffering = HTTPField.Name("X-Accel-Buffering")!

    private static func lastSeen(_ request: APIRequest) throws(APIError) -> Int64? {
        guard let text = request.header(.lastEventID) else { return nil }
        guard let value = Int64(text), value >= 0 else {
            throw .invalid("Last-Event-ID", "this must be the id of an event")
        }
        return value
    }

    private enum Item: Sendable {
        case event(EventRecord)
        case heartbeat
    }

    /// Writes events as they come and a comment when none does; ends after a while, or when the reader is too slow.
    private static func stream(
        _ events: AsyncStream<EventRecord>, until ending: EndSignal, into writer: inout any ResponseBodyWriter
    ) async throws {
        let (items, feed) = AsyncStream.makeStream(
            of: Item.self, bufferingPolicy: .bufferingOldest(Limits.eventBacklogMax))
        let pump = Task {
            for await event in events {
                // A reader that lags so far is let go: it resumes with Last-Event-ID, and misses nothing.
                if case .dropped = feed.yield(.event(event)) { break }
            }
            feed.finish()
        }
        let pulse = Task {
            let end = ContinuousClock.now + Limits.eventStreamMax
            while !Task.isCancelled, ContinuousClock.now < end {
                try? await Task.sleep(for: Limits.eventHeartbeat)
                feed.yield(.heartbeat)
            }
            feed.finish()
        }
        let waiting = ending.whenRaised { feed.finish() }
        defer {
            ending.forget(waiting)
            pump.cancel()
            pulse.cancel()
        }
        try await writer.write(ByteBuffer(string: ": lamina events\nretry: 2000\n\n"))
        for await item in items {
            switch item {
            case .event(let event): try await writer.write(ByteBuffer(string: text(event)))
            case .heartbeat: try await writer.write(ByteBuffer(string: ": \n\n"))
            }
        }
    }
}
