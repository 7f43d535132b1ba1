import KeelsonCacheRules
import Testing

struct FrequencySketchTests {
  @Test func neverErrsDownwards() {
    var sketch = FrequencySketch()
    sketch.extend(toEntries: 1_000)
    var counts: [UInt32: Int] = [:]
    // Fewer than lead to halving.
    for _ in 0..<8_000 {
      let hash = UInt32.random(in: 0..<3_000) &* 0x9E37_79B1
      sketch.increment(hash)
      counts[hash, default: 0] += 1
    }
    for (hash, count) in counts {
      #expect(sketch.frequency(hash) >= min(count, FrequencySketch.maximum))
    }
  }

  @Test func growingForgetsNothing() {
    var sketch = FrequencySketch()
    for hash in 0..<10 as Range<UInt32> {
      for _ in 0...hash / 2 { sketch.increment(hash) }
    }
    let before = (0..<10 as Range<UInt32>).map(sketch.frequency)
    sketch.extend(toEntries: 10_000)
    #expect((0..<10 as Range<UInt32>).map(sketch.frequency) == before)
    // What is new is told apart better than before.
    #expect((1_000..<2_000 as Range<UInt32>).count { sketch.frequency($0) == 0 } > 500)
  }

  @Test func whatWasOftenAskedForFades() {
    var sketch = FrequencySketch()
    sketch.extend(toEntries: 64)
    for _ in 0..<15 { sketch.increment(1) }
    #expect(sketch.frequency(1) == 15)
    for _ in 0..<10_000 { sketch.increment(.random(in: 1_000...1_000_000)) }
    #expect(sketch.frequency(1) < 15)
  }
}
