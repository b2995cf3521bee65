import ArgumentParser
import Foundation
import Inventory

/// Copies the inventory, whether the controller runs or not.
struct BackUp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copy the inventory to a new file; a running controller goes on.",
        discussion: """
            The file holds everything but the key that opens its secrets (secret.key in the data directory): keep a copy \
            of that key elsewhere. To restore, put the file back as inventory.sqlite beside the key.
            """)

    @Argument(help: "The file to make; it must not exist.", completion: .file()) var file: String
    @OptionGroup var dataDirectory: DataDirectoryOption

    func run() async throws {
        let directory = try DataDirectory.existing(at: dataDirectory.path)
        let target = URL(fileURLWithPath: file).standardizedFileURL.path
        guard !FileManager.default.fileExists(atPath: target) else { throw ControllerError("'\(target)' exists") }
        if try !ControlSocket.askForBackUp(to: target, at: directory.control) {
            let inventory = try directory.openInventory(mayCreateKey: false)
            do throws(InventoryError) {
                try await inventory.backUp(to: target)
                try inventory.close()
            } catch { throw ControllerError(error.description) }
        }
        print("Copied the inventory to \(target).")
    }
}
