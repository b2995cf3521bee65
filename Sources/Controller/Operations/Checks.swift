import Bootstrap
import Foundation
import Inventory
import Model

/// Makes a value of the model from what somebody typed; `field` is the JSON pointer to it.
func checked<T>(_ field: String, _ make: () throws(InvalidValue) -> T) throws(OperationError) -> T {
    do throws(InvalidValue) { return try make() } catch { throw .invalid(field: field, detail: error.reason) }
}

extension HostSpec {
    /// The door into the host.
    func target() throws(OperationError) -> SSHTarget {
        let address = try checked("/host/address") { () throws(InvalidValue) in try HostAddress(self.address) }
        try Check.port(sshPort, "/host/sshPort")
        let user = try checked("/host/username") { () throws(InvalidValue) in try UserName(username) }
        try Check.credential(credential, "/host")
        if let hostKey { try Check.hostKey(hostKey, "/host/hostKey") }
        return SSHTarget(
            address: address, port: sshPort, user: user, credential: credential.ssh, expectedHostKey: hostKey)
    }
}

extension HostCredential {
    var kind: CredentialKind {
        switch self {
        case .password: .password
        case .privateKey: .privateKey
        }
    }

    var secret: Secret {
        switch self {
        case .password(let secret), .privateKey(let secret): secret
        }
    }

    var ssh: SSHCredential {
        switch self {
        case .password(let secret): .password(secret)
        case .privateKey(let secret): .privateKey(secret)
        }
    }
}

/// Checks of what the model has no type for.
enum Check {
    static func name(_ text: String, _ field: String = "/name") throws(OperationError) -> String {
        try checked(field) { () throws(InvalidValue) in try ResourceName(text) }.text
    }

    static func description(_ text: String) throws(OperationError) -> String {
        try checked("/description") { () throws(InvalidValue) in try Description(text) }.text
    }

    static func network(_ text: String?, _ field: String) throws(OperationError) -> String? {
        guard let text else { return nil }
        return try checked(field) { () throws(InvalidValue) in try CIDR(parsing: text) }.description
    }

    static func concurrency(_ count: Int, _ field: String) throws(OperationError) -> Int {
        try checked(field) { () throws(InvalidValue) in try BlobConcurrency(count) }.count
    }

    static func port(_ port: Int, _ field: String) throws(OperationError) {
        guard (1...65535).contains(port) else { throw .invalid(field: field, detail: "a port is 1 to 65535") }
    }

    static func capacity(_ bytes: UInt64) throws(OperationError) {
        guard bytes <= UInt64(Int64.max) else {
            throw .invalid(field: "/reservedCapacityBytes", detail: "more than any storage has")
        }
    }

    static func hostKey(_ text: String, _ field: String) throws(OperationError) {
        let rest = text.dropFirst(7)
        let isFingerprint =
            text.hasPrefix("SHA256:") && rest.utf8.count == 43
            && rest.utf8.allSatisfy { Ascii.isAlphanumeric($0) || $0 == 0x2b || $0 == 0x2f }
        guard isFingerprint else {
            throw .invalid(field: field, detail: "a host key is 'SHA256:' and 43 characters, as ssh-keygen -l shows it")
        }
    }

    static func credential(_ credential: HostCredential, _ field: String) throws(OperationError) {
        let (part, bound) =
            switch credential {
            case .password: ("password", 1024)
            case .privateKey: ("privateKey", 32 << 10)
            }
        let text = credential.secret.reveal
        guard !text.isEmpty, text.utf8.count <= bound else {
            throw .invalid(field: "\(field)/\(part)", detail: "1 to \(bound) bytes")
        }
        // A line ending would end the password early where it is given to sudo.
        let isOneLine = !text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
        if case .password = credential, !isOneLine {
            throw .invalid(field: "\(field)/\(part)", detail: "a password must not have control characters")
        }
    }

    static func hostPath(_ path: String) throws(OperationError) {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        let isNormal = path.hasPrefix("/") && !parts.contains("") && !parts.contains(".") && !parts.contains("..")
        let isPlain = !path.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
        guard isNormal, isPlain, path.utf8.count <= OperationsLimits.sourceByteCountMax else {
            throw .invalid(
                field: "/source/hostPath",
                detail: "an absolute path of a file in normal form: no '//', '.' or '..', no control characters")
        }
    }

    /// The URL without user info, query and fragment: what may be stored in clear and shown.
    static func url(_ url: Secret) throws(OperationError) -> String {
        let text = url.reveal
        let isPlain = text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value < 0x7f }
        guard text.utf8.count <= OperationsLimits.sourceByteCountMax, isPlain,
            var parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            let host = parts.host, !host.isEmpty
        else { throw .invalid(field: "/source/url", detail: "not a URL; escape spaces and other special characters") }
        guard ["http", "https", "ftp", "sftp"].contains(scheme) else {
            throw .invalid(field: "/source/url", detail: "a URL begins with http:, https:, ftp: or sftp:")
        }
        parts.user = nil
        parts.password = nil
        parts.query = nil
        parts.fragment = nil
        guard let shown = parts.string else { throw .invalid(field: "/source/url", detail: "not a URL") }
        return shown
    }
}
