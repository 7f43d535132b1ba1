import KeelsonAPI
import KeelsonCore

extension KeelsonHealthV1.GetHealthResponse {
  /// What people see of a server's health.
  var sheet: String {
    var sheet = Sheet()
    sheet.add("status", status.word + (ready ? "" : ", not ready"))
    sheet.add("version", version)
    sheet.add("environment", environment)
    sheet.add("uptime", uptime.map { "\($0.clampedDuration.rounded)" } ?? "")
    guard !components.isEmpty else { return sheet.text }
    var table = Table("COMPONENT", "STATUS", "RESPONSE TIME", "CHECKED", "MESSAGE")
    for component in components {
      table.add(
        component.name, component.status.word,
        component.responseTime.map { "\($0.clampedDuration.milliseconds) ms" } ?? "-",
        component.checkTime.text, component.message)
    }
    return ([sheet.text, table.text] + components.compactMap(\.measured)).joined(separator: "\n\n")
  }
}

extension KeelsonHealthV1.Component {
  /// The numbers among its details, by name; nil when there are none.
  fileprivate var measured: String? {
    let numbers = (details?.object ?? [:]).compactMap { name, value in
      if case .number = value { "\(name) \(value.text)" } else { nil as String? }
    }
    return numbers.isEmpty ? nil : "\(name): " + numbers.sorted().joined(separator: ", ")
  }
}

extension KeelsonHealthV1.Status {
  var word: String {
    switch self {
    case .unspecified: "not checked yet"
    case .healthy: "healthy"
    case .degraded: "degraded"
    case .unhealthy: "unhealthy"
    case .unrecognized(let number): "status \(number)"
    }
  }
}

extension Duration {
  /// Whole seconds.
  fileprivate var rounded: Duration { .seconds(components.seconds) }

  /// Milliseconds with three digits behind the point.
  fileprivate var milliseconds: String {
    let microseconds =
      components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    let fraction = String(microseconds % 1_000)
    return "\(microseconds / 1_000)."
      + String(repeating: "0", count: 3 - fraction.count) + fraction
  }
}
