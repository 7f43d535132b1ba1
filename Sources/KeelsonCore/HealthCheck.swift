/// A part of the server that can say how it is. Checks run in the background, never on a probe.
package protocol HealthCheck: Sendable {
  /// The component's name in answers, `database` for example.
  var name: String { get }
  /// Whether the server can serve at all without this component.
  var isEssential: Bool { get }
  /// Looks; throws when the component does not work. The message of what it throws is shown to
  /// probes, so nothing internal stands in it.
  func check() async throws -> HealthOutcome
}

/// What a check has found.
package struct HealthOutcome: Sendable, Equatable {
  package enum Level: Sendable, Hashable {
    case healthy
    /// It serves, but not everything.
    case degraded
    /// It does not work.
    case unhealthy
  }

  package var level: Level
  /// What is wrong; empty when healthy. It is shown to probes, so nothing internal stands in it.
  package var reason: String
  /// What was measured, by name; shown to probes as well.
  package var details: [String: JSONValue]

  package init(_ level: Level, reason: String = "", details: [String: JSONValue] = [:]) {
    self.level = level
    self.reason = reason
    self.details = details
  }

  package static let healthy = HealthOutcome(.healthy)

  package static func degraded(reason: String) -> HealthOutcome {
    HealthOutcome(.degraded, reason: reason)
  }
}
