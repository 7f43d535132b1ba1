import KeelsonStore
import Testing

@Suite struct DequeTests {
  @Test func anElementIsLetGoWhenItGoesOut() throws {
    final class Held {}
    var deque = Deque<Held>()
    for _ in 0..<20 { deque.append(Held()) }
    for _ in 0..<20 {
      weak let first = deque.first
      #expect(first != nil)
      _ = deque.popFirst()
      #expect(first == nil)
    }
  }

  @Test func agreesWithAnArrayWhateverHappens() {
    var random = SystemRandomNumberGenerator()
    var deque = Deque<Int>()
    var model: [Int] = []
    for step in 0..<20_000 {
      // Long runs of each kind, so that it grows, goes round and empties.
      if Int.random(in: 0..<10, using: &random) < (step / 500 % 2 == 0 ? 6 : 4) {
        deque.append(step)
        model.append(step)
      } else {
        #expect(deque.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
      }
      #expect(deque.count == model.count)
      #expect(deque.isEmpty == model.isEmpty)
      #expect(deque.first == model.first)
      if let offset = model.indices.randomElement(using: &random) {
        #expect(deque[offset] == model[offset])
      }
    }
    #expect((0..<deque.count).map { deque[$0] } == model)
  }
}
