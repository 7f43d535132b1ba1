public import KeelsonCore

/// What kind of value all variants of a flag have.
public enum FlagValueType: String, Sendable, Hashable, CaseIterable {
  case boolean
  case string
  case number
  case object

  /// Whether a value is of this type.
  public func admits(_ value: JSONValue) -> Bool {
    switch (self, value) {
    case (.boolean, .bool), (.string, .string), (.number, .number), (.object, .object):
      true
    default: false
    }
  }
}

/// A flag as somebody wrote it, in one environment.
public struct FlagDefinition: Sendable, Hashable {
  public var key: String
  public var type: FlagValueType
  public var isEnabled: Bool
  /// The values the flag can take, by variant name.
  public var variants: [String: JSONValue]
  /// The variant served when targeting does not decide; nil leaves that to the caller's default.
  public var defaultVariant: String?
  /// The rule as JSON text (JsonLogic and flagd's operators). nil, "" and "{}" mean none.
  public var targeting: String?
  /// Travels with each evaluation, laid over the set's metadata.
  public var metadata: [String: JSONValue]
  public var revision: Int64

  public init(
    key: String, type: FlagValueType, isEnabled: Bool = true, variants: [String: JSONValue],
    defaultVariant: String? = nil, targeting: String? = nil, metadata: [String: JSONValue] = [:],
    revision: Int64 = 0
  ) {
    self.key = key
    self.type = type
    self.isEnabled = isEnabled
    self.variants = variants
    self.defaultVariant = defaultVariant
    self.targeting = targeting
    self.metadata = metadata
    self.revision = revision
  }
}
