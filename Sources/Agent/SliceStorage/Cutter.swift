import Model

/// Decides where slices begin and end: slicing version 1. Cuts depend on nothing but the guest's bytes and their offset
/// in a 4 KiB block and a 64 MiB segment. docs/store.md, "Where to cut".
package enum Cutter {
    /// The shortest slice that the gear hash or a zero tail ends. A hole or the end of a segment may end a shorter one.
    package static let byteCountMin = 4096
    /// Below this length a cut is harder to find than the target says, beyond it easier ("normalised").
    package static let byteCountTarget = 65_536
    /// Every slice ends here at the latest.
    package static let byteCountMax = SliceLimits.sliceByteCountMax

    // A cut is where the hash is below the limit: 18 leading zero bits before the target, 14 after it.
    private static let limitBeforeTarget: UInt64 = 1 << (64 - 18)
    private static let limitAfterTarget: UInt64 = 1 << (64 - 14)
    // The hash forgets a byte after 64 more, so that it need not begin before this distance from the first check.
    private static let warmUp = 64
    private static let block = SliceLimits.blockByteCount

    /// Cuts consecutive guest bytes of one segment.
    /// - Parameters:
    ///   - bytes: they begin where a slice begins; their end is the end of a 4 KiB block unless `isLast`.
    ///   - guestOffset: where they begin in the guest's disk.
    ///   - isLast: nothing follows: a hole, the end of the segment or of the disk does.
    ///   - found: gets the ranges of the slices in `bytes`; what lies between them is zero.
    /// - Returns: how many bytes are done. The rest is the beginning of a slice, and comes again with what follows.
    package static func cut(
        _ bytes: UnsafeRawBufferPointer, guestOffset: UInt64, isLast: Bool, into found: inout [Range<Int>]
    ) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        return Gear.table.withUnsafeBufferPointer { table in
            let phase = Int(guestOffset % UInt64(block))
            var start = 0
            while start < bytes.count {
                if (phase + start) % block == 0, isZero(base, start, min(start + block, bytes.count)) {
                    start = min(start + block, bytes.count)
                    continue
                }
                let end = sliceEnd(base, start, bytes.count, phase, table.baseAddress!)
                guard end > 0 || isLast else { return start }
                let stop = end > 0 ? end : bytes.count
                found.append(start..<stop)
                start = stop
            }
            return bytes.count
        }
    }

    // The end of the slice that begins at `start`; 0 when `count` comes first.
    private static func sliceEnd(
        _ base: UnsafeRawPointer, _ start: Int, _ count: Int, _ phase: Int, _ table: UnsafePointer<UInt64>
    ) -> Int {
        let text = base.assumingMemoryBound(to: UInt8.self)
        let (firstCheck, target) = (start + byteCountMin, start + byteCountTarget)
        let stop = min(start + byteCountMax, count)
        var hash: UInt64 = 0
        var place = start
        while place < stop {
            let boundary = place + block - (phase + place) % block
            let blockEnd = min(boundary, stop)
            if boundary - place == block, place > start, isZero(base, place, min(boundary, count)) { return place }
            var next = max(place, firstCheck - warmUp)
            while next < min(blockEnd, firstCheck) {
                hash = (hash &<< 1) &+ table[Int(text[next])]
                next += 1
            }
            if next < min(blockEnd, target) {
                let end = min(blockEnd, target)
                let cut = scan(text, next, end, &hash, limitBeforeTarget, table)
                if cut > 0 { return cut }
                next = end
            }
            if next < blockEnd {
                let cut = scan(text, next, blockEnd, &hash, limitAfterTarget, table)
                if cut > 0 { return cut }
            }
            place = blockEnd
            if place == boundary, place >= firstCheck, hasZeroTail(base, place) { return place }
        }
        return stop == start + byteCountMax ? stop : 0
    }

    // The place after the first byte at which the hash is below the limit; 0 when there is none. Four bytes a round:
    // the hash after each is the hash before the round, shifted, plus a sum that does not wait for it.
    @inline(__always)
    private static func scan(
        _ text: UnsafePointer<UInt8>, _ from: Int, _ to: Int, _ hash: inout UInt64, _ limit: UInt64,
        _ table: UnsafePointer<UInt64>
    ) -> Int {
        var place = from
        var h = hash
        while place + 4 <= to {
            let a = table[Int(text[place])]
            let b = (a &<< 1) &+ table[Int(text[place + 1])]
            let c = (b &<< 1) &+ table[Int(text[place + 2])]
            let d = (c &<< 1) &+ table[Int(text[place + 3])]
            if (h &<< 1) &+ a < limit { return place + 1 }
            if (h &<< 2) &+ b < limit { return place + 2 }
            if (h &<< 3) &+ c < limit { return place + 3 }
            h = (h &<< 4) &+ d
            if h < limit { return place + 4 }
            place += 4
        }
        while place < to {
            h = (h &<< 1) &+ table[Int(text[place])]
            place += 1
            if h < limit { return place }
        }
        hash = h
        return 0
    }

    private static func hasZeroTail(_ base: UnsafeRawPointer, _ end: Int) -> Bool {
        base.loadUnaligned(fromByteOffset: end - 16, as: UInt64.self)
            | base.loadUnaligned(fromByteOffset: end - 8, as: UInt64.self) == 0
    }

    /// True when `bytes[from..<to]` are all zero.
    static func isZero(_ base: UnsafeRawPointer, _ from: Int, _ to: Int) -> Bool {
        var place = from
        // Most blocks with data show it in their first bytes.
        if place + 8 <= to {
            if base.loadUnaligned(fromByteOffset: place, as: UInt64.self) != 0 { return false }
        }
        while place + 128 <= to {
            let a = base.loadUnaligned(fromByteOffset: place, as: SIMD8<UInt64>.self)
            let b = base.loadUnaligned(fromByteOffset: place + 64, as: SIMD8<UInt64>.self)
            if (a | b) != SIMD8<UInt64>.zero { return false }
            place += 128
        }
        while place < to {
            if base.load(fromByteOffset: place, as: UInt8.self) != 0 { return false }
            place += 1
        }
        return true
    }
}
