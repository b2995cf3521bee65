import ArgumentParser
import DiskImage
import Glibc
import Model
import SliceStorage
import Storage
import Volumes

/// `lamina-agent store …`: a store on a disk of this host, without a controller. No agent may have it open.
struct StoreTools: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Looks into a store that no agent has open.",
        subcommands: [List.self, Cat.self])

    /// Where the store is.
    struct Place: ParsableArguments {
        @Argument(help: "The mount path: the directory that has the directory 'lamina'.")
        var path: String

        func open() throws -> SliceStore {
            let options = StoreOptions(
                wallClock: WallClock { Timestamp(milliseconds: Int64(time(nil)) * 1000) }, monotonicSeconds: { 0 },
                workerCount: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
            do throws(StorageError) {
                return try SliceStore.open(mountPath: path, expecting: nil, fileSystem: nil, options: options)
            } catch { throw StartFailure("the store at \(path) cannot be opened: \(Instance.words(for: error))") }
        }
    }

    /// `store ls`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "Lists the images: id, format, size of the disk, name; with tabs between.")
        @OptionGroup var place: Place

        func run() throws {
            let store = try place.open()
            defer { store.close() }
            for facts in try store.images() {
                print(
                    "\(facts.declaration.id)\t\(facts.declaration.format.rawValue)\t\(facts.virtualSizeBytes)\t"
                        + facts.declaration.name)
            }
        }
    }

    /// `store cat`.
    struct Cat: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes an image to standard output, or sparsely to a file; every byte is checked.")
        @OptionGroup var place: Place
        @Argument(help: "The image's id.")
        var image: String
        @Option(help: "raw, qcow2 or vmdk.")
        var format: String = "raw"

        private static let pieceByteCount = 1 << 20

        func run() throws {
            guard let format = ImageFormat(rawValue: format) else {
                throw ValidationError("the format is raw, qcow2 or vmdk")
            }
            let id = try ImageID(parsing: image)
            let store = try place.open()
            defer { store.close() }
            let content = try DiskImage.render(try store.open(id), as: format)
            let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: Cat.pieceByteCount, alignment: 4096)
            defer { piece.deallocate() }
            var offset: UInt64 = 0
            while offset < content.byteCount {
                let count = Int(min(UInt64(piece.count), content.byteCount - offset))
                let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<count])
                try content.read(into: part, at: offset)
                var done = 0
                while done < count {
                    let written = write(STDOUT_FILENO, part.baseAddress! + done, count - done)
                    if written < 0, errno == EINTR { continue }
                    guard written > 0 else { throw StartFailure("standard output cannot be written (error \(errno))") }
                    done += written
                }
                offset += UInt64(count)
            }
        }
    }
}
