public import KeelsonCore
import KeelsonFlagRules

/// What a flag evaluated to, and why.
public struct FlagDetails<Value: Sendable>: Sendable {
  /// The flag's value, or the default that was handed in.
  public var value: Value
  /// The name of the variant the value is of; nil when it is the default that was handed in.
  public var variant: String?
  /// Why it is this value.
  public var reason: FlagReason
  /// What went wrong; nil unless the reason is ``FlagReason/error`` or ``FlagReason/notReady``.
  public var errorCode: FlagErrorCode?
  /// What went wrong, for a person.
  public var errorMessage: String?
  /// The flag's metadata laid over its set's.
  public var metadata: [String: JSONValue]
  /// The revision of the rules that gave it; 0 when there are none yet.
  public var revision: Int64
}

extension FlagDetails: Equatable where Value: Equatable {}

/// Why an evaluation gave what it gave. The names are OpenFeature's, but for ``notReady``.
public struct FlagReason: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  /// The flag has no targeting: this value for everyone.
  public static let `static` = FlagReason(rawValue: "STATIC")
  /// The targeting chose the variant.
  public static let targetingMatch = FlagReason(rawValue: "TARGETING_MATCH")
  /// The targeting did not decide: the flag's default variant, or without one the default that
  /// was handed in.
  public static let `default` = FlagReason(rawValue: "DEFAULT")
  /// The flag is disabled: the default that was handed in.
  public static let disabled = FlagReason(rawValue: "DISABLED")
  /// The evaluation failed: the default that was handed in.
  public static let error = FlagReason(rawValue: "ERROR")
  /// No rules have arrived yet: the default that was handed in.
  public static let notReady = FlagReason(rawValue: "NOT_READY")

  public var description: String { rawValue }
}

/// What went wrong in an evaluation. The names are OpenFeature's.
public struct FlagErrorCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  /// No rules have arrived yet.
  public static let notReady = FlagErrorCode(rawValue: "PROVIDER_NOT_READY")
  /// The set has no such flag, or it is archived.
  public static let flagNotFound = FlagErrorCode(rawValue: "FLAG_NOT_FOUND")
  /// The flag's targeting cannot be read by this version of the library.
  public static let parseError = FlagErrorCode(rawValue: "PARSE_ERROR")
  /// The flag has another type than was asked for.
  public static let typeMismatch = FlagErrorCode(rawValue: "TYPE_MISMATCH")
  /// The targeting chose something that is no variant.
  public static let general = FlagErrorCode(rawValue: "GENERAL")

  public var description: String { rawValue }
}
