import ArgumentParser
import Foundation

/// Where a password comes from. There is no `--password VALUE`: every user of the host could read it in `ps`.
struct PasswordOptions: ParsableArguments {
    @Option(name: .customLong("password-file"), help: "Read the password from the first line of this file.")
    var file: String?

    @Flag(name: .customLong("password-stdin"), help: "Read the password from standard input.")
    var fromStandardInput = false

    /// Whether a source was named.
    var isGiven: Bool { file != nil || fromStandardInput }

    func validate() throws {
        if file != nil, fromStandardInput {
            throw ValidationError("give one of --password-file and --password-stdin")
        }
    }

    /// Reads the password, asking at the terminal when no source was named.
    func read(prompt: String) throws(CLIError) -> String {
        let text: String
        if let file {
            text = SecretOptions.firstLine(try SecretOptions.contents(of: file))
        } else if fromStandardInput {
            text = SecretOptions.firstLine(
                String(decoding: FileHandle.standardInput.readDataToEndOfFile(), as: UTF8.self))
        } else {
            text = try Terminal.askSecret(prompt)
        }
        guard !text.isEmpty else { throw .usage("the password is empty") }
        return text
    }
}

enum SecretOptions {
    /// The most bytes of a file that holds a password or a key.
    static let byteCountMax = 64 * 1024

    static func firstLine(_ text: String) -> String {
        String(text.prefix { !$0.isNewline })
    }

    static func contents(of path: String) throws(CLIError) -> String {
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw .file("cannot read '\(path)': \(String(cString: strerror(errno)))")
        }
        defer { try? handle.close() }
        let data: Data
        do { data = try handle.read(upToCount: byteCountMax) ?? Data() } catch {
            throw .file("cannot read '\(path)': \(error.localizedDescription)")
        }
        return String(decoding: data, as: UTF8.self)
    }
}

/// How a host is logged in to.
struct HostCredentialOptions: ParsableArguments {
    @OptionGroup var password: PasswordOptions

    @Option(name: .customLong("private-key-file"), help: "Log in to the host with this private key (OpenSSH or PEM).")
    var privateKeyFile: String?

    func validate() throws {
        if privateKeyFile != nil, password.isGiven {
            throw ValidationError("give a password or a private key, not both")
        }
    }

    /// The members `password` or `privateKey`.
    func read(prompt: String) throws(CLIError) -> (key: String, value: String) {
        if let privateKeyFile { return ("privateKey", try SecretOptions.contents(of: privateKeyFile)) }
        return ("password", try password.read(prompt: prompt))
    }
}
