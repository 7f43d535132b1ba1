import KeelsonCore
import KeelsonStore

/// What is told of the checks to whoever listens. Source: SYS-100, SYS-101,
/// SYS-102, SYS-104.
enum HealthEvent {
  /// A round of checks has ended.
  static let systemChecked = "keelson.health.SystemHealthChecked"
  /// The database was checked.
  static let databaseChecked = "keelson.health.DatabaseHealthChecked"
  /// The cache was checked.
  static let cacheChecked = "keelson.health.CacheHealthChecked"
  /// The jobs were looked at.
  static let jobsChecked = "keelson.health.BackgroundJobHealthChecked"
  /// A component stays unwell.
  static let alertRaised = "keelson.health.HealthAlertRaised"
  /// It is healthy again.
  static let alertEnded = "keelson.health.HealthAlertEnded"

  /// The type of event that tells of one component's check; nil for one that has none.
  static func checkedType(of component: String) -> String? {
    switch component {
    case "database": databaseChecked
    case "cache": cacheChecked
    case "jobs": jobsChecked
    default: nil
    }
  }
}

extension TelemetryEvents {
  func publish(ofRound report: HealthReport) {
    publish(type: HealthEvent.systemChecked) {
      let components = report.components.map { component in
        JSONValue.object(component.eventData)
      }
      return TelemetryEvent(
        type: HealthEvent.systemChecked, subject: "system",
        data: JSONText([
          "status": .string("\(report.status)"), "ready": .bool(report.reasonNotReady == nil),
          "components": .array(components),
        ]))
    }
  }

  func publish(_ alert: HealthAlertRule.Outcome, of component: HealthReport.Component) {
    var data = component.eventData
    let type: String
    switch alert {
    case .raised(let level):
      type = HealthEvent.alertRaised
      data["alert"] = .string("\(level)")
      data["checks"] = .number(Double(HealthAlertRule.checks))
    case .ended: type = HealthEvent.alertEnded
    }
    publish(type: type) {
      TelemetryEvent(type: type, subject: component.name, data: JSONText(.object(data)))
    }
  }

  func publish(of component: HealthReport.Component) {
    guard let type = HealthEvent.checkedType(of: component.name) else { return }
    publish(type: type) {
      TelemetryEvent(
        type: type, subject: component.name, data: JSONText(.object(component.eventData)))
    }
  }
}

extension HealthReport.Component {
  fileprivate var eventData: [String: JSONValue] {
    var data: [String: JSONValue] = [
      "name": .string(name), "essential": .bool(isEssential),
      "consecutive_failures": .number(Double(consecutiveFailures)),
    ]
    if let status { data["status"] = .string("\(status)") }
    if !message.isEmpty { data["message"] = .string(message) }
    if !details.isEmpty { data["details"] = .object(details) }
    if let responseTime {
      data["response_time_ms"] = .number(responseTime / .milliseconds(1))
    }
    return data
  }
}
