import DiskImage
import Model

/// Looks at a guest's disk that the input means.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = [UInt8](UnsafeBufferPointer(start: data, count: count))
    do {
        let disk = try DiskImage.open(MemorySource(FuzzInput.guest(input)), format: .raw, limits: .standard)
        _ = try DiskImage.guestFacts(of: disk)
    } catch {
        preconditionFailure("\(error)")
    }
    return 0
}
