/// The text inside a VMDK file that says what it is part of. All that is taken from it is that it is part of nothing:
/// one sparse extent, no parent. Names in it are never opened.
/// Source: VMware, Virtual Disk Format 1.1, "The Descriptor File".
struct VmdkDescriptor: Sendable, Equatable {
    /// The size of the extent in sectors.
    let extentSectors: UInt64
    /// Where its line is in the file.
    let extentOffset: UInt64

    private static let titles: [StaticString] = [
        "# Disk DescriptorFile", "# Disk Descriptor File", "#Disk DescriptorFile", "#Disk Descriptor File",
    ]
    private static let types = ["monolithicSparse", "streamOptimized"]

    /// What the lines that matter say, and where they are.
    private struct Facts {
        var type: (value: String, offset: UInt64)?
        var parentCID: (value: String, offset: UInt64)?
        var extent: (sectors: UInt64, offset: UInt64)?
    }

    /// Reads and checks the text, which ends with its first zero byte.
    /// - Parameter place: where it is in the file.
    init(_ text: [UInt8], at place: UInt64) throws(DiskImageError) {
        guard Self.titles.contains(where: { text.has($0, at: 0) }) else {
            throw .corrupt(rule: "the descriptor does not begin with \"# Disk DescriptorFile\"", offset: place)
        }
        var facts = Facts()
        let end = text.firstIndex(of: 0) ?? text.count
        var start = 0
        while start < end {
            let lineEnd = text[start..<end].firstIndex { $0 == 0x0a || $0 == 0x0d } ?? end
            let line = Self.trimmed(text[start..<lineEnd])
            if let first = line.first, first != UInt8(ascii: "#") {
                try Self.take(line, at: place + UInt64(line.startIndex), &facts)
            }
            start = lineEnd + 1
        }
        guard let type = facts.type else {
            throw .corrupt(rule: "the descriptor has no createType", offset: place)
        }
        guard Self.types.contains(type.value) else {
            throw .unsafe(
                rule: "the disk is of the type \(Self.quoted(type.value)), not monolithicSparse or streamOptimized",
                offset: type.offset)
        }
        guard let parent = facts.parentCID else {
            throw .corrupt(rule: "the descriptor has no parentCID", offset: place)
        }
        guard parent.value.lowercased() == "ffffffff" else {
            throw .unsafe(rule: "the image needs a parent; flatten it first (qemu-img convert)", offset: parent.offset)
        }
        guard let extent = facts.extent else {
            throw .corrupt(rule: "the descriptor names no extent", offset: place)
        }
        extentSectors = extent.sectors
        extentOffset = extent.offset
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var line = line.drop(while: isBlank)
        while let last = line.last, isBlank(last) { line.removeLast() }
        return line
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// Words of the file in an error: printable and short.
    private static func quoted(_ text: String) -> String {
        let shown = text.unicodeScalars.prefix(32).map { (0x20..<0x7f).contains($0.value) ? Character($0) : "?" }
        return String(shown)
    }

    private static func take(_ line: ArraySlice<UInt8>, at offset: UInt64, _ facts: inout Facts) throws(DiskImageError)
    {
        let word = String(decoding: line.prefix(while: { !isBlank($0) && $0 != UInt8(ascii: "=") }), as: UTF8.self)
        if ["rw", "rdonly", "noaccess"].contains(word.lowercased()) {
            guard facts.extent == nil else {
                throw .unsafe(rule: "the disk has more than one extent", offset: offset)
            }
            facts.extent = (try extentSectors(line, at: offset), offset)
            return
        }
        guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { return }
        var value = trimmed(line[(equals + 1)...])
        if value.count >= 2, value.first == UInt8(ascii: "\""), value.last == UInt8(ascii: "\"") {
            value = value.dropFirst().dropLast()
        }
        let text = String(decoding: value, as: UTF8.self)
        switch word.lowercased() {
        case "createtype":
            guard facts.type == nil else { throw .corrupt(rule: "createType stands twice", offset: offset) }
            facts.type = (text, offset)
        case "parentcid":
            guard facts.parentCID == nil else { throw .corrupt(rule: "parentCID stands twice", offset: offset) }
            facts.parentCID = (text, offset)
        case "parentfilenamehint":
            throw .unsafe(rule: "the image names a parent; flatten it first (qemu-img convert)", offset: offset)
        default: break
        }
    }

    /// `RW 4192256 SPARSE "disk.vmdk"`: access, sectors, type, name.
    private static func extentSectors(_ line: ArraySlice<UInt8>, at offset: UInt64) throws(DiskImageError) -> UInt64 {
        let parts = line.split(maxSplits: 3, omittingEmptySubsequences: true, whereSeparator: isBlank)
        guard parts.count >= 3, let sectors = UInt64(String(decoding: parts[1], as: UTF8.self)) else {
            throw .corrupt(rule: "the line of the extent is not understood", offset: offset)
        }
        let type = String(decoding: parts[2], as: UTF8.self)
        guard type == "SPARSE" else {
            throw .unsafe(rule: "the extent is of the type \(quoted(type)), not SPARSE", offset: offset)
        }
        let access = String(decoding: parts[0], as: UTF8.self).lowercased()
        guard access != "noaccess" else { throw .unsupported(feature: "extents without access", offset: offset) }
        let name = parts.count == 4 ? trimmed(parts[3]) : []
        guard name.count > 2, name.first == UInt8(ascii: "\""), name.last == UInt8(ascii: "\""),
            !name.dropFirst().dropLast().contains(UInt8(ascii: "\""))
        else { throw .corrupt(rule: "the line of the extent is not understood", offset: offset) }
        let inner = Array(name.dropFirst().dropLast())
        let isPath =
            inner.contains { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") } || inner.starts(with: "..".utf8)
        guard !isPath else {
            throw .unsafe(rule: "the extent is a file at another place", offset: offset)
        }
        return sectors
    }
}
