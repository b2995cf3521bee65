// Console: what a browser gets.
//
// For now this is one page that says what this is and how to use it; the web console is a later part of the project.
// Invariants: no script, no style, nothing loaded from anywhere.

/// The page at `/`.
package enum ConsolePage {
    /// The content security policy of the page: nothing but its own markup.
    package static let securityPolicy =
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    /// The page.
    package static func html(version: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Lamina</title>
        </head>
        <body>
        <main>
        <h1>Lamina \(escaped(version))</h1>
        <p>This is the controller of Lamina: it keeps image storages, images and the jobs that move them. There is no web
        console yet; everything can be done with the command line and the HTTP API.</p>
        <h2>Command line</h2>
        <pre>lamina login https://THIS-HOST:PORT
        lamina storage list
        lamina image add --storage STORAGE --file disk.qcow2
        lamina image download IMAGE --format raw -o disk.raw
        lamina man | man -l -</pre>
        <h2>HTTP API</h2>
        <p><a href="/openapi.json">openapi.json</a> describes every request (OpenAPI 3.1).
        <a href="/ca.pem">ca.pem</a> is the certificate authority to trust; compare its fingerprint with the one that was
        printed when the controller was set up.</p>
        <p><a href="/healthz">healthz</a>, <a href="/readyz">readyz</a>, <a href="/metrics">metrics</a></p>
        </main>
        </body>
        </html>

        """
    }

    private static func escaped(_ text: String) -> String {
        text.map { character in
            switch character {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            default: String(character)
            }
        }.joined()
    }
}
