import KeelsonCore
import KeelsonTransport
import Synchronization

/// Counts calls as they begin and end, for Prometheus, and tells what other parts count beside.
/// Source: SYS-110.
final class CallMetrics: Sendable {
  /// The upper bounds of the histogram of durations, in milliseconds; above the last is infinity.
  static let boundsMilliseconds: [Int64] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000,
  ]

  /// One method's counters.
  private final class Counters: Sendable {
    let method: MethodDescriptor
    let started = Atomic<Int>(0)
    let ended: [Counter]
    let durations: [Counter]
    let milliseconds = Atomic<Int64>(0)
    let receivedBytes = Atomic<Int>(0)
    let sentBytes = Atomic<Int>(0)

    init(_ method: MethodDescriptor) {
      self.method = method
      ended = CallMetrics.codes.map { _ in Counter() }
      durations = (0...CallMetrics.boundsMilliseconds.count).map { _ in Counter() }
    }

    func end(_ summary: CallSummary) {
      // Codes without a name are counted as UNKNOWN.
      let code = ended.indices.contains(summary.code.rawValue) ? summary.code : .unknown
      ended[code.rawValue].value.wrappingAdd(1, ordering: .relaxed)
      let (seconds, attoseconds) = summary.duration.components
      let milliseconds = seconds * 1_000 + attoseconds / 1_000_000_000_000_000
      let bounds = CallMetrics.boundsMilliseconds
      let bucket = bounds.firstIndex { milliseconds <= $0 } ?? bounds.count
      durations[bucket].value.wrappingAdd(1, ordering: .relaxed)
      self.milliseconds.wrappingAdd(milliseconds, ordering: .relaxed)
      receivedBytes.wrappingAdd(summary.receivedBytes, ordering: .relaxed)
      sentBytes.wrappingAdd(summary.sentBytes, ordering: .relaxed)
    }
  }

  private final class Counter: Sendable {
    let value = Atomic<Int>(0)
  }

  private static let codes = (0...16).map(RPCError.Code.init(rawValue:))

  private let methods = Mutex<[Counters]>([])
  /// Taken before `methods`.
  private let recent = Mutex(Recent())
  private let others: @Sendable () -> [MetricFamily]

  /// - Parameter others: what other parts count.
  init(beside others: @escaping @Sendable () -> [MetricFamily] = { [] }) {
    self.others = others
  }

  var interceptor: ServerInterceptor {
    ServerInterceptor { method in
      let counters = Counters(method)
      self.methods.withLock { $0.append(counters) }
      return ServerInterceptor.Functions(
        begin: { _ in counters.started.wrappingAdd(1, ordering: .relaxed) },
        end: { _, summary in counters.end(summary) })
    }
  }

  /// Where Prometheus finds them.
  var route: PlainRoute {
    PlainRoute(path: "/metrics", contentType: "text/plain; version=0.0.4; charset=utf-8") {
      self.recentText
    }
  }

  /// The text as of a second ago at most, so that asking for it over and over costs little.
  private var recentText: [UInt8] {
    recent.withLock { recent in
      let now = ContinuousClock.now
      if let made = recent.made, made.duration(to: now) < .seconds(1) { return recent.text }
      recent = Recent(text: Array(text.utf8), made: now)
      return recent.text
    }
  }

  private struct Recent {
    var text: [UInt8] = []
    var made: ContinuousClock.Instant?
  }

  /// All counters in Prometheus's text format, version 0.0.4; methods that were never called are
  /// left out.
  var text: String {
    let called = methods.withLock { $0 }.filter { $0.started.load(ordering: .relaxed) > 0 }
    var text = ""
    Self.add(
      &text, "keelson_rpc_started_total", "counter", "Calls that have begun.", called
    ) { [("", $0.started.load(ordering: .relaxed))] }
    Self.add(
      &text, "keelson_rpc_ended_total", "counter", "Calls that have ended, by status.", called
    ) { counters in
      zip(Self.codes, counters.ended).compactMap { code, counter in
        let value = counter.value.load(ordering: .relaxed)
        return value == 0 ? nil : (",code=\"\(code)\"", value)
      }
    }
    Self.add(
      &text, "keelson_rpc_received_bytes_total", "counter", "Bytes of messages received.", called
    ) { [("", $0.receivedBytes.load(ordering: .relaxed))] }
    Self.add(
      &text, "keelson_rpc_sent_bytes_total", "counter", "Bytes of messages sent.", called
    ) { [("", $0.sentBytes.load(ordering: .relaxed))] }
    Self.addDurations(&text, called)
    for family in others() { Self.add(&text, family) }
    return text
  }

  private static func add(
    _ text: inout String, _ name: String, _ type: String, _ help: String, _ called: [Counters],
    _ values: (Counters) -> [(labels: String, value: Int)]
  ) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    for counters in called {
      for (labels, value) in values(counters) {
        text += "\(name){\(Self.labels(counters.method))\(labels)} \(value)\n"
      }
    }
  }

  private static func addDurations(_ text: inout String, _ called: [Counters]) {
    let name = "keelson_rpc_duration_seconds"
    text += "# HELP \(name) From a call's headers to its end.\n# TYPE \(name) histogram\n"
    for counters in called {
      let labels = Self.labels(counters.method)
      var sum = 0
      for (index, counter) in counters.durations.enumerated() {
        sum += counter.value.load(ordering: .relaxed)
        let bound =
          index < boundsMilliseconds.count
          ? String(Double(boundsMilliseconds[index]) / 1_000) : "+Inf"
        text += "\(name)_bucket{\(labels),le=\"\(bound)\"} \(sum)\n"
      }
      let seconds = Double(counters.milliseconds.load(ordering: .relaxed)) / 1_000
      text += "\(name)_sum{\(labels)} \(seconds)\n\(name)_count{\(labels)} \(sum)\n"
    }
  }

  private static func add(_ text: inout String, _ family: MetricFamily) {
    text += "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.kind.rawValue)\n"
    for sample in family.samples {
      let labels = sample.labels.map { "\($0.name)=\"\(escaped($0.value))\"" }
      text += family.name
      if !labels.isEmpty { text += "{\(labels.joined(separator: ","))}" }
      text += " \(sample.value)\n"
    }
  }

  /// Source: Prometheus, "Exposition formats", text format.
  private static func escaped(_ value: String) -> String {
    var escaped = ""
    for character in value {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.append(character)
      }
    }
    return escaped
  }

  private static func labels(_ method: MethodDescriptor) -> String {
    "service=\"\(method.service)\",method=\"\(method.name)\""
  }
}
