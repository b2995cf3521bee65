import Disks
import FoundationEssentials
import Identity
import Model
import SliceStorage
import Storage
import Transport
import Wire

/// Why an agent does not start; words for the log.
struct StartFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The directory of an instance: what `host enrol` and `host install-certificate` wrote, and what the agent keeps.
struct Instance: Sendable {
    let directory: String
    let configuration: AgentConfiguration

    private static let keyFile = "key.pem"
    private static let certificateFile = "cert.pem"
    private static let authorityFile = "ca.pem"
    private static let deniedFile = "denied.json"
    private static let storeFile = "store.id"
    private static let importsFile = "import-directories"
    private static let configuredFile = "configured.json"

    init(directory: String) throws(StartFailure) {
        self.directory = directory
        let path = directory + "/" + AgentConfiguration.fileName
        guard let text = try Instance.onHost({ () throws(DisksError) in try HostFiles.read(path) }) else {
            throw StartFailure("there is no \(path); `lamina-agent host enrol` makes it")
        }
        do { configuration = try JSONDecoder().decode(AgentConfiguration.self, from: Data(text.utf8)) } catch {
            throw StartFailure("\(path) is damaged: \(error)")
        }
    }

    /// Who this agent is.
    var identity: PeerIdentity { .agent(of: configuration.imageStorageID) }

    // MARK: Certificates

    func key() throws(StartFailure) -> KeyPair {
        let pem = try read(Instance.keyFile)
        do throws(IdentityError) { return try KeyPair(pem: pem) } catch {
            throw StartFailure("\(directory)/\(Instance.keyFile): \(error)")
        }
    }

    func certificatePEM() throws(StartFailure) -> String { try read(Instance.certificateFile) }

    /// What the agent shows and trusts, and when its certificate ends.
    func credentials(clock: WallClock) throws(StartFailure) -> (Credentials, VerifiedPeer) {
        let (certificate, authority) = (try certificatePEM(), try read(Instance.authorityFile))
        let key = try key()
        do throws(IdentityError) {
            let owner = try CertificateFile.owner(of: certificate)
            guard owner.identity == identity else {
                throw .untrusted("\(Instance.certificateFile) is of \(owner.identity), not of \(identity)")
            }
            let verifier = try PeerVerifier(rootsPEM: authority, denied: try denied(), clock: clock)
            return (
                Credentials(certificatePEM: certificate, keyPEM: key.pem, authorityPEM: authority) { chain in
                    try await verifier.verify(chain: chain).identity
                }, owner
            )
        } catch { throw StartFailure("\(error)") }
    }

    /// Checks and keeps a new certificate.
    func install(certificatePEM: String, authorityPEM: String, clock: WallClock) async throws(AgentFailure) {
        let key: KeyPair
        do throws(StartFailure) { key = try self.key() } catch {
            throw AgentFailure(code: .internal, detail: error.description)
        }
        do throws(IdentityError) {
            let verifier = try PeerVerifier(rootsPEM: authorityPEM, clock: clock)
            let owner = try await verifier.verify(pem: certificatePEM)
            guard owner.identity == identity else { throw .untrusted("it is of \(owner.identity)") }
            guard try CertificateFile.isKey(key, of: certificatePEM) else {
                throw .untrusted("it is not for the key of this agent")
            }
        } catch { throw AgentFailure(code: .badRequest, detail: "the certificate was not installed: \(error)") }
        // The roots first: with new roots and the old certificate, or both new, the controller is still trusted.
        try keep(Instance.authorityFile, authorityPEM)
        try keep(Instance.certificateFile, certificatePEM)
    }

    private func denied() throws(IdentityError) -> DeniedSerials {
        let path = directory + "/" + Instance.deniedFile
        let text: String?
        do throws(DisksError) { text = try HostFiles.read(path) } catch {
            throw .unreadable(what: path, detail: "\(error)")
        }
        guard let text else { return DeniedSerials() }
        do { return try JSONDecoder().decode(DeniedSerials.self, from: Data(text.utf8)) } catch {
            throw .unreadable(what: path, detail: "\(error)")
        }
    }

    // MARK: Configuration

    /// What the controller configured last, in JSON.
    func configured() throws(StartFailure) -> [UInt8]? {
        let path = directory + "/" + Instance.configuredFile
        return try Instance.onHost { () throws(DisksError) in try HostFiles.read(path) }.map { Array($0.utf8) }
    }

    func keepConfigured(_ bytes: [UInt8]) throws(AgentFailure) {
        try keep(Instance.configuredFile, String(decoding: bytes, as: UTF8.self))
    }

    /// Directories that the host's own admin allows imports from, one absolute path a line; other lines are comments. The
    /// file lies beside the instances, where no agent may write.
    func importDirectories() throws(AgentFailure) -> [String] {
        let path = HostFiles.parent(of: directory) + "/" + Instance.importsFile
        do throws(DisksError) {
            return (try HostFiles.read(path) ?? "").split(whereSeparator: \.isNewline).map(String.init)
                .filter { $0.hasPrefix("/") }
        } catch { throw AgentFailure(code: .internal, detail: "\(path) cannot be read: \(error)") }
    }

    // MARK: The store

    /// Opens the store. It is made only when the configuration says so, the agent never had one, and there is none.
    func openStore(options: StoreOptions, now: Timestamp, newID: StoreID) throws(StartFailure) -> SliceStore {
        let mountPath = configuration.mountPath.text
        let found = try Instance.onHost { () throws(DisksError) in try FileSystemIdentity.of(mountPath).text }
        guard found == configuration.fileSystemID else {
            throw StartFailure(
                "at \(mountPath) is the file system \(found), the store is on \(configuration.fileSystemID): "
                    + "is the disk mounted?")
        }
        let known = try knownStore()
        do throws(StorageError) {
            if known == nil, configuration.createsStore == true,
                !HostFiles.exists(mountPath + "/" + SliceStore.directoryName + "/STORE")
            {
                try SliceStore.format(mountPath: mountPath, id: newID, fileSystem: found, at: now)
            }
            let store = try SliceStore.open(
                mountPath: mountPath, expecting: known, fileSystem: found, options: options)
            if known == nil {
                do throws(AgentFailure) { try keep(Instance.storeFile, "\(store.id)\n") } catch {
                    store.close()
                    throw .volume(detail: error.detail, during: "keep the store's id")
                }
            }
            return store
        } catch { throw StartFailure("the store at \(mountPath) cannot be opened: \(Instance.words(for: error))") }
    }

    private func knownStore() throws(StartFailure) -> StoreID? {
        let path = directory + "/" + Instance.storeFile
        guard let text = try Instance.onHost({ () throws(DisksError) in try HostFiles.read(path) }) else { return nil }
        let line = text.split(separator: "\n").first.map(String.init) ?? ""
        do throws(InvalidValue) { return try StoreID(parsing: line) } catch {
            throw StartFailure("\(path) is damaged: \(error)")
        }
    }

    /// A store's error for the log.
    static func words(for error: StorageError) -> String {
        switch error {
        case .wrongStore(let detail), .storeInUse(let detail): detail
        case .formatTooNew(let found, let supported):
            "it has format \(found), this program knows up to \(supported): update it"
        case .volume(let detail, let step): "\(step): \(detail)"
        case .corrupt(let image, let detail): (image.map { "image \($0): " } ?? "") + detail
        default: "\(error)"
        }
    }

    // MARK: Files

    private func read(_ name: String) throws(StartFailure) -> String {
        let path = directory + "/" + name
        guard let text = try Instance.onHost({ () throws(DisksError) in try HostFiles.read(path) }) else {
            throw StartFailure("there is no \(path); enrol the agent and install its certificate first")
        }
        return text
    }

    private func keep(_ name: String, _ text: String) throws(AgentFailure) {
        do throws(DisksError) {
            try HostFiles.write(text, to: directory + "/" + name, HostFiles.Access(mode: 0o600))
        } catch { throw AgentFailure(code: .internal, detail: "\(directory)/\(name) cannot be written: \(error)") }
    }

    private static func onHost<T>(_ body: () throws(DisksError) -> T) throws(StartFailure) -> T {
        do throws(DisksError) { return try body() } catch { throw StartFailure("\(error)") }
    }
}
