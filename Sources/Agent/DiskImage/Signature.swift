import Model

/// What the bytes of a file say it is.
struct Signature: Equatable {
    /// The format of ours, when it is one.
    let format: ImageFormat?
    /// Words for people: "an HTML page".
    let words: String
}

/// Finds out what a file is by its content alone: every signature is looked for, not only the declared one, since a
/// file that is two things at once is an attack on whoever opens it as the other.
enum SignatureSearch {
    /// Every signature that the file carries.
    static func all(in file: FileReader) throws(DiskImageError) -> [Signature] {
        let headCount = Int(min(file.byteCount, UInt64(Limits.signatureByteCount)))
        guard headCount > 0 else { return [] }
        let head = try file.bytes(at: 0, count: headCount, what: "its first bytes")
        let tailCount = min(file.byteCount, 512)
        let tail = try file.bytes(at: file.byteCount - tailCount, count: Int(tailCount), what: "its last bytes")
        var found: [Signature] = []
        func note(_ isThere: Bool, _ words: String, _ format: ImageFormat? = nil) {
            if isThere, !found.contains(where: { $0.words == words }) {
                found.append(Signature(format: format, words: words))
            }
        }
        disks(head, note)
        optical(head, note)
        trailers(tail, note)
        archives(head, note)
        programs(head, note)
        if found.isEmpty { documents(head, note) }
        return found
    }

    private typealias Note = (Bool, String, ImageFormat?) -> Void

    private static func disks(_ head: [UInt8], _ note: Note) {
        let isQcow = head.has([0x51, 0x46, 0x49, 0xfb], at: 0)
        let isOld = isQcow && head.count >= 8 && head.big32(4) == 1
        note(isQcow && !isOld, "a qcow2 image", .qcow2)
        note(isOld, "a qcow image of version 1", nil)
        note(head.has("KDMV", at: 0), "a VMDK image", .vmdk)
        note(head.has("COWD", at: 0), "a VMDK image of the COWD kind", .vmdk)
        let text = head.prefix(while: { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }).count
        note(head.has("# Disk DescriptorFile", at: text), "a VMDK descriptor", .vmdk)
        note(head.has("conectix", at: 0), "a VHD image", .vhd)
        note(head.has("vhdxfile", at: 0), "a VHDX image", .vhdx)
        note(head.has([0x7f, 0x10, 0xda, 0xbe], at: 64), "a VDI image", nil)
        note(head.has("QED\0", at: 0), "a QED image", nil)
        note(
            head.has("WithoutFreeSpace", at: 0) || head.has("WithouFreSpacExt", at: 0), "a Parallels image", nil)
        note(head.has("Bochs Virtual HD Image", at: 0), "a Bochs image", nil)
        note(head.has([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe], at: 0), "a LUKS encrypted volume", nil)
    }

    /// ISO 9660 keeps its descriptors in the sectors from 16 on; the first bytes belong to boot code.
    /// Source: ECMA-119, 6.2.1 and 8.1.
    private static func optical(_ head: [UInt8], _ note: Note) {
        let isISO = [32769, 34817, 36865].contains { head.has("CD001", at: $0) }
        note(isISO, "an ISO 9660 image", .iso)
        let isUDF = !isISO && [32769, 34817, 36865].contains { head.has("NSR02", at: $0) || head.has("NSR03", at: $0) }
        note(isUDF, "a UDF volume without ISO 9660", nil)
    }

    private static func trailers(_ tail: [UInt8], _ note: Note) {
        note(tail.count == 512 && tail.has("conectix", at: 0), "a VHD image", .vhd)
        note(tail.count == 512 && tail.has("koly", at: 0), "a DMG image", nil)
    }

    private static func archives(_ head: [UInt8], _ note: Note) {
        note(head.has([0x1f, 0x8b, 0x08], at: 0), "a gzip file", nil)
        note(head.has([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], at: 0), "an xz file", nil)
        note(head.has([0x28, 0xb5, 0x2f, 0xfd], at: 0), "a zstd file", nil)
        note(head.has([0x04, 0x22, 0x4d, 0x18], at: 0), "an lz4 file", nil)
        note(head.has("BZh", at: 0) && head.has([0x31, 0x41, 0x59, 0x26, 0x53, 0x59], at: 4), "a bzip2 file", nil)
        note(head.has([0x50, 0x4b, 3, 4], at: 0) || head.has([0x50, 0x4b, 5, 6], at: 0), "a zip archive", nil)
        note(head.has([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], at: 0), "a 7z archive", nil)
        note(head.has("Rar!", at: 0), "a RAR archive", nil)
        note(head.has("ustar", at: 257), "a tar archive (an OVA is one)", nil)
        note(head.has("!<arch>\n", at: 0), "a Debian package or another ar archive", nil)
        note(head.has([0xed, 0xab, 0xee, 0xdb], at: 0), "an RPM package", nil)
        note(head.has("070701", at: 0) || head.has("070707", at: 0), "a cpio archive", nil)
    }

    private static func programs(_ head: [UInt8], _ note: Note) {
        note(head.has([0x7f, 0x45, 0x4c, 0x46], at: 0), "an ELF program", nil)
        var isPE = false
        if head.has("MZ", at: 0), head.count >= 64 {
            let place = head.little32(0x3c)
            isPE = place < UInt32(head.count) && head.has("PE\0\0", at: Int(place))
        }
        note(isPE, "a Windows or EFI program", nil)
        note(head.has("%PDF-", at: 0), "a PDF document", nil)
    }

    /// What a web server sends when it does not send the file: an error page, a log-in page, an API's answer.
    private static func documents(_ head: [UInt8], _ note: Note) {
        var text = head[...]
        if text.starts(with: [0xef, 0xbb, 0xbf]) { text = text.dropFirst(3) }
        text = text.drop(while: { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 })
        let start = text.prefix(64).map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        let tags: [StaticString] = ["<!doctype html", "<html", "<head", "<body", "<title", "<script", "<!--"]
        note(tags.contains { start.has($0, at: 0) }, "an HTML page", nil)
        note(start.has("<?xml", at: 0) || start.has("<error>", at: 0), "an XML document", nil)
        let probe = text.prefix(Limits.textProbeByteCount)
        let isText = probe.allSatisfy { $0 >= 0x20 && $0 != 0x7f || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
        let opensAnObject = start.first == 0x7b || start.first == 0x5b
        note(isText && probe.count >= 2 && opensAnObject, "a JSON document", nil)
    }
}
