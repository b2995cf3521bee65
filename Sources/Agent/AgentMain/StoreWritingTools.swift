import ArgumentParser
import DiskImage
import Disks
import Glibc
import Model
import SliceStorage
import Storage
import Volumes

extension StoreTools {
    /// Goes on as the owner of the store: the agent must be able to open what is written here.
    static func becomeOwner(ofStoreAt path: String) throws(StartFailure) {
        let owner: HostFiles.Owner
        do throws(DisksError) {
            owner = try HostFiles.owner(of: path + "/" + SliceStore.directoryName + "/STORE")
        } catch {
            throw StartFailure("there is no store at \(path): \(error)")
        }
        guard geteuid() == 0, owner.user != 0 else { return }
        guard setgroups(0, nil) == 0, setgid(owner.group) == 0, setuid(owner.user) == 0 else {
            throw StartFailure("cannot become the store's owner \(owner.user): \(String(cString: strerror(errno)))")
        }
    }

    /// `store rebuild-index`.
    struct RebuildIndex: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rebuild-index",
            abstract: "Makes the index anew from blobs and manifests; the agent is stopped.")
        @OptionGroup var place: Place

        func run() throws {
            try StoreTools.becomeOwner(ofStoreAt: place.path)
            try StoreTools.words(place.path) { () throws(StorageError) in
                try SliceStore.rebuildIndex(mountPath: place.path, options: StoreTools.options())
            }
            print("the index was made anew")
        }
    }

    /// `store create`.
    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Makes an empty store below a directory, to be filled here and added with --retrieve-existing-images.")
        @OptionGroup var place: Place
        @Option(help: "How hard to compress: 1 quick, 3 usual, 6 cold.")
        var compressionLevel: Int = 3

        func run() throws {
            guard (1...19).contains(compressionLevel) else { throw ValidationError("the compression level is 1 to 19") }
            var generator = SystemRandomNumberGenerator()
            let id = StoreID(using: &generator)
            let path = place.path
            let fileSystem: String
            do throws(DisksError) { fileSystem = try FileSystemIdentity.of(path).text } catch {
                throw StartFailure("\(path): \(error)")
            }
            let (level, now) = (compressionLevel, StoreTools.options().wallClock.now())
            try StoreTools.words(path) { () throws(StorageError) in
                try SliceStore.format(
                    mountPath: path, id: id, fileSystem: fileSystem, compressionLevel: level, at: now)
            }
            print(id)
        }
    }

    /// `store add`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes a file in as an image, and prints the image's id; the agent is stopped.")
        @OptionGroup var place: Place
        @Argument(help: "The image file.", transform: StoreTools.absolute)
        var file: String
        @Option(help: "The image's name; the file's, unless given.")
        var name: String?
        @Option(help: "What the file is: raw, qcow2 or iso.")
        var format: String
        @Option(help: "system or disk.")
        var type: String = "system"

        func run() throws {
            guard let format = ImageFormat(rawValue: format) else { throw ValidationError("'\(format)' is no format") }
            guard let type = ImageType(rawValue: type) else { throw ValidationError("the type is system or disk") }
            let name = try ResourceName(name ?? VolumePath.name(of: file)).text
            // Opened before the rights that may be needed for it are given up.
            let source: FileSource
            do throws(VolumeError) {
                let volume = try PosixVolume(
                    hostPath: VolumePath.parent(of: file))
                source = try FileSource(try volume.open(VolumePath.name(of: file), .read))
            } catch { throw StartFailure("'\(file)' cannot be opened: \(error)") }
            _ = try DiskImage.inspect(source, declared: format, type: type, limits: .standard)
            let disk = try DiskImage.open(source, format: format, limits: .standard)
            try StoreTools.becomeOwner(ofStoreAt: place.path)
            var generator = SystemRandomNumberGenerator()
            let options = StoreTools.options()
            let declaration = ImageDeclaration(
                id: ImageID(using: &generator), name: name, description: "", type: type, format: format,
                createdAt: options.wallClock.now())
            let session = SessionID(using: &generator)
            try StoreTools.words(place.path) { () throws(StorageError) in
                let store = try SliceStore.open(
                    mountPath: place.path, expecting: nil, fileSystem: nil, options: options)
                defer { store.close() }
                do throws(StorageError) {
                    _ = try store.ingest(
                        session, as: declaration, from: disk, sourceDigest: nil, sourceSizeBytes: source.byteCount,
                        control: IngestControl())
                } catch {
                    try? store.abandon(session)
                    throw error
                }
            }
            print(declaration.id)
        }
    }
}
