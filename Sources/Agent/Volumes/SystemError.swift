import Glibc

extension VolumeError {
    static func words(_ number: Int32) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            // The POSIX form: it fills the buffer and answers a number.
            guard strerror_r(number, buffer.baseAddress!, buffer.count) == 0 else { return "error \(number)" }
            return String(cString: buffer.baseAddress!)
        }
    }
}

extension VolumeError {
    /// The file is longer than the caller takes.
    static var tooBig: Int32 { EFBIG }
    /// The file ended before it should.
    static var inputOutput: Int32 { EIO }
    /// True: the file system is full, or the user's share of it.
    package var isNoSpace: Bool { errno == ENOSPC || errno == EDQUOT }
    /// True: nothing has this name.
    package var isNotFound: Bool { errno == ENOENT }
    /// True: something has this name already.
    package var isExisting: Bool { errno == EEXIST }
}
