import ArgumentParser
import Foundation

struct Manual: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "man", abstract: "Write the manual page.",
        discussion: "Read it with: lamina man | man -l -")

    func run() async throws { Terminal.print(try ManualPage.render()) }
}

/// The manual page, made from the argument parser's own description of the commands.
package enum ManualPage {
    /// The page in roff (man macros).
    package static func render() throws(CLIError) -> String {
        let dump: String
        do {
            _ = try Lamina.parseAsRoot(["--experimental-dump-help"])
            dump = ""
        } catch {
            dump = Lamina.fullMessage(for: error)
        }
        guard let json = JSONValue.parse(Data(dump.utf8)) else {
            throw .unexpectedAnswer("the argument parser did not describe the commands")
        }
        let root = json["command"]
        var out = [
            ".TH LAMINA 1 \"\" \"lamina \(Lamina.version)\" \"Lamina\"", ".SH NAME",
            "lamina \\- " + escaped(root["abstract"].text ?? ""), ".SH SYNOPSIS", ".B lamina",
            ".I noun verb", "[options]", ".SH DESCRIPTION", escaped(root["discussion"].text ?? ""), ".SH COMMANDS",
        ]
        for command in root["subcommands"].array ?? [] { append(command, path: "lamina", to: &out) }
        out += [".SH FILES", ".TP", ".I $XDG_CONFIG_HOME/lamina/config.json"]
        out.append("The controller, its certificate authority and the token; only its owner may read it.")
        out += [".TP", ".I $XDG_STATE_HOME/lamina/uploads.json"]
        out.append("Uploads that were begun and can go on.")
        return out.joined(separator: "\n")
    }

    private static func append(_ command: JSONValue, path: String, to out: inout [String]) {
        guard command["shouldDisplay"].bool ?? true, let name = command["commandName"].text, name != "help" else {
            return
        }
        let full = path + " " + name
        let children = (command["subcommands"].array ?? []).filter { $0["commandName"].text != "help" }
        guard children.isEmpty else {
            for child in children { append(child, path: full, to: &out) }
            return
        }
        let arguments = (command["arguments"].array ?? []).filter { $0["shouldDisplay"].bool ?? true }
        let positional = arguments.filter { $0["kind"].text == "positional" }
            .map { "<" + ($0["valueName"].text ?? "value") + ">" + ($0["isRepeating"].bool == true ? "..." : "") }
        out += [
            ".SS " + escaped(([full] + positional).joined(separator: " ")), escaped(command["abstract"].text ?? ""),
        ]
        if let discussion = command["discussion"].text, !discussion.isEmpty { out += [".PP", escaped(discussion)] }
        for argument in arguments where !["help", "version"].contains(argument["valueName"].text ?? "") {
            out += [".TP", ".B " + escaped(label(argument)), escaped(description(argument))]
        }
    }

    private static func label(_ argument: JSONValue) -> String {
        let value = "<" + (argument["valueName"].text ?? "value") + ">"
        guard argument["kind"].text != "positional" else { return value }
        let names = (argument["names"].array ?? []).map { name in
            (name["kind"].text == "short" ? "-" : "--") + (name["name"].text ?? "")
        }
        return names.joined(separator: ", ") + (argument["kind"].text == "option" ? " " + value : "")
    }

    private static func description(_ argument: JSONValue) -> String {
        var text = argument["abstract"].text ?? ""
        if let value = argument["defaultValue"].text, argument["kind"].text == "option" {
            text += " Default: \(value)."
        }
        return text
    }

    /// Text that roff shows as it is.
    private static func escaped(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: true).map { line in
            var out = line.replacingOccurrences(of: "\\", with: "\\e").replacingOccurrences(of: "-", with: "\\-")
            if out.hasPrefix(".") || out.hasPrefix("'") { out = "\\&" + out }
            return out
        }.joined(separator: "\n")
    }
}
