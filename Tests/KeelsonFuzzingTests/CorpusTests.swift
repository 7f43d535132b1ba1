import Foundation
import KeelsonFuzzing
import Testing

/// Runs each fuzz target on the inputs that dev/fuzz has kept: its corpus, and what once failed.
@Suite struct CorpusTests {
  private static let corpus = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fuzz/Corpus")

  @Test(arguments: FuzzTarget.all.map(\.name)) func whatHoldsForEveryInputHoldsForTheCorpus(
    name: String
  ) async throws {
    let target = try #require(FuzzTarget.named(name))
    let folder = Self.corpus.appending(path: name)
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(!files.isEmpty, "no corpus: run dev/fuzz \(name)")
    try await target.start()
    for file in files {
      let input = Array(try Data(contentsOf: folder.appending(path: file)))
      #expect(throws: Never.self, "Fuzz/Corpus/\(name)/\(file)") { try target.run(input) }
    }
  }

  @Test func eachCorpusBelongsToATargetAndAllOfThemAreSmall() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: Self.corpus.path)
    #expect(Set(names) == Set(FuzzTarget.all.map(\.name)))
    var bytes = 0
    for name in names {
      let folder = Self.corpus.appending(path: name)
      for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
        let size = try folder.appending(path: file).resourceValues(forKeys: [.fileSizeKey])
        bytes += size.fileSize ?? 0
      }
    }
    #expect(bytes < 1 << 20, "Fuzz/Corpus has \(bytes) bytes: dev/fuzz --minimize")
  }

  /// Without this the other tests could not fail.
  @Test func aTargetSaysWhatDoesNotHold() {
    let names = FuzzTarget.all.map(\.name)
    #expect(names.count == Set(names).count)
    #expect(FuzzTarget.named("nothing") == nil)
  }
}
