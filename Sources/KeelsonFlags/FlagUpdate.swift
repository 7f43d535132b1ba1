import KeelsonAPI
import KeelsonCore

/// Applies the fields that a mask names. Source: AIP-134, AIP-161.
enum FlagUpdate {
  /// The flag after an update.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT when the mask is empty or names a field that cannot
  ///   change.
  static func apply(
    _ paths: [String], of update: KeelsonFlagsV1.Flag, to flag: KeelsonFlagsV1.Flag
  ) throws -> KeelsonFlagsV1.Flag {
    var flag = flag
    for path in try expanded(paths, all: changeable) {
      switch path {
      case "description": flag.description = update.description
      case "variants": flag.variants = update.variants
      case "owner": flag.owner = update.owner
      case "tags": flag.tags = update.tags
      case "expire_time": flag.expireTime = update.expireTime
      case "metadata": flag.metadata = update.metadata
      case "environments": flag.environments = update.environments
      default: try applyEnvironment(path, of: update, to: &flag)
      }
    }
    return flag
  }

  static func apply(
    _ paths: [String], of update: KeelsonFlagsV1.Segment, to segment: KeelsonFlagsV1.Segment
  ) throws -> KeelsonFlagsV1.Segment {
    var segment = segment
    for path in try expanded(paths, all: ["description", "condition"]) {
      switch path {
      case "description": segment.description = update.description
      case "condition": segment.condition = update.condition
      default: throw unchangeable(path, all: ["description", "condition"])
      }
    }
    return segment
  }

  static func apply(
    _ paths: [String], of update: KeelsonFlagsV1.FlagSet, to set: KeelsonFlagsV1.FlagSet
  ) throws -> KeelsonFlagsV1.FlagSet {
    var set = set
    let all = ["description", "bucketing", "metadata"]
    for path in try expanded(paths, all: all) {
      switch path {
      case "description": set.description = update.description
      case "bucketing": set.bucketing = update.bucketing
      case "metadata": set.metadata = update.metadata
      default: throw unchangeable(path, all: all)
      }
    }
    return set
  }

  private static let changeable = [
    "description", "variants", "owner", "tags", "expire_time", "metadata", "environments",
  ]

  private static func expanded(_ paths: [String], all: [String]) throws -> [String] {
    guard !paths.isEmpty else {
      throw RPCError.invalidArgument(
        field: "update_mask",
        "is required: name the fields to change, or \"*\" for all of \(all.joined(separator: ", "))"
      )
    }
    guard paths.contains("*") else { return paths }
    guard paths.count == 1 else {
      throw RPCError.invalidArgument(field: "update_mask", "\"*\" stands alone")
    }
    return all
  }

  private static func unchangeable(_ path: String, all: [String]) -> RPCError {
    .invalidArgument(
      field: "update_mask",
      "'\(path.prefix(128))' cannot be changed; what can: \(all.joined(separator: ", "))")
  }

  /// Applies `environments.<name>` or `environments.<name>.<field>`; the name may stand between
  /// backticks, as AIP-161 has it for map keys.
  private static func applyEnvironment(
    _ path: String, of update: KeelsonFlagsV1.Flag, to flag: inout KeelsonFlagsV1.Flag
  ) throws {
    let parts = path.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2 || parts.count == 3, parts[0] == "environments", !parts[1].isEmpty else {
      throw unchangeable(path, all: changeable + ["environments.<name>.<field>"])
    }
    var name = String(parts[1])
    if name.count > 2, name.hasPrefix("`"), name.hasSuffix("`") {
      name = String(name.dropFirst().dropLast())
    }
    guard parts.count == 3 else {
      // Naming an environment that the update does not hold takes it away.
      flag.environments[name] = update.environments[name]
      return
    }
    var state = flag.environments[name] ?? flag.initialState()
    let new = update.environments[name] ?? KeelsonFlagsV1.FlagState()
    switch parts[2] {
    case "enabled": state.enabled = new.enabled
    case "default_variant": state.defaultVariant = new.defaultVariant
    case "targeting": state.targeting = new.targeting
    default:
      throw unchangeable(
        path, all: ["enabled", "default_variant", "targeting"].map { "environments.\(name).\($0)" })
    }
    flag.environments[name] = state
  }
}
