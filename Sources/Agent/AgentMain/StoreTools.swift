import ArgumentParser
import DiskImage
import Glibc
import Model
import SliceStorage
import Storage

/// `lamina-agent store …`: a store on a disk of this host, without a controller. Source: docs/store.md, "Offline tools".
struct StoreTools: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Looks into a store, and mends it, without a controller.",
        discussion: "ls, cat and verify only read, and may run beside the store's agent; the others need it stopped.",
        subcommands: [List.self, Cat.self, Verify.self, RebuildIndex.self, Create.self, Add.self])

    /// Where the store is.
    struct Place: ParsableArguments {
        @Argument(
            help: "The mount path: the directory that has the directory 'lamina'.", transform: StoreTools.absolute)
        var path: String

        /// For looking only.
        func reader() throws(StartFailure) -> StoreReader {
            try StoreTools.words(path) { () throws(StorageError) in try StoreReader(mountPath: path) }
        }
    }

    /// What every writing tool opens a store with.
    static func options() -> StoreOptions {
        StoreOptions(
            wallClock: WallClock { Timestamp(milliseconds: Int64(time(nil)) * 1000) },
            monotonicSeconds: {
                var now = timespec()
                clock_gettime(CLOCK_MONOTONIC, &now)
                return UInt64(now.tv_sec)
            }, workerCount: coreCount)
    }

    static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return String(cString: current) + "/" + path
    }

    static var coreCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    static func words<T>(_ path: String, _ body: () throws(StorageError) -> T) throws(StartFailure) -> T {
        do throws(StorageError) { return try body() } catch {
            throw StartFailure("the store at \(path): \(Instance.words(for: error))")
        }
    }

    /// `store ls`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "Lists the images: id, format, size of the disk, name; with tabs between.")
        @OptionGroup var place: Place

        func run() throws {
            let reader = try place.reader()
            var damaged = 0
            for listed in try StoreTools.words(place.path, { () throws(StorageError) in try reader.list() }) {
                switch listed {
                case .image(let facts):
                    print(
                        "\(facts.declaration.id)\t\(facts.declaration.format.rawValue)\t\(facts.virtualSizeBytes)\t"
                            + facts.declaration.name)
                case .unreadable(let name, let reason):
                    damaged += 1
                    StoreTools.complain("images/\(name) cannot be read: \(reason)")
                }
            }
            if damaged > 0 { throw ExitCode.failure }
        }
    }

    /// `store cat`.
    struct Cat: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes an image to standard output, or sparsely to a file; every byte is checked.")
        @OptionGroup var place: Place
        @Argument(help: "The image's id, or its name when only one image has it.")
        var image: String
        @Option(help: "raw, qcow2 or vmdk.")
        var format: String = "raw"
        @Option(name: .shortAndLong, help: "A file that does not exist yet.")
        var output: String?

        private static let pieceByteCount = 1 << 20

        func run() throws {
            guard let format = ImageFormat(rawValue: format) else {
                throw ValidationError("'\(format)' is no format; it is raw, qcow2 or vmdk")
            }
            let reader = try place.reader()
            let id = try find(reader)
            var descriptor = STDOUT_FILENO
            if let output {
                descriptor = open(output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
                guard descriptor >= 0 else {
                    throw StartFailure("'\(output)' cannot be made: \(String(cString: strerror(errno)))")
                }
            }
            do {
                if format == .raw || format == .iso {
                    try StoreTools.words(place.path) { () throws(StorageError) in
                        try reader.copy(id, toDescriptor: descriptor, workerCount: StoreTools.coreCount)
                    }
                } else {
                    try render(
                        try StoreTools.words(place.path) { () throws(StorageError) in try reader.open(id) }, format,
                        descriptor)
                }
                guard output == nil || close(descriptor) == 0 else {
                    throw StartFailure("'\(output!)' cannot be written")
                }
            } catch {
                // A part must not pass for the whole.
                if let output { unlink(output) }
                throw error
            }
        }

        private func find(_ reader: StoreReader) throws -> ImageID {
            if let id = try? ImageID(parsing: image) { return id }
            let named = try StoreTools.words(place.path) { () throws(StorageError) in try reader.list() }.compactMap {
                if case .image(let facts) = $0, facts.declaration.name == image { facts.declaration.id } else { nil }
            }
            guard let id = named.first, named.count == 1 else {
                throw ValidationError(
                    named.isEmpty
                        ? "no image has the id or name '\(image)'; see: lamina-agent store ls \(place.path)"
                        : "\(named.count) images are named '\(image)'; give the id: \(named.map(\.description).joined(separator: ", "))"
                )
            }
            return id
        }

        private func render(_ disk: any GuestDisk, _ format: ImageFormat, _ descriptor: Int32) throws {
            let content = try DiskImage.render(disk, as: format)
            let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: Cat.pieceByteCount, alignment: 4096)
            defer { piece.deallocate() }
            var offset: UInt64 = 0
            while offset < content.byteCount {
                let count = Int(min(UInt64(piece.count), content.byteCount - offset))
                let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<count])
                try content.read(into: part, at: offset)
                var done = 0
                while done < count {
                    let written = write(descriptor, part.baseAddress! + done, count - done)
                    if written < 0, errno == EINTR { continue }
                    guard written > 0 else {
                        throw StartFailure("the output cannot be written: \(String(cString: strerror(errno)))")
                    }
                    done += written
                }
                offset += UInt64(count)
            }
        }
    }

    /// `store verify`.
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Reads every blob, hashes every slice, and looks for every slice that an image names.",
            discussion: "Says what is wrong, a line each, and exits with 1 when anything is.")
        @OptionGroup var place: Place

        func run() throws {
            let reader = try place.reader()
            let result = try StoreTools.words(place.path) { () throws(StorageError) in try reader.verify() }
            for finding in result.findings { print(finding) }
            print(
                "\(result.images) images, \(result.blobs) blobs, \(result.slices) slices, \(result.bytes) bytes; "
                    + (result.findings.isEmpty ? "all well" : "\(result.findings.count) findings"))
            if !result.findings.isEmpty { throw ExitCode.failure }
        }
    }

    // Nothing is to be done when nobody reads it.
    static func complain(_ words: String) {
        _ = Array((words + "\n").utf8).withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
