import CCrypto
import Disks
import FoundationEssentials
import Glibc
import Model

extension HostVerbs {
    static let keyFile = "key.pem"
    static let certificateFile = "cert.pem"
    static let authorityFile = "ca.pem"
    /// How many ports are tried, from `AgentConfiguration.portMin` upward.
    private static let portCount: UInt16 = 1000

    func enrol(_ input: EnrolInput) throws(HostVerbFailure) -> EnrolOutput {
        let directory = layout.instance(input.imageStorageID)
        let owner = try layout.owner()
        let secret = HostFiles.Access(mode: 0o600, owner: owner.user, group: owner.group)
        guard !input.listenAddresses.isEmpty else {
            throw HostVerbFailure(.badInput, "an agent needs at least one address to listen on")
        }
        var before = try configuration(of: input.imageStorageID)
        let createsStore =
            input.createsStore ?? before?.createsStore ?? !HostFiles.exists(input.mountPath.text + "/lamina/STORE")
        if before?.listenAddresses != input.listenAddresses { before = nil }
        let port: UInt16
        if let before { port = before.port } else { port = try freePort(for: input) }
        let (made, kept) = try onHost { () throws(DisksError) in
            try HostFiles.makeDirectory(directory, HostFiles.Access(mode: 0o700, owner: owner.user, group: owner.group))
            return (directory + "/" + HostVerbs.keyFile, try HostFiles.read(directory + "/" + HostVerbs.keyFile))
        }
        let (keyPEM, csrPEM) = try makeCSR(input.imageStorageID, kept)
        let settings = AgentConfiguration(
            imageStorageID: input.imageStorageID, mountPath: input.mountPath, fileSystemID: input.fileSystemID,
            listenAddresses: input.listenAddresses, port: port, createsStore: createsStore)
        let text = String(decoding: try HostVerbs.encode(settings), as: UTF8.self) + "\n"
        try onHost { () throws(DisksError) in
            if keyPEM != kept { try HostFiles.write(keyPEM, to: made, secret) }
            try HostFiles.write(text, to: directory + "/" + AgentConfiguration.fileName, secret)
        }
        return EnrolOutput(csrPEM: csrPEM, port: port, agentVersion: agentVersion)
    }

    func installCertificate(_ input: InstallCertificateInput) throws(HostVerbFailure) -> EmptyOutput {
        let directory = layout.instance(input.imageStorageID)
        let owner = try layout.owner()
        let access = HostFiles.Access(mode: 0o600, owner: owner.user, group: owner.group)
        guard
            let keyPEM = try onHost({ () throws(DisksError) in try HostFiles.read(directory + "/" + HostVerbs.keyFile) }
            )
        else {
            throw HostVerbFailure(
                .notInstalled, "there is no agent for the storage \(input.imageStorageID) on this host")
        }
        guard Certificates.fit(certificatePEM: input.certificatePEM, keyPEM: keyPEM) else {
            throw HostVerbFailure(.certificateRefused, "the certificate is not for the key of this agent")
        }
        guard Certificates.isCertificate(input.caPEM) else {
            throw HostVerbFailure(.certificateRefused, "what was given as the authority is no certificate")
        }
        try onHost { () throws(DisksError) in
            try HostFiles.write(input.caPEM, to: directory + "/" + HostVerbs.authorityFile, access)
            try HostFiles.write(input.certificatePEM, to: directory + "/" + HostVerbs.certificateFile, access)
        }
        return EmptyOutput()
    }

    /// What `enrol` wrote; nil when it never did.
    func configuration(of storage: ImageStorageID) throws(HostVerbFailure) -> AgentConfiguration? {
        let path = layout.instance(storage) + "/" + AgentConfiguration.fileName
        guard let text = try onHost({ () throws(DisksError) in try HostFiles.read(path) }) else { return nil }
        do { return try JSONDecoder().decode(AgentConfiguration.self, from: Data(text.utf8)) } catch {
            throw HostVerbFailure(.inputOutput, "'\(path)' is damaged: \(error)")
        }
    }

    // The first port that no instance has and that can be bound on every address now.
    private func freePort(for input: EnrolInput) throws(HostVerbFailure) -> UInt16 {
        var taken: Set<UInt16> = []
        for other in layout.storages() where other != input.imageStorageID {
            if let port = try configuration(of: other)?.port { taken.insert(port) }
        }
        for offset in 0..<HostVerbs.portCount {
            let port = AgentConfiguration.portMin + offset
            if taken.contains(port) { continue }
            var isFree = true
            for address in input.listenAddresses where isFree { isFree = try Ports.isFree(port, on: address) }
            if isFree { return port }
        }
        throw HostVerbFailure(.noFreePort, "no port from \(AgentConfiguration.portMin) upward is free on this host")
    }
}

/// The two questions about certificates that an enrolment asks.
enum Certificates {
    static func isCertificate(_ pem: String) -> Bool {
        guard let certificate = read(pem) else { return false }
        X509_free(certificate)
        return true
    }

    /// Whether the first certificate in the PEM is for the key.
    static func fit(certificatePEM: String, keyPEM: String) -> Bool {
        guard let certificate = read(certificatePEM) else { return false }
        defer { X509_free(certificate) }
        let key = withBIO(keyPEM) { PEM_read_bio_PrivateKey($0, nil, nil, nil) }
        guard let key else { return false }
        defer { EVP_PKEY_free(key) }
        return X509_check_private_key(certificate, key) == 1
    }

    private static func read(_ pem: String) -> OpaquePointer? { withBIO(pem) { PEM_read_bio_X509($0, nil, nil, nil) } }

    private static func withBIO(_ text: String, _ body: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
        var bytes = Array(text.utf8)
        guard let source = BIO_new_mem_buf(&bytes, Int32(bytes.count)) else { return nil }
        defer { BIO_free(source) }
        return body(source)
    }
}
