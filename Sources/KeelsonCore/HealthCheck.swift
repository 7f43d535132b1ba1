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

/// How a component is that works.
package enum HealthOutcome: Sendable, Equatable {
  case healthy
  /// It serves, but not everything. The reason is shown to probes, so nothing internal stands in
  /// it.
  case degraded(reason: String)
}
