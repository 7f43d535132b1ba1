import KeelsonAPI
import KeelsonCore

/// What a warm set may say.
struct WarmSetValidation: Sendable {
  typealias WarmSet = KeelsonCacheV1.WarmSet

  let cache: CacheValidation
  /// The origins that values may come from.
  let origins: Set<WarmOrigin>
  private var limits: CacheLimits { cache.limits }

  private static let nameBytes = 128
  static let concurrency: ClosedRange<Int32> = 1...64
  static let defaultConcurrency: Int32 = 8

  init(_ cache: CacheValidation, origins: Set<WarmOrigin>) {
    self.cache = cache
    self.origins = origins
  }

  func checkName(_ name: String, field: String) throws {
    let isGood =
      (1...Self.nameBytes).contains(name.utf8.count)
      && name.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
          UInt8(ascii: "-"):
          true
        default: false
        }
      }
    guard !isGood else { return }
    throw RPCError.invalidArgument(
      field: field,
      "'\(name.prefix(64))' is no name: 1 to \(Self.nameBytes) of letters, digits, '.', '_' and '-'"
    )
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT that names the field; FAILED_PRECONDITION for a URL of an
  ///   origin that is not allowed.
  func check(_ set: WarmSet, prefix: String = "warm_set") throws {
    try checkName(set.name, field: "\(prefix).name")
    guard set.description.utf8.count <= limits.descriptionBytes else {
      throw RPCError.invalidArgument(
        field: "\(prefix).description",
        "has \(set.description.utf8.count) bytes; \(limits.descriptionBytes) are allowed")
    }
    guard Self.concurrency.contains(set.concurrency) else {
      throw RPCError.invalidArgument(
        field: "\(prefix).concurrency",
        "is \(set.concurrency), not from \(Self.concurrency.lowerBound) to "
          + "\(Self.concurrency.upperBound)")
    }
    guard (1...limits.warmSetEntries).contains(set.entries.count) else {
      throw RPCError.invalidArgument(
        field: "\(prefix).entries",
        "has \(set.entries.count) entries; 1 to \(limits.warmSetEntries) are allowed "
          + "('cache-warm-set-entries')")
    }
    var places: [String: Int] = [:]
    for (index, entry) in set.entries.enumerated() {
      let field = "\(prefix).entries[\(index)]"
      try check(entry, field: field)
      if let first = places.updateValue(index, forKey: entry.key) {
        throw RPCError.invalidArgument(
          field: "\(field).key", "'\(entry.key)' is the key of entries[\(first)] already")
      }
    }
    let bytes = set.encoded().count
    guard bytes <= limits.warmSetBytes else {
      throw RPCError.invalidArgument(
        field: "\(prefix).entries",
        "make a set of \(bytes) bytes; \(limits.warmSetBytes) are allowed ('cache-warm-set-size'). "
          + "Divide it, or load values by URL")
    }
  }

  private func check(_ entry: KeelsonCacheV1.WarmEntry, field: String) throws {
    try cache.checkKey(entry.key, field: "\(field).key")
    try cache.checkTags(entry.tags, field: "\(field).tags")
    _ = try cache.lifetime(entry.lifetime, field: "\(field).lifetime")
    switch entry.source {
    case .value(let value):
      guard value.count <= limits.valueBytes else {
        throw RPCError.invalidArgument(
          field: "\(field).value",
          "has \(value.count) bytes; \(limits.valueBytes) are allowed ('cache-value-size')")
      }
    case .url(let url):
      try checkURL(url, field: "\(field).url")
    case nil:
      throw RPCError.invalidArgument(field: field, "has neither 'value' nor 'url'")
    }
  }

  private func checkURL(_ url: String, field: String) throws {
    let origin: WarmOrigin
    do {
      origin = try WarmOrigin(ofURL: url)
    } catch {
      throw RPCError.invalidArgument(field: field, "\(error)")
    }
    guard !origins.contains(origin) else { return }
    throw RPCError(
      .failedPrecondition,
      "\(field): this server may not call \(origin): "
        + (origins.isEmpty ? "no origin is allowed" : "it is not among those allowed")
        + ". The setting CacheWarmOrigins ('keelson serve --cache-warm-origin \(origin)') allows it.",
      details: [
        .preconditionFailure([
          PreconditionViolation(
            type: "ORIGIN_NOT_ALLOWED", subject: "\(origin)",
            description: "CacheWarmOrigins does not list it.")
        ])
      ])
  }
}
