import CLinux
import Glibc
import Synchronization

/// An open file of the host. The descriptor is closed once, by `close` or when the file is let go.
final class PosixFile: VolumeFile {
    let path: String
    private let descriptor: Atomic<Int32>

    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = Atomic(descriptor)
    }

    deinit {
        let fd = descriptor.load(ordering: .relaxed)
        if fd >= 0 { Glibc.close(fd) }
    }

    private var fd: Int32 { descriptor.load(ordering: .relaxed) }

    private func failed(_ call: String) -> VolumeError { VolumeError(call: call, path: path, errno: errno) }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(VolumeError) -> Int {
        var done = 0
        while done < buffer.count {
            let got = pread(fd, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            if got == 0 { break }
            if got < 0 {
                if errno == EINTR { continue }
                throw failed("read")
            }
            done += got
        }
        return done
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(VolumeError) {
        var done = 0
        while done < bytes.count {
            let put = pwrite(fd, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
            if put <= 0 {
                if put < 0, errno == EINTR { continue }
                throw put == 0 ? VolumeError(call: "write", path: path, errno: EIO) : failed("write")
            }
            done += put
        }
    }

    func size() throws(VolumeError) -> UInt64 {
        var found = stat()
        guard fstat(fd, &found) == 0 else { throw failed("stat") }
        return UInt64(max(0, found.st_size))
    }

    func truncate(to size: UInt64) throws(VolumeError) {
        guard ftruncate(fd, off_t(size)) == 0 else { throw failed("truncate") }
    }

    func allocate(from offset: UInt64, count: UInt64) throws(VolumeError) {
        while lamina_fallocate_keep_size(fd, Int64(offset), Int64(count)) != 0 {
            if errno == EINTR { continue }
            if errno == EOPNOTSUPP || errno == ENOSYS { return }
            throw failed("fallocate")
        }
    }

    func dataRun(from offset: UInt64) throws(VolumeError) -> Range<UInt64>? {
        let end = try size()
        guard offset < end else { return nil }
        let start = lamina_seek_data(fd, Int64(offset))
        if start < 0 {
            if errno == ENXIO { return nil }
            // A file system that cannot tell: everything may be data.
            if errno == EINVAL || errno == EOPNOTSUPP { return offset..<end }
            throw failed("seek")
        }
        let stop = lamina_seek_hole(fd, start)
        guard stop >= 0 else { throw failed("seek") }
        let (low, high) = (max(offset, UInt64(start)), UInt64(stop))
        return low < high ? low..<high : nil
    }

    func syncData() throws(VolumeError) {
        guard fdatasync(fd) == 0 else { throw failed("fdatasync") }
    }

    func close() throws(VolumeError) {
        let fd = descriptor.exchange(-1, ordering: .acquiringAndReleasing)
        guard fd >= 0 else { return }
        guard Glibc.close(fd) == 0 else { throw failed("close") }
    }
}
