import Foundation
import KeelsonCore
import KeelsonStore
import Synchronization

/// What publishing a telemetry event costs the thread that does it, in nanoseconds of its own time.
enum TelemetryCost {
  private static let type = "keelson.flags.FeatureFlagEvaluated"
  private static let rounds = 9

  /// Each the best of several rounds: a call that does an atomic load and no more, publishing to nobody, publishing while
  /// somebody listens to another type, and publishing to one listener whose room is full.
  static func measure() -> JSONValue {
    let counter = Counter()
    var sum = 0
    let load = nanoseconds(times: 20_000_000) { sum &+= counter.read() }
    let events = TelemetryEvents()
    let unheard = nanoseconds(times: 20_000_000) { publish(to: events) }
    let others = events.subscribe(limit: 1) { $0 == "keelson.health.HealthChecked" }
    let unwanted = nanoseconds(times: 1_000_000) { publish(to: events) }
    let listener = events.subscribe(limit: 1) { $0 == type }
    let heard = nanoseconds(times: 100_000) { publish(to: events) }
    withExtendedLifetime((others, listener, sum)) {}
    return [
      "atomic_load_ns": .number(load), "publish_to_nobody_ns": .number(unheard),
      "publish_unwanted_ns": .number(unwanted), "publish_heard_ns": .number(heard),
    ]
  }

  private final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    /// A call, as publishing is one.
    @inline(never)
    func read() -> Int { value.load(ordering: .relaxed) }
  }

  /// As the flags service does it for each evaluation.
  private static func publish(to events: TelemetryEvents) {
    events.publish(type: type) { TelemetryEvent(type: type, subject: "default/new-checkout") }
  }

  private static func nanoseconds(times: Int, _ work: () -> Void) -> Double {
    var best = Double.infinity
    for _ in 0..<rounds {
      let start = threadSeconds()
      for _ in 0..<times { work() }
      best = min(best, (threadSeconds() - start) * 1e9 / Double(times))
    }
    return (best * 100).rounded() / 100
  }

  private static func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
