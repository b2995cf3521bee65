// Goal: what the fuzzers found once is met again in every run.
// Method: the kept inputs (Tests/Fuzz/corpus) are read like any broken file.
import DiskImage
import Foundation
import Model
import Testing

extension DiskImageTests {
    @Suite struct FuzzCorpus {
        private static func inputs(_ reader: String) throws -> [[UInt8]] {
            let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Fuzz/corpus/\(reader)")
            return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
                .map { [UInt8](try Data(contentsOf: $0)) }
        }

        @Test(arguments: [ImageFormat.qcow2, .vmdk, .vhd, .vhdx]) func isRead(_ format: ImageFormat) throws {
            let inputs = try Self.inputs(format.rawValue)
            #expect(inputs.count >= 20)
            var verdicts: Set<String> = []
            for input in inputs {
                let verdict = Verdict.of(MemorySource(FuzzInput.file(format, input)), format)
                #expect(!verdict.hasPrefix("extent"))
                verdicts.insert(verdict)
            }
            // They differ, and some are good: the corpus reaches behind the first rule.
            #expect(verdicts.count >= 10 && verdicts.contains("taken"))
            #expect(Verdict.of(MemorySource(FuzzInput.file(format, [1])), format) == "taken")
        }

        @Test func isLookedAt() throws {
            let inputs = try Self.inputs("facts")
            #expect(inputs.count >= 20)
            for input in inputs {
                let disk = try DiskImage.open(MemorySource(FuzzInput.guest(input)), format: .raw, limits: .standard)
                _ = try DiskImage.guestFacts(of: disk)
            }
        }
    }
}
