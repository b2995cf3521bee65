import Model

/// A Bloom filter over the first eight bytes of slice ids: it answers most "no" without the index. One and a quarter
/// bytes a slice; about one in a hundred "maybe" is wrong. Nothing is ever taken out: what was removed is a "maybe".
struct SliceFilter {
    private var words: [UInt64]
    private let mask: UInt64
    /// The slices it was made for.
    let capacity: Int
    /// The slices that were put in.
    private(set) var count = 0

    /// Makes an empty filter for `capacity` slices.
    init(capacity: Int) {
        self.capacity = max(capacity, 65_536)
        var bits: UInt64 = 1024
        while bits < UInt64(self.capacity) * 10 { bits <<= 1 }
        words = [UInt64](repeating: 0, count: Int(bits / 64))
        mask = bits - 1
    }

    /// True once it is fuller than it should be: make another, twice as large.
    var isFull: Bool { count >= capacity }

    mutating func insert(_ prefix: UInt64) {
        var place = prefix
        let step = Self.step(prefix)
        for _ in 0..<6 {
            let bit = place & mask
            words[Int(bit >> 6)] |= 1 << (bit & 63)
            place = place &+ step
        }
        count += 1
    }

    func mayContain(_ prefix: UInt64) -> Bool {
        var place = prefix
        let step = Self.step(prefix)
        for _ in 0..<6 {
            let bit = place & mask
            if words[Int(bit >> 6)] & (1 << (bit & 63)) == 0 { return false }
            place = place &+ step
        }
        return true
    }

    // Ids are uniform already; the upper half makes an independent, odd step.
    private static func step(_ prefix: UInt64) -> UInt64 { (prefix >> 31) | 1 }
}
