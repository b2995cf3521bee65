import ArgumentParser
import Foundation
import Model
import NIOHTTP1

extension ImageType: ExpressibleByArgument {}
extension ImageFormat: ExpressibleByArgument {}

struct AddImage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add an image from a URL, a file here or a path on the storage's host.",
        discussion: "An upload that was cut goes on where it was when the same command is given again.",
        aliases: ["create"])

    @Option(help: "The image storage, by name or id.") var storage: String
    @Option(help: "Its name; that of the file without its ending when absent.") var name: String?
    @Option(help: "Its description.") var description: String?
    @Option(help: "Fetch it from this URL: http, https, ftp or sftp.") var url: String?
    @Option(help: "Upload this file.", completion: .file()) var file: String?
    @Option(help: "Take it from this absolute path on the storage's host.") var hostPath: String?
    @Option(help: "What it is for; an iso is for a system, anything else is a disk when absent.") var type: ImageType?
    @Option(help: "Its container; by the ending of the file's name when absent.") var format: ImageFormat?
    @Option(help: "The SHA-256 that the file must have: sha256:HEX.") var checksum: String?
    @OptionGroup var wait: WaitOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard [url, file, hostPath].compactMap(\.self).count == 1 else {
            throw ValidationError("give one of --url, --file and --host-path")
        }
        if let checksum, (try? Digest(parsing: checksum)) == nil {
            throw ValidationError("--checksum is 'sha256:' and 64 hexadecimal digits")
        }
        if format == nil, guessedFormat == nil {
            throw ValidationError("the ending of '\(fileName)' says no format: give --format")
        }
        if (format ?? guessedFormat) == .iso, type == .disk {
            throw ValidationError("an iso image is a system image")
        }
    }

    /// The last part of the path or URL.
    private var fileName: String {
        if let url {
            let path = URLComponents(string: url)?.path ?? url
            return String(path.split(separator: "/").last ?? "")
        }
        return String((file ?? hostPath ?? "").split(separator: "/").last ?? "")
    }

    private var guessedFormat: ImageFormat? { FormatGuess.format(ofFileName: fileName) }

    func run() async throws {
        let format = format ?? guessedFormat ?? .raw
        var body = JSONObject()
        body.set("name", name ?? FormatGuess.stem(ofFileName: fileName))
        body.set("description", description)
        body.set("type", (type ?? (format == .iso ? .system : .disk)).rawValue)
        body.set("format", format.rawValue)
        let prepared = body
        try await global.withAPI { api in
            var body = prepared
            let storageID = try await api.id(.storage, storage)
            body.set("imageStorageId", storageID)
            var checksum = checksum
            var source = JSONObject()
            var remembered: RememberedUpload?
            if let file {
                let upload = try await FileUpload(api: api, path: file, storageID: storageID).run()
                remembered = upload.remembered
                source.set("uploadId", upload.id)
                // What was read here is what must arrive, whoever is in between.
                if let checksum, let given = try? Digest(parsing: checksum), given != upload.digest {
                    throw CLIError.damaged(
                        "'\(file)' has the SHA-256 \(upload.digest), not \(given); the upload is kept for an hour or more, "
                            + "and no image was made")
                }
                checksum = upload.digest.description
            }
            source.set("url", url)
            source.set("hostPath", hostPath)
            body.set("source", source)
            body.set("checksum", checksum)
            let answer = try await api.send(.POST, Noun.image.path, body: body.json).json
            // The upload belongs to the job now.
            if let remembered { try RememberedUploads.forget(remembered) }
            try await JobWatcher(api: api, global: global).follow([answer], wait: wait)
        }
    }
}

/// What the name of a file says of its format.
package enum FormatGuess {
    private static let endings: [String: ImageFormat] = [
        "qcow2": .qcow2, "qcow": .qcow2, "raw": .raw, "img": .raw, "iso": .iso, "vmdk": .vmdk,
        "vhd": .vhd, "vhdx": .vhdx,
    ]

    /// The format by the ending; nil when it says none. A `.img` may be a qcow2: the controller refuses it then, with the
    /// name of the real format.
    package static func format(ofFileName name: String) -> ImageFormat? {
        guard let dot = name.lastIndex(of: ".") else { return nil }
        return endings[name[name.index(after: dot)...].lowercased()]
    }

    /// The name without the ending of a format.
    package static func stem(ofFileName name: String) -> String {
        guard format(ofFileName: name) != nil, let dot = name.lastIndex(of: "."), dot != name.startIndex else {
            return name.isEmpty ? "image" : name
        }
        return String(name[..<dot])
    }
}
