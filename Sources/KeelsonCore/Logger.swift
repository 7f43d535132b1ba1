import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Writes log lines for one component of the server.
package struct Logger: Sendable {
  package enum Level: String, Sendable, Comparable, CaseIterable {
    case trace, debug, info, warning, error

    fileprivate var order: Int { Level.allCases.firstIndex(of: self) ?? 0 }
    package static func < (lhs: Level, rhs: Level) -> Bool { lhs.order < rhs.order }
  }

  package let component: String
  private let threshold: Threshold
  private let sink: @Sendable (String) -> Void
  private let isHumanReadable: Bool

  /// The least level that is logged, the same for all components of one logger.
  private final class Threshold: Sendable {
    let order: Atomic<Int>

    init(_ level: Level) { order = Atomic(level.order) }
  }

  /// The least level that is logged. It may be changed at any time.
  package var minimum: Level {
    get { Level.allCases[threshold.order.load(ordering: .relaxed)] }
    nonmutating set { threshold.order.store(newValue.order, ordering: .relaxed) }
  }

  /// - Parameter humanReadable: aligned text for a terminal; otherwise one JSON object a line.
  package init(
    component: String, minimum: Level = .info, humanReadable: Bool,
    sink: @escaping @Sendable (String) -> Void
  ) {
    self.init(component, Threshold(minimum), humanReadable, sink)
  }

  private init(
    _ component: String, _ threshold: Threshold, _ isHumanReadable: Bool,
    _ sink: @escaping @Sendable (String) -> Void
  ) {
    self.component = component
    self.threshold = threshold
    self.isHumanReadable = isHumanReadable
    self.sink = sink
  }

  /// Logs to standard error, human-readable on a terminal, JSON elsewhere.
  package static func standardError(component: String, minimum: Level = .info) -> Logger {
    Logger(component: component, minimum: minimum, humanReadable: isatty(STDERR_FILENO) == 1) {
      line in
      // One write per line, so that lines of several threads do not mix.
      var bytes = Array(line.utf8)
      bytes.append(0x0A)
      _ = bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
  }

  /// Logs nothing.
  package static let silent = Logger(
    component: "", minimum: .error, humanReadable: false, sink: { _ in })

  /// The same sink and level for another component.
  package func component(_ name: String) -> Logger {
    Logger(name, threshold, isHumanReadable, sink)
  }

  package func log(
    _ level: Level, _ message: @autoclosure () -> String,
    _ fields: @autoclosure () -> KeyValuePairs<String, String> = [:], correlationID: String? = nil
  ) {
    guard level >= minimum else { return }
    log(level, message(), fields: fields().map { ($0, $1) }, correlationID: correlationID)
  }

  /// The same with fields that were gathered beforehand.
  package func log(
    _ level: Level, _ message: String, fields: [(String, String)], correlationID: String? = nil
  ) {
    guard level >= minimum else { return }
    let time = UnixTime.now.description
    if isHumanReadable {
      var line = "\(time) \(level.rawValue.uppercased()) \(component): \(message)"
      if let correlationID { line += " correlation_id=\(correlationID)" }
      for (name, value) in fields { line += " \(name)=\(value)" }
      sink(line)
    } else {
      var object: [String: JSONValue] = [
        "time": .string(time), "level": .string(level.rawValue),
        "component": .string(component), "message": .string(message),
      ]
      if let correlationID { object["correlation_id"] = .string(correlationID) }
      var extra: [String: JSONValue] = [:]
      for (name, value) in fields { extra[name] = .string(value) }
      if !extra.isEmpty { object["fields"] = .object(extra) }
      sink(JSONValue.object(object).text)
    }
  }
}
