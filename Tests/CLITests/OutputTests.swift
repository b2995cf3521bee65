// Goal: what people read is aligned, short and harmless; what scripts read is the API's own JSON. Method: values in, text out.
import CLI
import Foundation
import Model
import NIOHTTP1
import Testing

@Suite struct OutputTests {
    private func json(_ text: String) throws -> JSONValue { try #require(JSONValue.parse(Data(text.utf8))) }

    @Test func tableIsAligned() throws {
        let items = [
            try json("{\"id\":\"1\",\"name\":\"berlin\",\"description\":\"\"}"),
            try json("{\"id\":\"22\",\"name\":\"x\",\"description\":\"Hall 2\"}"),
        ]
        #expect(
            Table.render(items, Noun.dataCenter.columns) == """
                ID  NAME    DESCRIPTION
                1   berlin  -
                22  x       Hall 2
                """)
        #expect(Table.render([], Noun.dataCenter.columns) == "ID  NAME  DESCRIPTION")
    }

    @Test func storagesShowSizes() throws {
        let item = try json(
            "{\"id\":\"1\",\"host\":{\"address\":\"10.0.0.1\"},\"capacity\":{\"availableBytes\":1610612736}}")
        let row = try #require(Table.render([item], Noun.storage.columns).split(separator: "\n").last)
        #expect(row.contains("10.0.0.1"))
        #expect(row.contains("1.50 GiB"))
    }

    @Test func auditShowsWhatItIsAbout() throws {
        let item = try json(
            "{\"createdAt\":\"t\",\"username\":\"u\",\"address\":\"a\",\"action\":\"image.add\","
                + "\"resource\":{\"type\":\"image\",\"id\":\"77\"},\"outcome\":\"done\"}")
        #expect(Table.render([item], Noun.audit.columns).contains("image 77"))
    }

    @Test func terminalObeysNobody() {
        let text = "a\u{1b}[2Jb\u{7}c\nd\u{202e}e\u{9b}f\u{2066}"
        #expect(CellText.harmless(text) == "a [2Jb c d e f ")
        #expect(CellText.plain(.string(text)) == "a [2Jb c d e f ")
        #expect(CellText.plain(.list([.string("\u{1b}"), .bool(true), .null])) == " , yes, -")
    }

    @Test func detailsNameEveryMember() throws {
        let item = try json(
            "{\"name\":\"n\",\"id\":\"1\",\"host\":{\"address\":\"h\",\"sshPort\":22},\"sizeBytes\":1536,\"notes\":[],"
                + "\"steps\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"exported\":false}")
        #expect(
            Table.details(item) == """
                id             1
                name           n
                exported       no
                host.address   h
                host.sshPort   22
                notes          -
                sizeBytes      1536 (1.50 KiB)
                steps[0].name  a
                steps[1].name  b
                """)
    }

    @Test(
        arguments: [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (10230, "9.99 KiB"),
            (10240, "10.0 KiB"), (102_400, "100 KiB"), (1 << 20, "1.00 MiB"), ((1 << 20) - 1, "1.00 MiB"),
            (6 << 30, "6.00 GiB"), (Int64.max, "8192 PiB"),
        ] as [(Int64, String)])
    func bytes(count: Int64, text: String) { #expect(ByteText.short(count) == text) }

    @Test func progressLine() throws {
        let job = try json(
            "{\"state\":\"running\",\"progress\":{\"phase\":\"slice\",\"fraction\":0.61,\"doneBytes\":2083059138,"
                + "\"totalBytes\":6442450944,\"bytesPerSecond\":432013312,\"etaSeconds\":10,\"reusedBytes\":325058560}}"
        )
        #expect(
            JobLine.bar(job, columns: 200)
                == "slice  [##############..........]  61 %  1.94 GiB/6.00 GiB  412 MiB/s  ETA 0:10  reused 310 MiB")
        #expect(JobLine.bar(job, columns: 40).count == 39)
        #expect(JobLine.bar(job, columns: 5).count == 20)
    }

    @Test func progressLineOfLittle() throws {
        let queued = try json(
            "{\"state\":\"queued\",\"progress\":{\"fraction\":0,\"doneBytes\":0,\"bytesPerSecond\":0}}")
        #expect(JobLine.bar(queued, columns: 80) == "queued  [........................]  0 %  0 B")
        let step = try json(
            "{\"state\":\"running\",\"steps\":[{\"name\":\"probe\",\"state\":\"done\"},{\"name\":\"install\",\"state\":\"running\"}]}"
        )
        #expect(JobLine.bar(step, columns: 80).hasPrefix("install  ["))
        let absurd = try json("{\"progress\":{\"phase\":\"x\\u001b[2J\",\"fraction\":7,\"etaSeconds\":-5}}")
        #expect(JobLine.bar(absurd, columns: 80) == "x [2J  [########################]  100 %  ETA 0:00")
    }

    @Test(arguments: [(0, "0:00"), (9, "0:09"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")])
    func durations(seconds: Int64, text: String) { #expect(JobLine.duration(seconds) == text) }

    @Test(arguments: [
        ("{\"progress\":{\"fraction\":0.999}}", "99 %"), ("{\"progress\":{\"fraction\":1}}", "100 %"),
        ("{\"progress\":{}}", "-"), ("{}", "-"),
    ])
    func percents(job: String, text: String) throws { #expect(JobLine.percent(try json(job)) == text) }

    @Test func problemsNameWhatStandsInTheWay() throws {
        let body = try json(
            "{\"code\":\"data-center-not-empty\",\"detail\":\"it has storages\",\"field\":\"/x\","
                + "\"items\":[{\"id\":\"1\",\"name\":\"alpha\",\"reason\":\"is in it\"},{\"id\":\"2\"}]}")
        #expect(
            CLIError.problem(Problem(status: 409, body: body)).message == """
                it has storages (data-center-not-empty, field /x)
                  - alpha: is in it
                  - 2
                """)
        #expect(Problem(status: 502, body: nil).code == "http-502")
    }

    @Test func eventsAreTakenApart() {
        var parser = EventParser()
        var events: [ServerEvent] = []
        // Byte by byte, as a network may deliver it.
        let text =
            ": hello\nretry: 2000\n\nid: 7\nevent: job\ndata: {\"a\":\ndata: 1}\n\nevent: image\r\ndata: x\r\n\r\n\n: \n\ndata:y\n\n"
        for byte in Array(text.utf8) { events += parser.feed([byte]) }
        #expect(
            events == [
                ServerEvent(id: "7", type: "job", data: "{\"a\":\n1}"), ServerEvent(id: "7", type: "image", data: "x"),
                ServerEvent(id: "7", type: "message", data: "y"),
            ])
    }

    @Test func digestsOfContent() throws {
        let digest = Digest.sha256([1, 2, 3])
        let text = Data(digest.bytes).base64EncodedString()
        #expect(ContentDigestField.sha256(in: HTTPHeaders([("Repr-Digest", "sha-256=:\(text):")])) == digest)
        #expect(
            ContentDigestField.sha256(in: HTTPHeaders([("Repr-Digest", "sha-512=:AAAA:, sha-256=:\(text):")])) == digest
        )
        for other in ["sha-256=\(text)", "md5=:AAAA:", "", "sha-256=:!!:", "sha-256=:AAAA:"] {
            #expect(ContentDigestField.sha256(in: HTTPHeaders([("Repr-Digest", other)])) == nil, "\(other)")
        }
    }

    @Test(arguments: [
        "sha256:ab12", "AB:12", "ab12", "SHA256 Fingerprint=AB:12", "SHA-256:AB 12",
    ])
    func fingerprintsInEveryForm(text: String) { #expect(CertificateFingerprint.normalised(text) == "AB:12") }
}
