import Model

/// Asks how the agent is; this is the ping. Source: seed, "status"; peers.md.
package struct StatusVerb: AgentVerb {
    package static let name = "status"
    /// Creates the verb.
    package init() {}

    /// How the agent is.
    package struct Reply: Codable, Sendable, Equatable {
        /// The agent's version.
        package var agentVersion: String
        /// The store's id.
        package var storeID: StoreID
        /// Nil when the store works; else what is wrong, for people.
        package var degradedReason: String?
        /// How full it is.
        package var usage: StorageUsage
        /// True while the agent ends: it takes no new work.
        package var isDraining: Bool
        /// When the agent's certificate ends.
        package var certificateExpiresAt: Timestamp?

        /// Creates a reply.
        package init(
            agentVersion: String, storeID: StoreID, degradedReason: String?, usage: StorageUsage, isDraining: Bool,
            certificateExpiresAt: Timestamp?
        ) {
            self.agentVersion = agentVersion
            self.storeID = storeID
            self.degradedReason = degradedReason
            self.usage = usage
            self.isDraining = isDraining
            self.certificateExpiresAt = certificateExpiresAt
        }
    }
}

/// Tells the agent the admin's settings; sent after every connection and change, kept by the agent.
package struct ConfigureVerb: AgentVerb {
    package static let name = "configure"
    package typealias Reply = Done
    /// Bytes to keep free.
    package var reservedCapacityBytes: UInt64
    /// Blobs moved at once to the store.
    package var blobUploadConcurrency: BlobConcurrency
    /// Blobs moved at once from the store.
    package var blobDownloadConcurrency: BlobConcurrency
    /// Hours after which an idle upload or session is thrown away.
    package var sessionExpiryHours: Int

    /// Creates the verb.
    package init(
        reservedCapacityBytes: UInt64, blobUploadConcurrency: BlobConcurrency,
        blobDownloadConcurrency: BlobConcurrency, sessionExpiryHours: Int
    ) {
        self.reservedCapacityBytes = reservedCapacityBytes
        self.blobUploadConcurrency = blobUploadConcurrency
        self.blobDownloadConcurrency = blobDownloadConcurrency
        self.sessionExpiryHours = sessionExpiryHours
    }
}

/// Asks for a certificate request for the agent's own key, to renew its certificate over the live link.
package struct CertificateRequestVerb: AgentVerb {
    package static let name = "certificate-request"
    /// Creates the verb.
    package init() {}

    /// The request.
    package struct Reply: Codable, Sendable, Equatable {
        /// PKCS #10 in PEM.
        package var requestPEM: String
        /// Creates a reply.
        package init(requestPEM: String) { self.requestPEM = requestPEM }
    }
}

/// Hands the agent its new certificate; it is used for connections from then on.
package struct InstallCertificateVerb: AgentVerb {
    package static let name = "install-certificate"
    package typealias Reply = Done
    /// The agent's certificate in PEM.
    package var certificatePEM: String
    /// The roots to trust, in PEM, one after the other.
    package var authorityPEM: String

    /// Creates the verb.
    package init(certificatePEM: String, authorityPEM: String) {
        self.certificatePEM = certificatePEM
        self.authorityPEM = authorityPEM
    }
}
