import Glibc

/// A set of cluster numbers, one bit each, that can count: how many members lie below a number, and which member is
/// the k-th. Built by one thread; after `seal` it never changes and any thread may ask.
final class ClusterSet: @unchecked Sendable {
    // Unchecked: `words` is written before `seal`, by its one builder, and only read afterwards.
    private let words: UnsafeMutablePointer<UInt64>
    private let wordCount: Int
    /// Members before each block of 64 words.
    private var countsBefore: [UInt64] = []
    private static let blockWords = 64

    /// Creates an empty set of numbers below `count`. Its memory is taken page by page as members come.
    init(below count: UInt64) throws(DiskImageError) {
        wordCount = Int((count + 63) / 64)
        guard let memory = calloc(max(wordCount, 1), 8) else {
            throw .source("no memory for a map of \(count) clusters")
        }
        words = memory.bindMemory(to: UInt64.self, capacity: max(wordCount, 1))
    }

    deinit { free(words) }

    /// Whether `number` is a member.
    func contains(_ number: UInt64) -> Bool { words[Int(number >> 6)] >> (number & 63) & 1 == 1 }

    /// Adds `number`; false when it was a member.
    func insert(_ number: UInt64) -> Bool {
        let bit = UInt64(1) << (number & 63)
        let old = words[Int(number >> 6)]
        words[Int(number >> 6)] = old | bit
        return old & bit == 0
    }

    /// Adds every number of `range`.
    func insert(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        let (first, last) = (Int(range.lowerBound >> 6), Int((range.upperBound - 1) >> 6))
        let head = UInt64.max << (range.lowerBound & 63)
        let tail = UInt64.max >> (63 - (range.upperBound - 1) & 63)
        if first == last { return words[first] |= head & tail }
        words[first] |= head
        for index in first + 1..<last { words[index] = .max }
        words[last] |= tail
    }

    /// Makes the set ready to count. Returns the number of members.
    func seal() -> UInt64 {
        countsBefore.removeAll()
        countsBefore.reserveCapacity(wordCount / Self.blockWords + 2)
        var total: UInt64 = 0
        for index in 0..<wordCount {
            if index % Self.blockWords == 0 { countsBefore.append(total) }
            total += UInt64(words[index].nonzeroBitCount)
        }
        countsBefore.append(total)
        return total
    }

    /// Members below `number`. Only after `seal`.
    func count(below number: UInt64) -> UInt64 {
        let last = Int(number >> 6)
        let block = last / Self.blockWords
        guard block < countsBefore.count else { return countsBefore.last ?? 0 }
        var total = countsBefore[block]
        for index in block * Self.blockWords..<min(last, wordCount) { total += UInt64(words[index].nonzeroBitCount) }
        if last < wordCount, number & 63 != 0 {
            total += UInt64((words[last] << (64 - number & 63)).nonzeroBitCount)
        }
        return total
    }

    /// The member that has `rank` members below it. Only after `seal`; `rank` is less than the number of members.
    func member(at rank: UInt64) -> UInt64 {
        var (low, high) = (0, countsBefore.count - 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if countsBefore[middle] <= rank { low = middle } else { high = middle }
        }
        var left = rank - countsBefore[low]
        var index = low * Self.blockWords
        while left >= UInt64(words[index].nonzeroBitCount) {
            left -= UInt64(words[index].nonzeroBitCount)
            index += 1
        }
        var word = words[index]
        for _ in 0..<left { word &= word - 1 }
        return UInt64(index) << 6 | UInt64(word.trailingZeroBitCount)
    }
}
