import DiskImage
import Model

/// What an admin should know of the guest on a disk, in whole sentences. Hints: a guest can write what it likes, and a disk
/// that nothing can be told of is stored like any other.
enum GuestNotes {
    /// Looks at the disk; bounded by `DiskImage.guestFacts`.
    static func sentences(
        of disk: any GuestDisk, declared declaration: ImageDeclaration
    ) -> [String] {
        let facts: GuestFacts
        do throws(DiskImageError) { facts = try DiskImage.guestFacts(of: disk) } catch {
            return ["What is on the disk could not be told: \(error)."]
        }
        var notes: [String] = []
        if let system = facts.system { notes.append("The system on it is \(system.name ?? system.id).") }
        let layout = layout(facts)
        if !layout.isEmpty { notes.append("It has \(layout.joined(separator: ", ")).") }
        let starts = facts.startsByBIOS || facts.startsByUEFI
        switch declaration.type {
        case .disk where facts.system != nil || starts:
            notes.append("It was declared as a data disk, and looks like one that a system starts from.")
        case .system where !starts:
            notes.append(
                "It was declared as a system, and has no boot code for BIOS and nothing that UEFI could start: "
                    + "it needs a kernel from outside.")
        default: break
        }
        return notes
    }

    private static func layout(_ facts: GuestFacts) -> [String] {
        var words: [String] = []
        if let table = facts.partitionTable {
            let kinds = facts.partitions.map { $0.isEFISystem ? "EFI system" : $0.fileSystem?.rawValue ?? "unknown" }
            words.append(
                "a table of partitions (\(table.rawValue.uppercased())) with \(facts.partitions.count): "
                    + kinds.prefix(ServiceLimits.partitionsNamedMax).joined(separator: ", "))
        } else if let system = facts.fileSystem {
            words.append("the file system \(system.rawValue) without partitions")
        }
        if facts.startsByBIOS { words.append("boot code for BIOS") }
        if facts.startsByUEFI { words.append("a place where UEFI looks for programs") }
        return words
    }
}
