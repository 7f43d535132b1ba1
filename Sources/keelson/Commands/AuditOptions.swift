import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// The options that audit commands share, and how their values are read.
enum AuditOptions {
  static let outcomes = ["success", "failure", "denied"]

  static let category = Command.Option(
    name: "category", value: "NAME",
    help: "What retention goes by: change, access, critical or one of your own.")
  static let correlation = Command.Option(
    name: "correlation-id", value: "ID", help: "The correlation id of the call.")
  static let from = Command.Option(
    name: "from", value: "TIME", help: "Recorded then or later: 2027-01-31T00:00:00Z.")
  static let to = Command.Option(
    name: "to", value: "TIME", help: "Recorded before then.")
  static let limit = Command.Option(
    name: "limit", value: "N", help: "Show at most N entries.", defaultValue: "100")

  /// Those of a session whose calls may take long.
  static let patientSession: [Command.Option] = Session.options.map { option in
    var option = option
    if option.name == "timeout" { option.defaultValue = "3600" }
    return option
  }

  /// Which entries are wanted.
  static let filter: [Command.Option] = [
    .init(name: "actor", value: "NAME", help: "Who did it."),
    .init(name: "action", value: "ACTION", help: "What was done; flag.* for all of flags."),
    .init(name: "entity-type", value: "TYPE", help: "The kind of thing it was done to."),
    .init(name: "entity-id", value: "ID", help: "Which one."),
    .init(name: "outcome", value: "OUTCOME", help: "How it ended.", choices: outcomes),
    category, correlation, from, to,
  ]

  static func filter(_ invocation: Invocation) throws -> KeelsonAuditV1.EntryFilter {
    let (from, to) = try times(invocation)
    return KeelsonAuditV1.EntryFilter(
      actor: invocation.option("actor") ?? "", entityType: invocation.option("entity-type") ?? "",
      entityId: invocation.option("entity-id") ?? "", action: invocation.option("action") ?? "",
      outcome: outcome(invocation) ?? .unspecified,
      category: invocation.option("category") ?? "",
      correlationId: invocation.option("correlation-id") ?? "", startTime: from, endTime: to)
  }

  static func times(
    _ invocation: Invocation
  ) throws -> (GoogleProtobuf.Timestamp?, GoogleProtobuf.Timestamp?) {
    (try FlagOptions.time("from", invocation), try FlagOptions.time("to", invocation))
  }

  static func outcome(_ invocation: Invocation) -> KeelsonAuditV1.Outcome? {
    switch invocation.option("outcome") {
    case "success": .success
    case "failure": .failure
    case "denied": .denied
    default: nil
    }
  }

  /// `30d`, `12h`, `forever`.
  static func duration(_ text: String, _ option: String) throws -> GoogleProtobuf.Duration {
    if text == "forever" || text == "never" { return .init(seconds: 0) }
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
    guard let unit = text.last.flatMap({ units[$0] }), let number = Int64(text.dropLast()),
      number > 0, number < 1_000_000_000
    else {
      throw UsageError(
        "--\(option) takes a time such as 30d, 12h or 90m, or 'forever', not '\(text)'.")
    }
    return .init(seconds: number * unit)
  }
}
