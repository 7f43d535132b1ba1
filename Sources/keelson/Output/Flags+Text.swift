import KeelsonAPI
import KeelsonCore

// What people see of flags.

extension KeelsonFlagsV1.Flag {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("key", flagSet == "default" ? key : "\(flagSet)/\(key)")
    sheet.add("description", description)
    sheet.add("type", type.word)
    sheet.add(
      "variants",
      variants.sorted { $0.key < $1.key }
        .map { "\($0.key)=\($0.value.json.text)" }.joined(separator: "  "))
    for (name, state) in environments.sorted(by: { $0.key < $1.key }) {
      var text = state.enabled ? "enabled" : "disabled"
      if !state.defaultVariant.isEmpty { text += ", default \(state.defaultVariant)" }
      if !state.targeting.isEmpty { text += ", targeting \(state.targeting)" }
      sheet.add("in \(name)", text)
    }
    sheet.add("owner", owner)
    sheet.add("tags", tags.joined(separator: ", "))
    sheet.add("expires", expireTime.text)
    sheet.add("metadata", metadata.map { JSONValue.object($0.object).text } ?? "")
    sheet.add("archived", archiveTime.text)
    sheet.add("created", createTime.text)
    sheet.add("updated", updateTime.text)
    sheet.add("revision", String(revision))
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension KeelsonFlagsV1.FlagType {
  var word: String {
    switch self {
    case .unspecified: ""
    case .boolean: "boolean"
    case .string: "string"
    case .number: "number"
    case .object: "object"
    case .unrecognized(let number): "type \(number)"
    }
  }
}

extension GoogleProtobuf.Timestamp? {
  /// RFC 3339, or nothing.
  var text: String {
    guard let self, let time = try? self.unixTime else { return "" }
    return time.description
  }
}

extension KeelsonFlagsV1.ListFlagsResponse {
  var table: String {
    guard !flags.isEmpty else { return "No flags." }
    var table = Table("KEY", "TYPE", "ENABLED IN", "OWNER", "TAGS", "UPDATED")
    for flag in flags {
      let enabled = flag.environments.filter(\.value.enabled).keys.sorted()
      table.add(
        flag.archiveTime == nil ? flag.key : "\(flag.key) (archived)", flag.type.word,
        enabled.isEmpty ? "-" : enabled.joined(separator: ", "), flag.owner,
        flag.tags.joined(separator: ", "), flag.updateTime.text)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonFlagsV1.ListFlagHistoryResponse {
  var table: String {
    var table = Table("REVISION", "TIME", "ACTION", "BY", "CORRELATION ID")
    for entry in entries {
      table.add(
        String(entry.revision), entry.time.text, entry.action, entry.actor, entry.correlationId)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonFlagsV1.EvaluateFlagResponse {
  var sheet: String {
    let evaluation = evaluation ?? .init()
    var sheet = Sheet()
    sheet.add("value", evaluation.value?.json.text ?? "none: the caller's default applies")
    sheet.add("variant", evaluation.variant)
    sheet.add("reason", evaluation.reason.word)
    sheet.add("error", evaluation.errorCode)
    sheet.add("message", evaluation.errorMessage)
    sheet.add("metadata", evaluation.metadata.map { JSONValue.object($0.object).text } ?? "")
    return sheet.text
  }
}

extension KeelsonFlagsV1.Reason {
  /// OpenFeature's name for it.
  var word: String {
    guard let name else { return "\(rawValue)" }
    return String(name.dropFirst("REASON_".count))
  }
}

extension KeelsonFlagsV1.WatchFlagsResponse {
  /// One line for each thing that happened; nil for a heartbeat.
  var line: String? {
    let text =
      switch event {
      case .snapshot(let snapshot):
        ([
          "snapshot: \(snapshot.flags.count) flags, \(snapshot.segments.count) segments"
        ] + snapshot.flags.map { "  \($0.line.printable())" }).joined(separator: "\n")
      case .change(let change):
        switch change.change {
        case .flag(let flag): flag.line.printable()
        case .removedFlag(let key): "\(key): removed"
        case .segment(let segment): "segment \(segment.key): \(segment.condition)".printable()
        case .removedSegment(let key): "segment \(key): removed"
        case .flagSet: "the set changed"
        case nil: "an unknown change"
        }
      case .heartbeat: nil as String?
      case nil: "an unknown event"
      }
    return text.map { "\(revision)  \($0)" }
  }
}

extension KeelsonFlagsV1.FlagRules {
  fileprivate var line: String {
    var text = "\(key): \(enabled ? "enabled" : "disabled")"
    if !defaultVariant.isEmpty { text += ", default \(defaultVariant)" }
    if !targeting.isEmpty { text += ", targeting \(targeting)" }
    return text
  }
}
