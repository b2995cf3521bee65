import Model

/// Reads a vmdk file that the input means.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = [UInt8](UnsafeBufferPointer(start: data, count: count))
    let verdict = ReadAll.verdict(MemorySource(FuzzInput.file(.vmdk, input)), .vmdk)
    precondition(!verdict.hasPrefix("extent"), verdict)
    return 0
}
