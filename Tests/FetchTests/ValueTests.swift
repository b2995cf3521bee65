// Goal: what a request says is understood or refused, and never shown with its secrets.
import Fetch
import Model
import Testing

@Suite struct FetchValues {
    @Test(arguments: [
        ("http://keeper:secret@host/a/b?token=secret#secret", "http://host/a/b"),
        ("https://host:8443/x", "https://host:8443/x"),
        ("sftp://keeper;fingerprint=SHA256:x:secret@host/x", "sftp://host/x"),
        ("not a URL secret", "(a URL that cannot be read)"),
        ("http://secret@", "(a URL that cannot be read)"),
    ])
    func redacts(_ url: String, _ shown: String) {
        #expect(FetchRequest(url: url).redacted == shown)
    }

    @Test(arguments: [
        "", "host/file", "http://", "http:///file", "http://ho st/", "http://host/\r\nx", "ftp://host/",
        "sftp://host/dir/",
        "ftp://host/file;type=a", "http://host:99999/", "http://" + String(repeating: "a", count: 5000),
        "sftp://keeper;fingerprint=SHA256:short@host/x",
    ])
    func refusesURLs(_ url: String) {
        let caught = Caught().get(.local(url))
        switch caught.error {
        case .invalidURL, .schemeNotAllowed: break
        default: #expect(Bool(false), "\(caught.words)")
        }
    }

    @Test func pausesGrowToABound() {
        let policy = RetryPolicy(failureCountMax: 4, pauseFirst: .seconds(2), pauseMax: .seconds(5))
        let broken = FetchError.interrupted("reset")
        #expect(policy.pause(after: broken, failures: 1, spread: 1) == .seconds(2))
        #expect(policy.pause(after: broken, failures: 1, spread: 0) == .seconds(1))
        #expect(policy.pause(after: broken, failures: 2, spread: 1) == .seconds(4))
        #expect(policy.pause(after: broken, failures: 3, spread: 1) == .seconds(5))
        #expect(policy.pause(after: broken, failures: 4, spread: 1) == nil)
        #expect(policy.pause(after: .fileNotFound, failures: 1, spread: 1) == nil)
        #expect(policy.pause(after: .status(code: 503, retryAfterSeconds: 3), failures: 1, spread: 0) == .seconds(3))
        #expect(policy.pause(after: .status(code: 429, retryAfterSeconds: 9000), failures: 1, spread: 0) == .seconds(5))
        #expect(policy.pause(after: .status(code: 500, retryAfterSeconds: nil), failures: 1, spread: 1) == .seconds(2))
        #expect(policy.pause(after: .status(code: 400, retryAfterSeconds: nil), failures: 1, spread: 1) == nil)
    }
}
