import Model

/// Must fail: shows that a fault in a reader would be found. A qcow2 file with a size of its own is not refused.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = [UInt8](UnsafeBufferPointer(start: data, count: count))
    let verdict = ReadAll.verdict(MemorySource(FuzzInput.file(.qcow2, input)), .qcow2)
    precondition(!verdict.hasPrefix("unsafe@36"), "the canary: \(verdict)")
    return 0
}
