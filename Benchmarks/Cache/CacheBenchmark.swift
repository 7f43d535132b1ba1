import Foundation

/// The memory engine of the cache by itself, a part at a time. Each part prints one JSON object of
/// lists.
///
///     cache-benchmark hit-ratio   how often gets find something, beside the best possible and LRU
///     cache-benchmark engine      nanoseconds of a get and of a set
///     cache-benchmark memory      bytes of an entry beside Redis's; memory under a flood
///     cache-benchmark pattern     invalidations of many entries, and the sweep after them
@main struct CacheBenchmark {
  static func main() async throws {
    let figures: [String: [Double]]
    switch CommandLine.arguments.dropFirst().first {
    case "hit-ratio": figures = HitRatio.run()
    case "engine": figures = await EngineSpeed.run()
    case "memory": figures = try await MemoryUse.run()
    case "pattern": figures = try await Invalidations.run()
    default:
      print("usage: cache-benchmark hit-ratio|engine|memory|pattern")
      exit(2)
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    print(String(decoding: try encoder.encode(figures), as: UTF8.self))
  }
}

/// xorshift64*: quick, and the same in each run.
struct Dice {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  /// From 0 to below 1.
  mutating func part() -> Double { Double(next() >> 11) / Double(1 << 53) }
}

enum Keys {
  static func name(_ number: Int) -> String { "acme:books:account:\(number)" }
}

extension Duration {
  var nanoseconds: Double {
    Double(components.seconds) * 1e9 + Double(components.attoseconds) / 1e9
  }
}
