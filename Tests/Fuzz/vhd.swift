import Model

/// Reads a vhd file that the input means.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = [UInt8](UnsafeBufferPointer(start: data, count: count))
    let verdict = ReadAll.verdict(MemorySource(FuzzInput.file(.vhd, input)), .vhd)
    precondition(!verdict.hasPrefix("extent"), verdict)
    return 0
}
