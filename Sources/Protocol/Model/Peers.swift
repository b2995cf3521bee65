/// What a `PeerID` names.
package enum PeerKind {}
/// One end of a link: the UUID in its certificate. An agent's is the id of the storage it serves.
package typealias PeerID = ID<PeerKind>

/// What one end of a link may do.
package enum PeerRole: String, Codable, Sendable, CaseIterable {
    /// Asks.
    case controller
    /// Answers.
    case agent
}

/// Who is at the other end of a link, as its verified certificate says.
package struct PeerIdentity: Hashable, Sendable, CustomStringConvertible {
    /// What it may do.
    package var role: PeerRole
    /// Who it is.
    package var id: PeerID

    /// Creates an identity.
    package init(role: PeerRole, id: PeerID) {
        self.role = role
        self.id = id
    }

    /// The agent that serves a storage.
    package static func agent(of storage: ImageStorageID) -> PeerIdentity {
        // 16 bytes make an id, always.
        PeerIdentity(role: .agent, id: PeerID(bytes: storage.bytes)!)
    }

    /// `agent 01234567-…`.
    package var description: String { "\(role.rawValue) \(id)" }
}
