/// The table of the gear hash: 256 constants that belong to slicing version 1. They are the first outputs of
/// SplitMix64 from a fixed seed; a golden vector pins them.
package enum Gear {
    /// The seed: the bytes of "LAMINA01", big-endian.
    package static let seed: UInt64 = 0x4c41_4d49_4e41_3031

    /// One constant for each value of a byte.
    package static let table: [UInt64] = {
        var state = seed
        return (0..<256).map { _ in
            state &+= 0x9e37_79b9_7f4a_7c15
            var word = state
            word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
            return word ^ (word >> 31)
        }
    }()
}
