// Without the testing library: the fuzz targets have this too.
import Model

/// Makes a broken file of what a fuzzer says: small good files, into whose windows the input is mixed (exclusive or), so
/// that no input at all is a good file and every byte of input meets a field. Checksums are put right again.
///
///     u8 which good file, and whether it is cut | u24 where | bytes for the windows, one after the other
enum FuzzInput {
    private static let isCut: UInt8 = 0x80
    private static let isUnsealed: UInt8 = 0x40

    // Made once: some are large.
    private static let dynamicVhd = SmallVhd()
    private static let fixedVhd = SmallVhd.fixed()
    private static let goodVhdx = SmallVhdx()

    /// The file that an input means.
    static func file(_ format: ImageFormat, _ input: [UInt8]) -> [UInt8] {
        let kind = input.first ?? 0
        let place = input.count < 4 ? 0 : Int(input[1]) << 16 | Int(input[2]) << 8 | Int(input[3])
        let changes = input.dropFirst(4)
        var bytes: [UInt8]
        switch format {
        case .qcow2: bytes = qcow2(kind & 7, changes)
        case .vmdk: bytes = vmdk(kind & 3, changes)
        case .vhd:
            var file = kind & 1 == 1 ? fixedVhd : dynamicVhd
            mix(changes, into: &file.bytes, [0..<90, 512..<560, 1536..<1600, 4096..<4112, 1_048_576..<1_048_666])
            if kind & isUnsealed == 0, kind & 1 == 0 { file.seal() }
            bytes = file.bytes
        case .vhdx:
            var file = goodVhdx
            let windows = [
                2_097_152..<2_097_184, 1_114_112..<1_114_148, 1_048_576..<1_048_704, 196_616..<196_700,
                131_080..<131_152, 65_544..<65_616,
            ]
            mix(changes, into: &file.bytes, windows)
            if kind & isUnsealed == 0 { file.seal() }
            bytes = file.bytes
        case .raw, .iso: bytes = Array(changes)
        }
        if kind & isCut != 0 { bytes.removeLast(min(place, bytes.count)) }
        return bytes
    }

    /// The guest's disk that an input means.
    static func guest(_ input: [UInt8]) -> [UInt8] {
        var guest = SmallGuest()
        let base = SmallGuest.fileSystem
        let windows = [
            446..<512, base + 1044..<base + 1124, base + 2056..<base + 2060, base + 5248..<base + 5360,
            base + 6400..<base + 6512, base + 6528..<base + 6700, base + 10_240..<base + 10_300,
            base + 11_264..<base + 11_320, base + 12_288..<base + 12_350, 512..<640, 164_286..<164_352, 0..<90,
        ]
        mix(input[...], into: &guest.bytes, windows)
        return guest.bytes
    }

    private static func qcow2(_ kind: UInt8, _ changes: ArraySlice<UInt8>) -> [UInt8] {
        var file = kind == 0 ? SmallQcow2.extended() : SmallQcow2(version: kind == 1 ? 2 : 3)
        switch kind {
        case 0: file.extendedEntry(0, 5 * 16384, zero: 0xf0, present: 0x0f)
        case 2:
            file.entry(2, SmallQcow2.compressed(7 * 4096 + 77, sectors: 3))
        case 3:
            file.put64(72, 8)
            file.put32(100, 112)
            file.bytes[104] = 1
            file.entry(2, SmallQcow2.compressed(7 * 4096 + 77, sectors: 3))
        default: break
        }
        let windows =
            kind == 0
            ? [0..<160, 16384..<16400, 49152..<49168, 65536..<65600]
            : [0..<160, 4096..<4112, 12288..<12304, 16384..<16448, 28749..<28900]
        mix(changes, into: &file.bytes, windows)
        return file.bytes
    }

    private static func vmdk(_ kind: UInt8, _ changes: ArraySlice<UInt8>) -> [UInt8] {
        var file = kind == 0 ? SmallVmdk() : kind == 1 ? SmallVmdk.redundant() : SmallVmdk.stream()
        let windows = [
            0..<80, 2048..<2056, 2560..<2568, 4096..<4128, 6144..<6160, 8192..<8290, 31232..<31248, 31744..<31824,
            32256..<32272, 512..<760,
        ]
        mix(changes, into: &file.bytes, windows)
        return file.bytes
    }

    private static func mix(_ changes: ArraySlice<UInt8>, into bytes: inout [UInt8], _ windows: [Range<Int>]) {
        var left = changes
        for window in windows {
            for place in window where place < bytes.count {
                guard let change = left.popFirst() else { return }
                bytes[place] ^= change
            }
        }
    }
}
