import KeelsonAPI
import KeelsonClient
import KeelsonConfigurationRules
import KeelsonCore

// What people see of settings.

extension KeelsonConfigurationV1.SettingValue {
  var shown: String { SettingValue(self)?.text ?? "" }
}

extension KeelsonConfigurationV1.Layer {
  var word: String {
    switch self {
    case .defaults: "defaults"
    case .file: "file"
    case .environmentFile: "environment-file"
    case .secretStore: "secret-store"
    case .environmentVariables: "environment-variables"
    case .api: "api"
    case .unspecified, .unrecognized: ""
    }
  }
}

extension KeelsonConfigurationV1.Setting {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("key", key)
    sheet.add("application", "\(application)/\(environment)")
    sheet.add("value", value?.shown ?? "")
    if sensitive { sheet.add("secret", "yes") }
    sheet.add("layer", source.isEmpty ? layer.word : "\(layer.word) (\(source))")
    for layered in layers where layers.count > 1 {
      sheet.add(
        "  " + layered.layer.word,
        (layered.value?.shown ?? "") + (layered.invalid ? "  (invalid)" : ""))
    }
    sheet.add("updated", updateTime.text)
    sheet.add("by", updateActor)
    sheet.add("revision", revision == 0 ? "" : String(revision))
    sheet.add("etag", etag)
    return sheet.text
  }
}

extension [KeelsonConfigurationV1.Setting] {
  fileprivate var table: String {
    var table = Table("KEY", "VALUE", "LAYER", "UPDATED")
    for setting in self {
      table.add(
        setting.key, setting.value?.shown ?? "", setting.layer.word, setting.updateTime.text)
    }
    return table.text
  }
}

extension KeelsonConfigurationV1.ListSettingsResponse {
  var table: String {
    guard !settings.isEmpty else { return "No settings." }
    guard !nextPageToken.isEmpty else { return settings.table }
    return settings.table + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonConfigurationV1.BatchSetSettingsResponse {
  var table: String {
    settings.isEmpty ? "Revision \(revision)." : settings.table + "\n\nRevision \(revision)."
  }
}

extension KeelsonConfigurationV1.ValidateSettingsResponse {
  var table: String { violations.isEmpty ? "All is well." : violations.table }
}

extension [KeelsonConfigurationV1.Violation] {
  fileprivate var table: String {
    var table = Table("KEY", "LAYER", "RULE", "WHAT TO DO")
    for violation in self {
      table.add(
        violation.key, violation.source.isEmpty ? violation.layer.word : violation.source,
        violation.rule, violation.message)
    }
    return table.text
  }
}

extension KeelsonConfigurationV1.WatchSettingsResponse {
  /// A line for each setting; nil for a heartbeat.
  var lines: String? {
    func line(_ setting: KeelsonConfigurationV1.EffectiveSetting) -> String {
      let isMasked = setting.sensitive && setting.value == nil
      let value = isMasked ? "******" : setting.value?.shown ?? ""
      return "\(revision)  \(setting.key) = \(value)  (\(setting.layer.word))".printable()
    }
    switch event {
    case .snapshot(let snapshot):
      let state = layers.isEmpty ? "" : ", layers \(layers)"
      return
        (["\(revision)  \(snapshot.settings.count) settings\(state)"]
        + snapshot.settings.map(line)).joined(separator: "\n")
    case .change(let change):
      return
        (change.settings.map(line)
        + change.removedKeys.map { "\(revision)  \($0) is gone".printable() })
        .joined(separator: "\n")
    case .heartbeat, nil: return nil
    }
  }
}

extension KeelsonConfigurationV1.ListSettingHistoryResponse {
  var table: String {
    guard !entries.isEmpty else { return "No changes." }
    var table = Table("REVISION", "TIME", "KEY", "ACTION", "BEFORE", "AFTER", "BY")
    for entry in entries {
      table.add(
        String(entry.revision), entry.time.text, entry.key, entry.action,
        entry.before?.shown ?? "", entry.after?.shown ?? "", entry.actor)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonConfigurationV1.Snapshot {
  var sheet: String {
    var sheet = Sheet()
    sheet.add("name", name)
    sheet.add("application", "\(application)/\(environment)")
    sheet.add("description", description)
    sheet.add("settings", String(settingCount))
    sheet.add("created", createTime.text)
    sheet.add("by", actor)
    sheet.add("revision", String(revision))
    return sheet.text
  }
}

extension KeelsonConfigurationV1.GetSnapshotResponse {
  var sheet: String {
    (snapshot?.sheet ?? "") + (settings.isEmpty ? "" : "\n\n" + settings.table)
  }
}

extension KeelsonConfigurationV1.ListSnapshotsResponse {
  var table: String {
    guard !snapshots.isEmpty else { return "No snapshots." }
    var table = Table("NAME", "SETTINGS", "REVISION", "CREATED", "DESCRIPTION")
    for snapshot in snapshots {
      table.add(
        snapshot.name, String(snapshot.settingCount), String(snapshot.revision),
        snapshot.createTime.text, snapshot.description)
    }
    guard !nextPageToken.isEmpty else { return table.text }
    return table.text + "\n\nThere are more: --page-token \(nextPageToken)"
  }
}

extension KeelsonConfigurationV1.Schema {
  var table: String {
    guard !rules.isEmpty else { return "No rules: any key and any value may be set." }
    var table = Table("KEY", "TYPE", "REQUIRED", "DEFAULT", "SECRET", "DESCRIPTION")
    for rule in rules {
      let type = (rule.type.name ?? "").replacing("SETTING_TYPE_", with: "").lowercased()
      table.add(
        rule.key, type, rule.required ? "yes" : "", rule.defaultValue?.shown ?? "",
        rule.sensitive ? "yes" : "", rule.description)
    }
    return table.text + "\n\n" + (closed ? "Other keys are refused." : "Other keys may be set.")
      + " Etag \(etag)."
  }
}

extension KeelsonConfigurationV1.DefineSchemaResponse {
  var text: String {
    let table = schema?.table ?? ""
    return violations.isEmpty ? table : table + "\n\nThese break it:\n" + violations.table
  }
}

extension KeelsonConfigurationV1.ListApplicationsResponse {
  var table: String {
    guard !applications.isEmpty else { return "No applications." }
    var table = Table("APPLICATION", "ENVIRONMENT", "SETTINGS", "SET", "REVISION", "PROBLEMS")
    for application in applications {
      for environment in application.environments {
        table.add(
          application.name, environment.name, String(environment.settingCount),
          String(environment.apiSettingCount), String(environment.revision),
          environment.loadError.isEmpty
            ? (environment.violations.isEmpty ? "" : String(environment.violations.count))
            : environment.loadError)
      }
      if application.environments.isEmpty { table.add(application.name, "", "", "", "", "") }
    }
    return table.text
  }
}

extension KeelsonConfigurationV1.RotateKeyResponse {
  var line: String {
    guard finished else { return "\(done) of \(total)" }
    var text = "\(done) of \(total), finished; wrapped with '\(wrappingKeyId)'"
    if let left {
      text = "\(done) of \(total), the others cannot be; wrapped with '\(wrappingKeyId)'. \(left)"
    }
    return text.printable()
  }

  /// What could not be done, and what to do about it; nil when nothing is left.
  var left: String? {
    guard skipped > 0 || !missingKeyIds.isEmpty else { return nil }
    let keys = missingKeyIds.map { "'\($0)'" }.joined(separator: ", ")
    return "\(skipped) were left as they are: the key encryption "
      + (missingKeyIds.count == 1 ? "key \(keys) is" : "keys \(keys) are")
      + " missing. Give back what is missing and run this again; until then remove no key."
  }
}
