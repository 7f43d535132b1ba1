import KeelsonAPI
import KeelsonCore
import KeelsonStore

/// Thrown out of a change that would change nothing, so that no revision is spent on it.
struct Unchanged<Resource: Sendable>: Error {
  var resource: Resource
}

extension FlagService {
  /// Runs a change, or returns the resource as it is when the body finds nothing to change.
  func change<Resource: Sendable>(
    _ origin: ChangeOrigin, _ body: @escaping @Sendable (Change) async throws -> Resource
  ) async throws -> Resource {
    do {
      return try await database.change(origin, body)
    } catch let unchanged as Unchanged<Resource> {
      return unchanged.resource
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  func read<Result: Sendable>(
    _ body: @escaping @Sendable (any Transaction) async throws -> Result
  ) async throws -> Result {
    do {
      return try await database.read(body)
    } catch let error as StoreError {
      throw RPCError(error)
    }
  }

  /// The set that a request means.
  ///
  /// - Throws: `RPCError` INVALID_ARGUMENT for a name that no set can have.
  func setName(_ name: String, field: String = "flag_set") throws -> String {
    guard !name.isEmpty else { return defaultFlagSet }
    try validation.checkKey(name, field: field)
    return name
  }

  static func check(etag given: String, field: String, against current: String) throws {
    guard given.isEmpty || given == current else {
      throw RPCError(
        .aborted,
        "\(field): '\(given.prefix(64))' is not the current etag '\(current)': it was changed in "
          + "between. "
          + "Get it again and repeat the change.",
        details: [
          .errorInfo(reason: "ETAG_MISMATCH", domain: "keelson", metadata: ["etag": current])
        ])
    }
  }

  func requireSet(_ key: String, field: String, in transaction: any Transaction) async throws
    -> API.FlagSet
  {
    guard let set = try await FlagSetRepository.flagSet(key, in: transaction) else {
      throw FlagService.noSet(key, field: field)
    }
    return set
  }

  static func noSet(_ key: String, field: String) -> RPCError {
    RPCError(
      .notFound, "\(field): there is no flag set '\(key)'; create it with CreateFlagSet.",
      details: [
        .resourceInfo(type: "keelson.flags.v1.FlagSet", name: key, description: "not found")
      ])
  }

  func requireFlag(_ set: String, _ key: String, in transaction: any Transaction) async throws
    -> API.Flag
  {
    try validation.checkKey(key, field: "key")
    guard let flag = try await FlagRepository.flag(set, key, in: transaction) else {
      throw FlagService.noFlag(set, key)
    }
    return flag
  }

  static func noFlag(_ set: String, _ key: String) -> RPCError {
    RPCError(
      .notFound, "There is no flag '\(key)' in set '\(set)'.",
      details: [.resourceInfo(.flag, set, key)])
  }

  /// The conditions of the segments that a flag uses, for checking its targeting against them.
  func segments(of flag: API.Flag, in transaction: any Transaction) async throws
    -> [String: JSONValue]
  {
    var conditions: [String: JSONValue] = [:]
    for key in flag.segments {
      conditions[key] = try await SegmentRepository.segment(flag.flagSet, key, in: transaction)?
        .parsed
    }
    return conditions
  }
}

/// The kinds of resource that errors name.
enum FlagResource: String {
  case flag = "keelson.flags.v1.Flag"
  case segment = "keelson.flags.v1.Segment"
}

extension ErrorDetail {
  static func resourceInfo(_ kind: FlagResource, _ set: String, _ key: String) -> ErrorDetail {
    .resourceInfo(type: kind.rawValue, name: "\(set)/\(key)", description: "")
  }
}
