import KeelsonAPI
import KeelsonCore

// What people see of segments and flag sets.

extension KeelsonFlagsV1.Segment {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("key", flagSet == "default" ? key : "\(flagSet)/\(key)")
    sheet.add("description", description)
    sheet.add("condition", condition)
    sheet.add("created", createTime.text)
    sheet.add("updated", updateTime.text)
    sheet.add("revision", String(revision))
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension KeelsonFlagsV1.ListSegmentsResponse {
  var table: String {
    guard !segments.isEmpty else { return "No segments." }
    var table = Table("KEY", "CONDITION", "UPDATED")
    for segment in segments {
      table.add(segment.key, segment.condition, segment.updateTime.text)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonFlagsV1.FlagSet {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("key", key)
    sheet.add("description", description)
    sheet.add("bucketing", bucketing == .v2 ? "v2" : "v3")
    sheet.add("metadata", metadata.map { JSONValue.object($0.object).text } ?? "")
    sheet.add("created", createTime.text)
    sheet.add("updated", updateTime.text)
    sheet.add("revision", String(revision))
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension KeelsonFlagsV1.ListFlagSetsResponse {
  var table: String {
    var table = Table("KEY", "DESCRIPTION", "BUCKETING", "UPDATED")
    for set in flagSets {
      table.add(
        set.key, set.description, set.bucketing == .v2 ? "v2" : "v3", set.updateTime.text)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}
