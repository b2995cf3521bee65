import Bootstrap
import Foundation
import Model
import Testing

/// The bundle that the suites send, made once.
enum TestBundle {
    static let file: Result<BundleFile, any Error> = Result { try make(version: "0.0.1") }
    /// Takes the bundle's folder away when this process ends.
    private static let will = Result { try LastWill("rm -r \"$1\"", [folder.path]) }
    private static let folder = FileManager.default.temporaryDirectory.appending(path: "lamina-bundle-\(getpid())")

    private static func make(version: String) throws -> BundleFile {
        _ = try will.get()
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "HostVerbTool")
        let path = try Program.run(
            LabHost.repository.appending(path: "deploy/bundle").path,
            ["--binary", program.path, "--version", version, "--output", folder.path])
        return try BundleFile.load(path.trimmingCharacters(in: .newlines))
    }
}

/// One storage on one host, as Operations would drive it.
struct Enrolment {
    let ssh = SSHBootstrap()
    let host: LabHost
    let target: SSHTarget
    let scope: HostScope
    let storage: ImageStorageID
    let mountPath: MountPath

    func verb<Output: Decodable & Sendable>(
        _ verb: HostVerb, _ input: some Encodable & Sendable, _ output: Output.Type
    ) async throws(BootstrapError) -> Output {
        try await ssh.runHostVerb(target, scope: scope, verb: verb, input, answering: output)
    }

    func install() async throws -> InstalledBundle {
        try await ssh.installBundle(target, bundle: TestBundle.file.get(), scope: scope)
    }

    func prepare(_ disk: DiskMethod) async throws(BootstrapError) -> PrepareOutput {
        try await verb(
            .prepare, PrepareInput(imageStorageID: storage, mountPath: mountPath, disk: disk), PrepareOutput.self)
    }

    func undoPrepare() async throws(BootstrapError) {
        _ = try await verb(
            .undoPrepare, UndoPrepareInput(imageStorageID: storage, mountPath: mountPath), EmptyOutput.self)
    }

    /// Enrols it with a certificate over its own request.
    func enrol(_ fileSystemID: String) async throws -> EnrolOutput {
        let output = try await verb(
            .enrol,
            EnrolInput(
                imageStorageID: storage, mountPath: mountPath, fileSystemID: fileSystemID,
                listenAddresses: [host.address]),
            EnrolOutput.self)
        let authority = try TestAuthority(host.home)
        _ = try await verb(
            .installCertificate,
            InstallCertificateInput(
                imageStorageID: storage, certificatePEM: try authority.sign(output.csrPEM),
                caPEM: authority.certificatePEM), EmptyOutput.self)
        return output
    }

    func instance(_ verb: HostVerb, restart: Bool = false) async throws(BootstrapError) -> StatusOutput {
        try await self.verb(verb, InstanceInput(imageStorageID: storage, restart: restart), StatusOutput.self)
    }

    func remove() async throws(BootstrapError) {
        _ = try await verb(.remove, InstanceInput(imageStorageID: storage), EmptyOutput.self)
    }

    /// The code with which the host refuses; anything else fails the test.
    func refusal(_ body: () async throws(BootstrapError) -> some Sendable) async -> HostFailureCode? {
        do throws(BootstrapError) {
            _ = try await body()
            Issue.record("nothing was thrown")
        } catch {
            if case .host(let code, let detail) = error {
                #expect(!detail.isEmpty)
                return code
            }
            Issue.record("\(error)")
        }
        return nil
    }
}

/// An authority by openssl, as far from the product's as can be.
struct TestAuthority {
    private let folder: URL
    let certificatePEM: String

    init(_ home: URL) throws {
        folder = home.appending(path: "authority")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let (key, certificate) = (folder.appending(path: "key").path, folder.appending(path: "cert").path)
        if !FileManager.default.fileExists(atPath: certificate) {
            try Program.run(
                "/usr/bin/openssl",
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out",
                    certificate, "-subj", "/CN=test", "-days", "1",
                ])
        }
        certificatePEM = try String(contentsOfFile: certificate, encoding: .utf8)
    }

    func sign(_ csrPEM: String) throws -> String {
        try Program.run(
            "/usr/bin/openssl",
            [
                "x509", "-req", "-CA", folder.appending(path: "cert").path, "-CAkey",
                folder.appending(path: "key").path,
                // Without a name of its own the serial's file lies beside the folder.
                "-CAserial", folder.appending(path: "serial").path, "-CAcreateserial", "-days", "1",
            ], input: csrPEM)
    }
}
