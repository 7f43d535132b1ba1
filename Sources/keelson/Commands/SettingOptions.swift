import Glibc
import KeelsonConfigurationRules
import KeelsonCore
import KeelsonServer

/// How options of a command become the highest layer of Keelson's own settings.
enum SettingOptions {
  /// Where the configuration is.
  static let config = Command.Option(
    name: "config", value: "PATH",
    help: "The folder with appsettings.json, or that file; the working folder, if it has one, when "
      + "not given.",
    environmentVariable: "KEELSON_CONFIG")

  /// The environment of this process.
  static let variables: [String: String] = {
    var variables: [String: String] = [:]
    var next = unsafe environ
    while let entry = unsafe next.pointee {
      let text = unsafe String(cString: entry)
      if let mark = text.firstIndex(of: "=") {
        variables[String(text[..<mark])] = String(text[text.index(after: mark)...])
      }
      unsafe next += 1
    }
    return variables
  }()

  /// The options that stand on the command line; defaults and variables are other layers.
  static func layer(_ invocation: Invocation) -> LayerValues {
    var layer = LayerValues(.commandLine)
    for (key, option) in ServerSchema.options where invocation.given.contains(option) {
      layer.values[key] = LayerValue(
        value(of: option, key: key, invocation), source: "--\(option)")
    }
    for assignment in invocation.all("limit") {
      let parts = assignment.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { continue }
      layer.values[SettingName.limit(parts[0])] = LayerValue(
        .string(parts[1]), source: "--limit")
    }
    return layer
  }

  private static func value(
    of option: String, key: String, _ invocation: Invocation
  ) -> SettingValue {
    let text = invocation.option(option) ?? ""
    switch key {
    case SettingName.listen, SettingName.probeListen, SettingName.cacheWarmOrigins:
      return .list(invocation.all(option).map { .string($0) })
    case SettingName.reflection: return .boolean(false)
    case SettingName.insecureRemotePlaintext: return .boolean(true)
    case SettingName.drainTimeout: return .string("\(text)s")
    default: return .string(text)
    }
  }
}
