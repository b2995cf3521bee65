/// The caller's side of a fetch: gathers libcurl's small pieces into large ones, counts, and keeps what went wrong.
/// One thread.
final class Receiver {
    private let onResponse: (FetchResponse) throws -> Void
    private let onBytes: (UnsafeRawBufferPointer) throws -> Void
    private let buffer: UnsafeMutableRawBufferPointer
    private var filled = 0
    private let fileBytesMax: UInt64
    let isCancelled: () -> Bool
    /// What was said to the caller; nil before it was.
    private(set) var response: FetchResponse?
    /// Bytes of this fetch, handed on or still gathered.
    private(set) var receivedBytes: UInt64 = 0

    init(
        onResponse: @escaping (FetchResponse) throws -> Void,
        onBytes: @escaping (UnsafeRawBufferPointer) throws -> Void, isCancelled: @escaping () -> Bool,
        fileBytesMax: UInt64
    ) {
        self.onResponse = onResponse
        self.onBytes = onBytes
        self.isCancelled = isCancelled
        self.fileBytesMax = fileBytesMax
        buffer = .allocate(byteCount: Limits.pieceByteCount, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    /// Says what the server said; a file that is too long ends here.
    func begin(_ response: FetchResponse) throws(FetchError) {
        if let total = response.totalBytes, total > fileBytesMax { throw .tooLarge(limitBytes: fileBytesMax) }
        self.response = response
        do { try onResponse(response) } catch { throw .receiver(error) }
    }

    /// Takes a piece of the file.
    func take(_ bytes: UnsafeRawBufferPointer) throws(FetchError) {
        receivedBytes += UInt64(bytes.count)
        guard (response?.offset ?? 0) + receivedBytes <= fileBytesMax else { throw .tooLarge(limitBytes: fileBytesMax) }
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, buffer.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[0..<count]))
            filled += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if filled == buffer.count { try flush() }
        }
    }

    /// Hands on what is gathered.
    func flush() throws(FetchError) {
        guard filled > 0 else { return }
        let piece = UnsafeRawBufferPointer(rebasing: buffer[0..<filled])
        filled = 0
        do { try onBytes(piece) } catch { throw .receiver(error) }
    }
}
