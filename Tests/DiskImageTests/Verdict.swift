import DiskImage
import Foundation
import Model
import Testing
import Volumes

/// What becomes of a file, and that it does so soon.
enum Verdict {
    /// The processor time of this thread: other work on the machine does not count.
    private static func threadNanoseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// Inspects and then reads all of it; the verdict is the first error.
    static func of(_ source: any ByteSource, _ format: ImageFormat) -> String {
        let start = threadNanoseconds()
        defer { #expect(threadNanoseconds() - start < 2_000_000_000) }
        return ReadAll.verdict(source, format)
    }
}
