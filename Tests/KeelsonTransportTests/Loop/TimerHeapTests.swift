import KeelsonTestKit
import Testing

@testable import KeelsonTransport

struct TimerHeapTests {
  /// Random additions, cancellations and firings, against a plain list that is searched.
  @Test(arguments: UInt64(1)...8) func behavesLikeAListThatIsSearched(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var heap = TimerHeap<Int>()
    var model: [(id: TimerHeap<Int>.ID, due: UInt64, payload: Int)] = []
    var gone: [TimerHeap<Int>.ID] = []
    for step in 0..<5_000 {
      switch Int.random(in: 0..<4, using: &random) {
      case 0, 1:
        let due = UInt64.random(in: 0..<200, using: &random)
        model.append((heap.add(due: due, step), due, step))
      case 2:
        if let index = model.indices.randomElement(using: &random) {
          let removed = model.remove(at: index)
          #expect(heap.cancel(removed.id) == true)
          gone.append(removed.id)
        }
        if let id = gone.randomElement(using: &random) { #expect(heap.cancel(id) == false) }
      default:
        let now = UInt64.random(in: 0..<200, using: &random)
        let earliest = model.map(\.due).min()
        let payload = heap.popDue(by: now)
        guard let earliest, earliest <= now else {
          #expect(payload == nil)
          continue
        }
        let index = model.firstIndex { $0.payload == payload }
        #expect(index.map { model[$0].due } == earliest)
        if let index { gone.append(model.remove(at: index).id) }
      }
      #expect(heap.count == model.count)
      #expect(heap.earliest == model.map(\.due).min())
    }
  }
}
