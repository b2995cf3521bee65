import ArgumentParser
import NIOHTTP1

/// A host and how to log in to it.
struct HostOptions: ParsableArguments {
    @Option(name: .customLong("host"), help: "The address of the host: an IP address or a name.")
    var address: String

    @Option(name: .customLong("ssh-port"), help: "The port of its SSH server.")
    var port: Int = 22

    @Option(name: .shortAndLong, help: "The user to log in as: root or one with sudo.")
    var username: String = "root"

    @Option(help: "The SHA-256 fingerprint of the host's SSH key (SHA256:…).")
    var hostKey: String?

    @OptionGroup var credential: HostCredentialOptions

    /// The member `host` of a request.
    func body() throws(CLIError) -> JSONObject {
        let secret = try credential.read(prompt: "Password of \(username)@\(address)")
        var host = JSONObject()
        host.set("address", address)
        host.set("sshPort", port)
        host.set("username", username)
        host.set("hostKey", hostKey)
        host.set(secret.key, secret.value)
        return host
    }
}

/// What can be changed of a storage after it was added.
struct StorageSettings: ParsableArguments {
    @Option(help: "The network for synchronising images, such as 10.1.0.0/24; 'none' takes it away.")
    var syncNetwork: String?

    @Option(help: "The network for compute hosts, such as 10.2.0.0/24; 'none' takes it away.")
    var dataNetwork: String?

    @Option(help: "Bytes to keep free, such as 1GiB.")
    var reserved: String?

    @Option(help: "Blobs written at once, 1 to 16.")
    var uploadConcurrency: Int?

    @Option(help: "Blobs read at once, 1 to 16.")
    var downloadConcurrency: Int?

    func add(to object: inout JSONObject) throws(CLIError) {
        for (key, value) in [("imageSyncNetwork", syncNetwork), ("dataNetwork", dataNetwork)] {
            guard let value else { continue }
            object.set(key, raw: value == "none" ? .null : .string(value))
        }
        if let reserved {
            guard let count = ByteText.parse(reserved) else {
                throw .usage("--reserved '\(reserved)' is not a size, such as 1GiB")
            }
            object.set("reservedCapacityBytes", count)
        }
        if let uploadConcurrency { object.set("blobUploadConcurrency", uploadConcurrency) }
        if let downloadConcurrency { object.set("blobDownloadConcurrency", downloadConcurrency) }
    }
}

struct AddStorage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add an image storage.", subcommands: [Standalone.self], aliases: ["create"])

    struct Standalone: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add an image storage on one host.",
            discussion: "With --disk the disk is formatted: everything on it is lost.")

        @Option(help: "Its name.") var name: String
        @Option(help: "Its description.") var description: String?
        @Option(help: "The data center, by name or id.") var dataCenter: String
        @OptionGroup var host: HostOptions
        @Option(help: "Format this free disk, such as /dev/vdb, and mount it.") var disk: String?
        @Flag(help: "Use a directory of a file system that is there already.") var localDirectory = false
        @Option(help: "The absolute path at which the images are kept.") var mountPath: String
        @Flag(help: "Take over the images that the mount path already holds.") var retrieveExistingImages = false
        @OptionGroup var settings: StorageSettings
        @OptionGroup var confirm: ConfirmOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var global: GlobalOptions

        func validate() throws {
            guard (disk != nil) != localDirectory else {
                throw ValidationError("give one of --disk DEVICE and --local-directory")
            }
        }

        func run() async throws {
            if let disk {
                try Terminal.confirm(
                    "Format \(disk) on \(host.address)? Everything on it is lost.", isConfirmed: confirm.yes)
            }
            let secret = try host.body()
            var body = JSONObject()
            body.set("type", "standalone")
            body.set("name", name)
            body.set("description", description)
            body.set("mountPath", mountPath)
            var method = JSONObject()
            method.set("method", disk == nil ? "localDirectory" : "freeDisk")
            method.set("device", disk)
            body.set("disk", method)
            if retrieveExistingImages { body.set("retrieveExistingImages", true) }
            try settings.add(to: &body)
            let prepared = body
            try await global.withAPI { api in
                var body = prepared
                var hostBody = secret
                body.set("dataCenterId", try await api.id(.dataCenter, dataCenter))
                if host.hostKey == nil { try await acceptHostKey(api, &hostBody) }
                body.set("host", hostBody)
                let answer = try await api.send(.POST, Noun.storage.path, body: body.json).json
                try await JobWatcher(api: api, global: global).follow([answer], wait: wait)
            }
        }

        /// Shows the host's key on first contact, as `ssh` does. Without a terminal the first key seen is stored.
        private func acceptHostKey(_ api: APIClient, _ host: inout JSONObject) async throws {
            guard Terminal.canAsk, !confirm.yes else { return }
            let report = try await api.send(
                .POST, "/v1/image-storages/probe", body: .object(["host": host.json])
            ).json
            guard let key = report["hostKey"].text else { return }
            try Terminal.confirm("The host's SSH key is \(key). Trust it?", isConfirmed: false)
            host.set("hostKey", key)
        }
    }
}
