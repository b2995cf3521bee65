import Fetch
import Foundation
import Model
import Testing

/// What a fetch gave its caller.
final class Caught {
    var responses: [FetchResponse] = []
    var bytes: [UInt8] = []
    var pieces: [Int] = []
    var error: FetchError?
    var result: FetchResult?

    /// Fetches with loopback allowed unless told; keeps what `bytes` has when the server goes on from there.
    @discardableResult
    func get(
        _ request: FetchRequest, from offset: UInt64 = 0, validator: String? = nil,
        isCancelled: @escaping () -> Bool = { false }
    ) -> Caught {
        error = nil
        result = nil
        do throws(FetchError) {
            result = try Fetch.get(
                request, from: offset, validator: validator,
                onResponse: { response in
                    self.responses.append(response)
                    if response.offset == 0 { self.bytes = [] }
                },
                onBytes: { piece in
                    self.pieces.append(piece.count)
                    self.bytes += piece
                }, isCancelled: isCancelled)
        } catch { self.error = error }
        return self
    }

    var words: String { error?.description ?? "no error" }
}

extension FetchRequest {
    /// A request that may visit loopback, where the servers of the tests are.
    static func local(_ url: String, denied: [String] = []) -> FetchRequest {
        FetchRequest(
            url: url, addresses: AddressPolicy(deniedNetworks: denied.compactMap { try? CIDR(parsing: $0) }),
            connectSeconds: 10)
    }
}

/// Bytes that come again.
func sample(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return (0..<count).map { _ in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return UInt8(truncatingIfNeeded: state >> 32)
    }
}

/// Equality of long arrays: `#expect` would look for the smallest difference, for hours.
func same(_ left: [UInt8], _ right: [UInt8]) -> Bool { left == right }
