/// A typed detail of an ``RPCError``: a message of `google/rpc/error_details.proto`, or of any
/// other kind, which is kept as it came.
public enum ErrorDetail: Sendable, Hashable {
  /// `google.rpc.BadRequest`: which fields broke which rules.
  case badRequest([FieldViolation])
  /// `google.rpc.RetryInfo`: the call may be tried again after this long.
  case retryInfo(Duration)
  /// `google.rpc.ResourceInfo`: the thing the error is about.
  case resourceInfo(type: String, name: String, owner: String = "", description: String)
  /// `google.rpc.PreconditionFailure`: what stood in the way.
  case preconditionFailure([PreconditionViolation])
  /// `google.rpc.QuotaFailure`: which quotas are used up.
  case quotaFailure([QuotaViolation])
  /// `google.rpc.ErrorInfo`: a stable reason in upper snake case, for programs.
  case errorInfo(reason: String, domain: String, metadata: [String: String])
  /// `google.rpc.RequestInfo`: what the server's log calls the call, and what else helps to find
  /// it there.
  case requestInfo(id: String, servingData: String = "")
  /// `google.rpc.Help`: where to read on.
  case help([HelpLink])
  /// `google.rpc.LocalizedMessage`: a message for the person at the other end.
  case localizedMessage(LocalizedMessage)
  /// `google.rpc.DebugInfo` of another server. It is read but never sent: what our own developers
  /// need stands in the log (``RPCError/cause``).
  case debugInfo(stackEntries: [String], detail: String)
  /// A message of a kind that is not known here, as `google.protobuf.Any` holds it.
  case other(typeURL: String, value: [UInt8])
}

/// One field of a request that broke a rule.
public struct FieldViolation: Sendable, Hashable {
  /// The field's path, `flag.variants["on"]` for example.
  public var field: String
  /// What is wrong and what would be right.
  public var description: String
  /// The reason in upper snake case, for programs; empty when none was given.
  public var reason: String
  /// The description in the caller's language.
  public var localizedMessage: LocalizedMessage?

  public init(
    field: String, description: String, reason: String = "",
    localizedMessage: LocalizedMessage? = nil
  ) {
    self.field = field
    self.description = description
    self.reason = reason
    self.localizedMessage = localizedMessage
  }
}

/// One condition that has to be met before the call can succeed.
public struct PreconditionViolation: Sendable, Hashable {
  /// The kind of condition, in upper snake case.
  public var type: String
  /// The thing that does not meet it.
  public var subject: String
  /// How to meet it.
  public var description: String

  public init(type: String, subject: String, description: String) {
    self.type = type
    self.subject = subject
    self.description = description
  }
}

/// One quota that is used up.
public struct QuotaViolation: Sendable, Hashable {
  /// Whose quota it is, `client:192.0.2.1` for example.
  public var subject: String
  /// Which quota, and how its owner can see and raise it.
  public var description: String
  /// The service that the quota belongs to.
  public var service: String
  /// The name of what is counted.
  public var metric: String
  /// The name of the limit.
  public var id: String
  /// What the limit is counted by.
  public var dimensions: [String: String]
  /// The limit when the call was checked.
  public var value: Int64
  /// The limit that is being rolled out, when there is one.
  public var futureValue: Int64?

  public init(
    subject: String, description: String, service: String = "", metric: String = "",
    id: String = "", dimensions: [String: String] = [:], value: Int64 = 0,
    futureValue: Int64? = nil
  ) {
    self.subject = subject
    self.description = description
    self.service = service
    self.metric = metric
    self.id = id
    self.dimensions = dimensions
    self.value = value
    self.futureValue = futureValue
  }
}

/// Where to read on about an error.
public struct HelpLink: Sendable, Hashable {
  /// What the link leads to.
  public var description: String
  public var url: String

  public init(description: String, url: String) {
    self.description = description
    self.url = url
  }
}

/// A message that can be shown to a person.
public struct LocalizedMessage: Sendable, Hashable {
  /// The language as BCP 47 names it, `en-US` for example.
  public var locale: String
  public var message: String

  public init(locale: String, message: String) {
    self.locale = locale
    self.message = message
  }
}
