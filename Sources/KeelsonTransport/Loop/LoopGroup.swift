import CLibUV
import Synchronization

/// A fixed number of loops; by default one per core this process may use.
package final class LoopGroup: Sendable {
  package let loops: [Loop]
  private let turn = Atomic<Int>(0)

  /// Starts the loops.
  ///
  /// - Parameter count: how many; nil: one per core.
  package init(count: Int? = nil) {
    let count = max(1, count ?? Int(uv_available_parallelism()))
    loops = (0..<count).map { _ in Loop() }
    for (number, loop) in loops.enumerated() { loop.start(name: "keelson-loop-\(number)") }
  }

  /// The loops in turn: where the next connection goes.
  package func next() -> Loop {
    let number = turn.wrappingAdd(1, ordering: .relaxed).oldValue
    return loops[number % loops.count]
  }

  /// Stops all loops; what lives on them closes.
  package func stop() async {
    for loop in loops { await loop.stop() }
  }
}
