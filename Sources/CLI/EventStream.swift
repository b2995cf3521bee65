import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// One event of `GET /v1/events`.
package struct ServerEvent: Sendable, Equatable {
    /// Its sequence number.
    package var id: String?
    /// What it is about: job, image or image-storage.
    package var type: String
    /// Its JSON.
    package var data: String

    /// Creates it from its parts.
    package init(id: String?, type: String, data: String) {
        self.id = id
        self.type = type
        self.data = data
    }
}

/// Takes server-sent events apart. Source: WHATWG HTML, "Server-sent events".
package struct EventParser {
    /// The most bytes of one event; a longer one is dropped.
    private static let byteCountMax = 1 << 20

    private var buffer: [UInt8] = []
    private var event = ServerEvent(id: nil, type: "message", data: "")

    package init() {}

    /// Adds bytes and answers the events that they complete.
    package mutating func feed(_ bytes: some Sequence<UInt8>) -> [ServerEvent] {
        var done: [ServerEvent] = []
        for byte in bytes {
            guard byte == 0x0a else {
                if buffer.count < EventParser.byteCountMax { buffer.append(byte) }
                continue
            }
            if buffer.last == 0x0d { buffer.removeLast() }
            if let event = take(String(decoding: buffer, as: UTF8.self)) { done.append(event) }
            buffer.removeAll(keepingCapacity: true)
        }
        return done
    }

    private mutating func take(_ line: String) -> ServerEvent? {
        if line.isEmpty {
            defer { event = ServerEvent(id: event.id, type: "message", data: "") }
            return event.data.isEmpty ? nil : event
        }
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        var value = parts.count > 1 ? String(parts[1]) : ""
        if value.hasPrefix(" ") { value.removeFirst() }
        switch parts[0] {
        case "id": event.id = value
        case "event": event.type = value
        case "data": event.data += (event.data.isEmpty ? "" : "\n") + value
        default: break
        }
        return nil
    }
}

/// The controller's events as they happen.
struct EventStream {
    let api: APIClient

    /// Calls `onEvent` for every event until the connection ends or the task is cancelled.
    func read(after id: String?, _ onEvent: (ServerEvent) -> Void) async throws {
        var request = api.bareRequest(.GET, "/v1/events")
        request.headers.add(name: "accept", value: "text/event-stream")
        if let id { request.headers.add(name: "last-event-id", value: id) }
        let response = try await api.execute(request, timeout: .hours(24))
        guard response.status.code == 200 else { try await api.refuse(response) }
        var parser = EventParser()
        do {
            for try await piece in response.body {
                for event in parser.feed(piece.readableBytesView) { onEvent(event) }
            }
        } catch {
            throw APIClient.unreachable(api.profile.url, error)
        }
    }
}
