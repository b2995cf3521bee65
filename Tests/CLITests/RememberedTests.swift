import CLI
import Foundation
// Goal: what the command keeps between runs is private, survives damage, and is only ever used for what it is of.
// Method: the files are written, damaged and read again.
import Model
import NIOHTTP1
import Testing

@Suite struct RememberedTests {
    private final class Folder {
        let url = FileManager.default.temporaryDirectory.appending(path: "lamina-state-\(UUID())")
        deinit { try? FileManager.default.removeItem(at: url) }
        /// In a folder that is not there yet.
        var path: String { url.appending(path: "deep/uploads.json").path }
    }

    private func upload(_ number: Int, location: String = "") -> RememberedUpload {
        RememberedUpload(
            controller: "https://a", storageID: "s", path: "/f\(number)", byteCount: 5, modifiedNanoseconds: 7,
            location: location)
    }

    @Test func uploadIsRememberedUntilForgotten() throws {
        let folder = Folder()
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == nil)
        try RememberedUploads.remember(upload(1, location: "/v1/uploads/x"), in: folder.path)
        try RememberedUploads.remember(upload(2, location: "/v1/uploads/y"), in: folder.path)
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == "/v1/uploads/x")
        try RememberedUploads.remember(upload(1, location: "/v1/uploads/z"), in: folder.path)
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == "/v1/uploads/z")
        try RememberedUploads.forget(upload(1), in: folder.path)
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == nil)
        #expect(RememberedUploads.location(of: upload(2), in: folder.path) == "/v1/uploads/y")
    }

    @Test func otherFilesAreOtherUploads() throws {
        let folder = Folder()
        try RememberedUploads.remember(upload(1, location: "x"), in: folder.path)
        var changed = [upload(1), upload(1), upload(1), upload(1), upload(1)]
        changed[0].controller = "https://b"
        changed[1].storageID = "t"
        changed[2].path = "/other"
        changed[3].byteCount = 6
        changed[4].modifiedNanoseconds = 8
        for other in changed {
            #expect(!other.isSameTransfer(as: upload(1)))
            #expect(RememberedUploads.location(of: other, in: folder.path) == nil)
        }
    }

    @Test func oldestAreForgottenFirst() throws {
        let folder = Folder()
        for number in 0..<102 { try RememberedUploads.remember(upload(number, location: "\(number)"), in: folder.path) }
        #expect(RememberedUploads.location(of: upload(0), in: folder.path) == nil)
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == nil)
        #expect(RememberedUploads.location(of: upload(2), in: folder.path) == "2")
        #expect(RememberedUploads.location(of: upload(101), in: folder.path) == "101")
    }

    @Test func damagedFileBeginsAnew() throws {
        let folder = Folder()
        try RememberedUploads.remember(upload(1, location: "x"), in: folder.path)
        try Data("{".utf8).write(to: URL(fileURLWithPath: folder.path))
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == nil)
        try RememberedUploads.remember(upload(1, location: "y"), in: folder.path)
        #expect(RememberedUploads.location(of: upload(1), in: folder.path) == "y")
    }

    @Test func profileIsForItsOwnerAlone() throws {
        let folder = Folder()
        var profile = Profile(url: "https://a")
        profile.token = "lamina_x"
        profile.authorityPEM = "pem"
        let path = folder.url.appending(path: "lamina/config.json").path
        try profile.save(to: path)
        try profile.save(to: path)
        #expect(try Profile.load(from: path) == profile)
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let above = try FileManager.default.attributesOfItem(atPath: (path as NSString).deletingLastPathComponent)
        #expect(above[.posixPermissions] as? Int == 0o700)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path + "/lamina") == ["config.json"])
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: CLIError.self) { try Profile.load(from: path) }
        #expect(try Profile.load(from: path + ".none") == nil)
    }

    @Test func placesOfFiles() {
        #expect(
            Profile.directory(
                "XDG_CONFIG_HOME", below: ".config", environment: ["XDG_CONFIG_HOME": "/x", "HOME": "/h"])
                == "/x/lamina")
        // A relative one is to be ignored, says the specification of XDG.
        #expect(
            Profile.directory("XDG_CONFIG_HOME", below: ".config", environment: ["XDG_CONFIG_HOME": "x", "HOME": "/h"])
                == "/h/.config/lamina")
        #expect(
            Profile.directory("XDG_STATE_HOME", below: ".local/state", environment: [:]) == "/root/.local/state/lamina")
    }
}
