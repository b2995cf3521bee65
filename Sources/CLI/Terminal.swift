import Foundation

/// Standard input, output and error as a person or a script has them.
package enum Terminal {
    /// Writes a line to standard output.
    package static func print(_ text: String) { write(text.hasSuffix("\n") ? text : text + "\n", to: 1) }

    /// Writes a failure to standard error, with the command's name before it.
    package static func complain(_ text: String) { write("lamina: " + text + "\n", to: 2) }

    /// Writes to standard error as it is.
    package static func complain(plain text: String) { write(text + "\n", to: 2) }

    /// Writes a note for the person at the terminal to standard error, so that it never mixes with output.
    package static func note(_ text: String) { write(text + "\n", to: 2) }

    /// Whether standard error is a terminal: progress is drawn there.
    package static var hasErrorTerminal: Bool { isatty(2) == 1 }

    /// Whether a question can be asked.
    package static var canAsk: Bool { isatty(0) == 1 && isatty(2) == 1 }

    /// The width of the terminal in columns; 80 when there is none.
    package static var columns: Int {
        var size = winsize()
        guard ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Writes all of `text` to a descriptor; a closed pipe ends quietly.
    package static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                return
            }
            bytes = bytes.dropFirst(written)
        }
    }

    /// Asks before data is destroyed. Without a terminal, `--yes` is needed.
    package static func confirm(_ question: String, isConfirmed: Bool) throws(CLIError) {
        if isConfirmed { return }
        guard canAsk else { throw .usage("\(question) Add --yes to confirm; there is no terminal to ask on.") }
        write(question + " [y/N] ", to: 2)
        let answer = (readLine() ?? "").trimmingCharacters(in: .whitespaces).lowercased()
        guard answer == "y" || answer == "yes" else { throw .declined }
    }

    /// Reads a line of visible text from the terminal.
    package static func ask(_ prompt: String) throws(CLIError) -> String {
        guard canAsk else { throw .usage("there is no terminal to ask for: \(prompt)") }
        write(prompt + ": ", to: 2)
        return readLine() ?? ""
    }

    /// Reads a secret from the terminal without showing it.
    package static func askSecret(_ prompt: String) throws(CLIError) -> String {
        guard canAsk else {
            throw .usage("there is no terminal to ask for the \(prompt); use --password-stdin or --password-file")
        }
        write(prompt + ": ", to: 2)
        var before = termios()
        tcgetattr(0, &before)
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(0, TCSAFLUSH, &silent)
        defer {
            tcsetattr(0, TCSAFLUSH, &before)
            write("\n", to: 2)
        }
        return readLine() ?? ""
    }
}
