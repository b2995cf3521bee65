import CCRC32C

/// CRC-32C (Castagnoli): finds what TCP's checksum misses. No protection against people; that is TLS's work.
package enum CRC32C {
    /// The checksum of `bytes`.
    package static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { lamina_crc32c(0, $0.baseAddress, $0.count) }
    }

    /// The checksum computed without the processor's instruction.
    package static func portable(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { lamina_crc32c_portable(0, $0.baseAddress, $0.count) }
    }
}
