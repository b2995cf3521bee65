import ArgumentParser
import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1
import NIOSSL

struct LogIn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Log in to a controller and remember it.",
        discussion: """
            The controller has its own certificate authority. Give its file (--ca), or its fingerprint as printed when \
            the controller was set up (--fingerprint); without either you are asked.
            """)

    @Argument(help: "The controller, such as https://lamina.example:8443.")
    var url: String

    @Option(name: .customLong("ca"), help: "A PEM file with the controller's certificate authority.")
    var authorityFile: String?

    @Option(help: "The SHA-256 fingerprint of the controller's certificate authority.")
    var fingerprint: String?

    @Option(name: .shortAndLong, help: "The account.")
    var username: String?

    @OptionGroup var password: PasswordOptions

    func validate() throws {
        if authorityFile != nil, fingerprint != nil { throw ValidationError("give one of --ca and --fingerprint") }
    }

    func run() async throws {
        let address = try ControllerURL.normalised(url)
        var profile = Profile(url: address)
        if address.hasPrefix("https:") { profile.authorityPEM = try await authority(of: address) }
        let name = try username ?? Terminal.ask("Username")
        let secret = try password.read(prompt: "Password")
        let answer = try await APIClient.with(profile) { api in
            try await api.send(
                .POST, "/v1/sessions", body: .object(["username": .string(name), "password": .string(secret)]))
        }
        profile.token = answer.json["token"].text
        profile.username = name
        profile.role = answer.json["role"].text
        profile.expiresAt = answer.json["expiresAt"].text
        try profile.save()
        Terminal.print("Logged in to \(address) as \(name) (\(profile.role ?? "?")).")
    }

    /// The certificate authority to trust: given, already known, pinned by its fingerprint, or accepted by a person.
    private func authority(of address: String) async throws -> String? {
        if let file = authorityFile ?? ProcessInfo.processInfo.environment["LAMINA_CA"] {
            return try SecretOptions.contents(of: file)
        }
        if fingerprint == nil, let known = try Profile.load(), known.url == address { return known.authorityPEM }
        if fingerprint == nil, await isTrustedBySystem(address) { return nil }
        let pem = try await fetchAuthority(address)
        let found = try CertificateFingerprint.sha256(pem: pem)
        if let fingerprint {
            guard CertificateFingerprint.normalised(fingerprint) == found else {
                throw CLIError.notReachable(
                    "the certificate authority of \(address) has another fingerprint:\n  \(found)\n"
                        + "Someone may be between you and the controller. Nothing was sent.")
            }
        } else {
            Terminal.note("\(address) has its own certificate authority with the SHA-256 fingerprint\n  \(found)")
            guard Terminal.canAsk else {
                throw CLIError.usage("give --ca FILE or --fingerprint; there is no terminal to ask on")
            }
            try Terminal.confirm("Is this what the controller printed when it was set up?", isConfirmed: false)
        }
        return pem
    }

    private func isTrustedBySystem(_ address: String) async -> Bool {
        do {
            _ = try await APIClient.with(Profile(url: address)) { try await $0.send(.GET, "/healthz") }
            return true
        } catch {
            return false
        }
    }

    /// Fetches `/ca.pem` without verifying the peer. What comes is trusted only after its fingerprint was compared.
    private func fetchAuthority(_ address: String) async throws -> String {
        let http = APIClient.makeHTTP(roots: .default, isVerifying: false)
        do {
            let response = try await http.execute(
                HTTPClientRequest(url: address + "/ca.pem"), timeout: .seconds(20))
            let body = try await response.body.collect(upTo: SecretOptions.byteCountMax)
            try await http.shutdown()
            guard response.status.code == 200 else {
                throw CLIError.unexpectedAnswer("\(address) does not offer its certificate authority; use --ca FILE")
            }
            return String(buffer: body)
        } catch let error as CLIError {
            throw error
        } catch {
            try? await http.shutdown()
            throw APIClient.unreachable(address, error)
        }
    }
}

/// Fingerprints of certificates.
package enum CertificateFingerprint {
    /// The SHA-256 of the first certificate's DER, as pairs of upper-case digits with colons (as `openssl` prints it).
    package static func sha256(pem: String) throws(CLIError) -> String {
        let der: [UInt8]
        do {
            guard let first = try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).first else {
                throw CLIError.unexpectedAnswer("")
            }
            der = try first.toDERBytes()
        } catch {
            throw .unexpectedAnswer("the certificate authority is not a PEM certificate")
        }
        return normalised(Digest.sha256(der).hex)
    }

    /// Accepts digits with or without colons, in either case, with or without `SHA256:`.
    package static func normalised(_ text: String) -> String {
        var digits = text.uppercased()
        for prefix in ["SHA256:", "SHA256 FINGERPRINT=", "SHA-256:"] where digits.hasPrefix(prefix) {
            digits.removeFirst(prefix.count)
        }
        let hex = Array(digits.filter(\.isHexDigit))
        return stride(from: 0, to: hex.count, by: 2).map { String(hex[$0..<min($0 + 2, hex.count)]) }
            .joined(separator: ":")
    }
}

struct LogOut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout", abstract: "End the session and forget its token.")

    func run() async throws {
        guard var profile = try Profile.load(), profile.token != nil else {
            Terminal.print("Not logged in.")
            return
        }
        do {
            _ = try await APIClient.with(profile) { try await $0.send(.DELETE, "/v1/sessions/current") }
        } catch let error as CLIError where error.exitStatus == .notAllowed || error.exitStatus == .notReachable {
            // A session that ended by itself, or a controller that is gone: forgetting the token is all there is to do.
            Terminal.note("The controller did not confirm: \(error.message)")
        }
        profile.token = nil
        profile.expiresAt = nil
        try profile.save()
        Terminal.print("Logged out of \(profile.url).")
    }
}

struct WhoAmI: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "whoami", abstract: "Show the account, its role and the controller.")

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await global.withAPI { api in
            var answer = JSONObject()
            answer.set("controller", api.profile.url)
            let session = try await api.send(.GET, "/v1/sessions/current").json
            for key in ["username", "role", "expiresAt"] { answer.set(key, raw: session[key]) }
            global.show(answer.json)
        }
    }
}
