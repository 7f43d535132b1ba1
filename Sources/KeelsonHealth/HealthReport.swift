package import KeelsonCore

/// How the server and its parts are, as last looked at. Source: SYS-100.
package struct HealthReport: Sendable, Equatable {
  package enum Status: Int, Sendable, Comparable {
    case healthy, degraded, unhealthy

    package static func < (lhs: Status, rhs: Status) -> Bool { lhs.rawValue < rhs.rawValue }

    init(_ level: HealthOutcome.Level) {
      switch level {
      case .healthy: self = .healthy
      case .degraded: self = .degraded
      case .unhealthy: self = .unhealthy
      }
    }
  }

  /// The last look at one component.
  package struct Component: Sendable, Equatable {
    package var name: String
    package var isEssential: Bool
    /// nil before the first check.
    package var status: Status?
    package var responseTime: Duration?
    package var checkTime: UnixTime?
    /// What is wrong; empty when healthy.
    package var message = ""
    /// What the last check measured, by name.
    package var details: [String: JSONValue] = [:]
    package var consecutiveFailures = 0
  }

  package var components: [Component] = []
  /// Whether start-up has finished.
  package var isStarted = false
  /// Whether the server is on its way out.
  package var isDraining = false

  /// The worst of the components, inessential ones counting as degraded at most.
  package var status: Status {
    components.map { component in
      component.isEssential
        ? component.status ?? .unhealthy : min(component.status ?? .healthy, .degraded)
    }.max() ?? .healthy
  }

  /// Why the server should not be sent calls; nil when it should.
  package var reasonNotReady: String? {
    if isDraining { return "The server is stopping." }
    if !isStarted { return "The server is starting." }
    let missing = components.filter { $0.isEssential && ($0.status ?? .unhealthy) == .unhealthy }
    guard missing.isEmpty else {
      return missing.map { "\($0.name): \($0.message.isEmpty ? "not checked yet" : $0.message)" }
        .joined(separator: "; ")
    }
    return nil
  }
}
