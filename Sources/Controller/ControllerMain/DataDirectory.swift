import ArgumentParser
import Foundation
import Identity
import Inventory
import Model
import NIOSSL
import Operations
import Secrets

/// Where the controller keeps its files.
struct DataDirectory {
    let path: String

    /// The inventory: records, sealed secrets, the certificate authority with its key sealed.
    var inventory: String { path + "/inventory.sqlite" }
    /// The key that seals secrets. Without it a backup is of no use; keep it apart from backups.
    var key: String { path + "/secret.key" }
    /// The certificate authority's certificate, for those who trust it. Written last: when it is there, all is.
    var authority: String { path + "/ca.pem" }
    /// Where a running controller takes requests of its own host.
    var control: String { path + "/control.sock" }

    /// The directory, made with mode 0700 when it is missing.
    static func made(at path: String) throws(ControllerError) -> DataDirectory {
        let absolute = URL(fileURLWithPath: path).standardizedFileURL.path
        do {
            try FileManager.default.createDirectory(
                atPath: absolute, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw ControllerError("cannot make '\(absolute)': \(error.localizedDescription)")
        }
        return DataDirectory(path: absolute)
    }

    /// The directory of a controller that was set up.
    static func existing(at path: String) throws(ControllerError) -> DataDirectory {
        let directory = DataDirectory(path: URL(fileURLWithPath: path).standardizedFileURL.path)
        guard FileManager.default.fileExists(atPath: directory.authority) else {
            throw ControllerError(
                "'\(directory.path)' holds no controller; run: lamina-controller init --data-dir \(directory.path)")
        }
        return directory
    }

    /// Opens the inventory with its key.
    func openInventory(mayCreateKey: Bool) throws(ControllerError) -> Inventory {
        do {
            let sealer = try Sealer.open(keyFile: key, mayCreate: mayCreateKey, randomness: .system)
            return try Inventory.open(path: inventory, sealer: sealer, clock: .system)
        } catch {
            throw ControllerError("\(error)")
        }
    }

    /// Writes a file by a rename, with the given mode.
    static func write(_ text: String, to path: String, mode: Int) throws(ControllerError) {
        let temporary = path + ".new"
        do {
            try Data(text.utf8).write(to: URL(fileURLWithPath: temporary))
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: temporary)
        } catch {
            throw ControllerError("cannot write '\(temporary)': \(error.localizedDescription)")
        }
        guard rename(temporary, path) == 0 else {
            throw ControllerError("cannot write '\(path)': \(String(cString: strerror(errno)))")
        }
    }
}

extension Randomness {
    /// The system's generator.
    static let system = Randomness { count in
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }
}

extension WallClock {
    /// The system's clock.
    static let system = WallClock { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }
}

/// Options of every command.
struct DataDirectoryOption: ParsableArguments {
    @Option(name: .customLong("data-dir"), help: "The directory of the controller's files.", completion: .directory)
    var path: String = "/var/lib/lamina"
}

/// The fingerprint of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
enum Fingerprint {
    static func sha256(pem: String) throws(ControllerError) -> String {
        do {
            guard let first = try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).first else {
                throw ControllerError("no certificate")
            }
            let hex = Array(Digest.sha256(try first.toDERBytes()).hex.uppercased())
            return stride(from: 0, to: hex.count, by: 2).map { String(hex[$0...$0 + 1]) }.joined(separator: ":")
        } catch {
            throw ControllerError("the certificate authority cannot be read: \(error)")
        }
    }
}
