/// A qcow2 file made of a guest's disk: version 3, clusters of 64 KiB, nothing compressed, no backing file, holes
/// left out. Its layout follows from which clusters have data, so that any byte of it can be made at any time:
///
///     header | reference count table | reference count blocks | L1 table | L2 tables | data clusters, in guest order
///
/// Every cluster is used once, so every count is 1 and every entry says so.
/// Source: qemu, docs/interop/qcow2.txt; docs/image-formats.md, "qcow2 out".
struct Qcow2Image: RenderedImage {
    private static let clusterBytes: UInt64 = 65536
    /// Guest clusters that one L2 table maps.
    private static let l2EntryCount: UInt64 = clusterBytes / 8
    /// Clusters whose counts (of 16 bits) one block holds.
    private static let countsPerBlock: UInt64 = clusterBytes / 2
    private static let copied: UInt64 = 1 << 63
    private static let headerBytes = 112

    private let disk: any GuestDisk
    /// Guest clusters with data.
    private let present: ClusterSet
    /// L1 entries with an L2 table.
    private let tables: ClusterSet
    private let virtualSizeBytes: UInt64
    private let l1EntryCount: UInt64
    // Where the parts begin, in clusters of the file; the header is cluster 0 and the table follows it.
    private let refcountTableClusters: UInt64
    private let firstBlock: UInt64
    private let firstL1: UInt64
    private let firstL2: UInt64
    private let firstData: UInt64
    private let clusterCount: UInt64

    var byteCount: UInt64 { clusterCount * Self.clusterBytes }

    /// Asks the disk for all its extents and lays the file out.
    init(_ disk: any GuestDisk) throws(DiskImageError) {
        let size = disk.virtualSizeBytes
        guard size <= Limits.renderedDiskBytesMax else {
            throw .tooLarge(virtualSizeBytes: size, limitBytes: Limits.renderedDiskBytesMax)
        }
        self.disk = disk
        virtualSizeBytes = (size + 511) / 512 * 512
        let guestClusters = (size + Self.clusterBytes - 1) / Self.clusterBytes
        l1EntryCount = (guestClusters + Self.l2EntryCount - 1) / Self.l2EntryCount
        present = try ClusterSet(below: guestClusters)
        tables = try ClusterSet(below: l1EntryCount)
        var offset: UInt64 = 0
        while offset < size {
            let extent = try disk.extent(at: offset)
            precondition(extent.range.lowerBound == offset && extent.range.upperBound > offset, "extents go on")
            let end = min(extent.range.upperBound, size)
            if extent.isData {
                let clusters = offset / Self.clusterBytes..<(end + Self.clusterBytes - 1) / Self.clusterBytes
                present.insert(clusters)
                tables.insert(
                    clusters.lowerBound / Self.l2EntryCount..<(clusters.upperBound - 1) / Self.l2EntryCount + 1)
            }
            offset = end
        }
        let dataCount = present.seal()
        let tableCount = tables.seal()
        let l1Clusters = max(1, (l1EntryCount * 8 + Self.clusterBytes - 1) / Self.clusterBytes)
        // The blocks count themselves and the table that lists them: grow until they suffice.
        let others = 1 + l1Clusters + tableCount + dataCount
        var (blocks, listClusters): (UInt64, UInt64) = (1, 1)
        while blocks * Self.countsPerBlock < others + blocks + listClusters {
            let total = others + blocks + listClusters
            blocks = (total + Self.countsPerBlock - 1) / Self.countsPerBlock
            listClusters = (blocks * 8 + Self.clusterBytes - 1) / Self.clusterBytes
        }
        refcountTableClusters = listClusters
        firstBlock = 1 + listClusters
        firstL1 = firstBlock + blocks
        firstL2 = firstL1 + l1Clusters
        firstData = firstL2 + tableCount
        clusterCount = firstData + dataCount
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
        precondition(offset <= byteCount && UInt64(buffer.count) <= byteCount - offset, "the range lies in the file")
        var done = 0
        while done < buffer.count {
            let place = offset + UInt64(done)
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            if place / Self.clusterBytes < firstData {
                done += copyTable(place, into: rest)
            } else {
                done += try copyData(place, into: rest)
            }
        }
    }

    /// Copies from the data clusters: as many as follow each other on the guest's disk too. Returns the bytes copied.
    private func copyData(_ place: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) -> Int {
        let rank = place / Self.clusterBytes - firstData
        let guest = present.member(at: rank)
        let inside = place % Self.clusterBytes
        let guestPlace = guest * Self.clusterBytes + inside
        var end = (guest + 1) * Self.clusterBytes
        let wanted = guestPlace + UInt64(buffer.count)
        let guestEnd = (disk.virtualSizeBytes + Self.clusterBytes - 1) / Self.clusterBytes * Self.clusterBytes
        while end < wanted, end < guestEnd, present.contains(end / Self.clusterBytes) { end += Self.clusterBytes }
        let count = min(end, wanted) - guestPlace
        // The last cluster of the disk may be cut off by its end; in the file it is whole.
        let onDisk = guestPlace < disk.virtualSizeBytes ? min(count, disk.virtualSizeBytes - guestPlace) : 0
        try disk.readSparsely(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<Int(onDisk)]), at: guestPlace)
        UnsafeMutableRawBufferPointer(rebasing: buffer[Int(onDisk)..<Int(count)])
            .initializeMemory(as: UInt8.self, repeating: 0)
        return Int(count)
    }

    /// Copies from the one cluster of header or tables that `place` is in. Returns the bytes copied.
    private func copyTable(_ place: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let cluster = place / Self.clusterBytes
        let inside = Int(place % Self.clusterBytes)
        let count = min(buffer.count, Int(Self.clusterBytes) - inside)
        let made = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(Self.clusterBytes), alignment: 16)
        defer { made.deallocate() }
        made.initializeMemory(as: UInt8.self, repeating: 0)
        switch cluster {
        case 0: makeHeader(made)
        case 1..<firstBlock: makeRefcountTable(cluster - 1, made)
        case firstBlock..<firstL1: makeBlock(cluster - firstBlock, made)
        case firstL1..<firstL2: makeL1(cluster - firstL1, made)
        default: makeL2(cluster - firstL2, made)
        }
        UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: made[inside..<inside + count]))
        return count
    }

    private func makeHeader(_ made: UnsafeMutableRawBufferPointer) {
        func put<Word: FixedWidthInteger>(_ word: Word, at offset: Int) {
            made.storeBytes(of: word.bigEndian, toByteOffset: offset, as: Word.self)
        }
        put(UInt32(0x5146_49fb), at: 0)
        put(UInt32(3), at: 4)
        put(UInt32(16), at: 20)
        put(virtualSizeBytes, at: 24)
        put(UInt32(l1EntryCount), at: 36)
        put(firstL1 * Self.clusterBytes, at: 40)
        put(Self.clusterBytes, at: 48)
        put(UInt32(refcountTableClusters), at: 56)
        put(UInt32(4), at: 96)
        put(UInt32(Self.headerBytes), at: 100)
    }

    private func makeRefcountTable(_ index: UInt64, _ made: UnsafeMutableRawBufferPointer) {
        fill(made, from: index * Self.l2EntryCount, below: firstL1 - firstBlock) {
            (firstBlock + $0) * Self.clusterBytes
        }
    }

    private func makeBlock(_ index: UInt64, _ made: UnsafeMutableRawBufferPointer) {
        let first = index * Self.countsPerBlock
        let used = min(Self.countsPerBlock, clusterCount - min(first, clusterCount))
        let counts = made.bindMemory(to: UInt16.self)
        for entry in 0..<Int(used) { counts[entry] = UInt16(1).bigEndian }
    }

    private func makeL1(_ index: UInt64, _ made: UnsafeMutableRawBufferPointer) {
        fill(made, from: index * Self.l2EntryCount, below: l1EntryCount) { entry in
            guard tables.contains(entry) else { return 0 }
            return (firstL2 + tables.count(below: entry)) * Self.clusterBytes | Self.copied
        }
    }

    private func makeL2(_ index: UInt64, _ made: UnsafeMutableRawBufferPointer) {
        let first = tables.member(at: index) * Self.l2EntryCount
        let guestClusters = (disk.virtualSizeBytes + Self.clusterBytes - 1) / Self.clusterBytes
        var next = firstData + present.count(below: first)
        fill(made, from: first, below: guestClusters) { cluster in
            guard present.contains(cluster) else { return 0 }
            defer { next += 1 }
            return next * Self.clusterBytes | Self.copied
        }
    }

    /// Writes the words for the numbers from `first` on, as many as a cluster holds and `end` allows.
    private func fill(
        _ made: UnsafeMutableRawBufferPointer, from first: UInt64, below end: UInt64, _ word: (UInt64) -> UInt64
    ) {
        let words = made.bindMemory(to: UInt64.self)
        let count = min(Self.l2EntryCount, end - min(first, end))
        for index in 0..<Int(count) { words[index] = word(first + UInt64(index)).bigEndian }
    }
}
