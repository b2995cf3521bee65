/// `agent.json` of an instance: what `lamina-agent serve --instance DIRECTORY` needs to know before anybody talks to it.
/// Beside it lie `key.pem`, `cert.pem` and `ca.pem`. Written by the host verb `enrol`.
package struct AgentConfiguration: Hashable, Sendable, Codable {
    /// The storage the instance serves.
    package var imageStorageID: ImageStorageID
    /// Where its store is: `MOUNTPATH/lamina`.
    package var mountPath: MountPath
    /// The identity of the file system that must be there (`FileSystemIdentity`); on any other the store stays shut.
    package var fileSystemID: String
    /// The addresses to listen on, and no others.
    package var listenAddresses: [String]
    /// The port on each of them.
    package var port: UInt16
    /// Whether the agent makes a new store when there is none and it never had one. Left out: it does not.
    package var createsStore: Bool?

    /// The name of the file in the instance's directory.
    package static let fileName = "agent.json"
    /// The first port that `enrol` tries.
    package static let portMin: UInt16 = 7443

    /// Creates a configuration from its parts.
    package init(
        imageStorageID: ImageStorageID, mountPath: MountPath, fileSystemID: String, listenAddresses: [String],
        port: UInt16, createsStore: Bool? = nil
    ) {
        self.imageStorageID = imageStorageID
        self.mountPath = mountPath
        self.fileSystemID = fileSystemID
        self.listenAddresses = listenAddresses
        self.port = port
        self.createsStore = createsStore
    }
}
