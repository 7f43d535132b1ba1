public import KeelsonCore

extension ServiceConfig {
  /// Reads gRPC's JSON form. Names that are not known are errors, so that a slip of the pen does
  /// not pass for a setting.
  ///
  /// - Throws: INVALID_ARGUMENT that says what is wrong, and where.
  public init(json text: String) throws(RPCError) {
    let value: JSONValue
    do {
      value = try JSONValue(parsing: text)
    } catch {
      throw RPCError(.invalidArgument, "The service config cannot be used: it is \(error).")
    }
    try self.init(ServiceConfigReader(path: "", value: value))
    try validate()
  }

  private init(_ reader: ServiceConfigReader) throws(RPCError) {
    self.init()
    let members = try reader.members([
      "loadBalancingPolicy", "loadBalancingConfig", "methodConfig", "retryThrottling",
    ])
    if let name = members["loadBalancingPolicy"] {
      loadBalancingPolicy = try name.policy(name.string())
      guard loadBalancingPolicy != nil else { throw name.wrong("is pick_first or round_robin") }
    }
    if let list = members["loadBalancingConfig"] {
      loadBalancingPolicy = try list.firstKnownPolicy()
    }
    if let list = members["methodConfig"] {
      for element in try list.elements() { methods.append(try MethodConfig(element)) }
    }
    if let throttling = members["retryThrottling"] {
      let fields = try throttling.members(["maxTokens", "tokenRatio"])
      retryThrottling = RetryThrottling(
        maximumTokens: try throttling.required(fields, "maxTokens").integer(),
        tokenRatio: try throttling.required(fields, "tokenRatio").number())
    }
  }
}

extension MethodConfig {
  fileprivate init(_ reader: ServiceConfigReader) throws(RPCError) {
    let members = try reader.members([
      "name", "waitForReady", "timeout", "maxRequestMessageBytes", "maxResponseMessageBytes",
      "retryPolicy", "hedgingPolicy",
    ])
    if let hedging = members["hedgingPolicy"] {
      throw hedging.wrong("is not supported: hedging is not built; use retryPolicy")
    }
    var names: [Name] = []
    for element in try reader.required(members, "name").elements() {
      names.append(try Name(element))
    }
    self.init(names: names)
    if let value = members["waitForReady"] { waitForReady = try value.bool() }
    timeout = try members["timeout"]?.duration()
    maximumRequestBytes = try members["maxRequestMessageBytes"]?.integer()
    maximumResponseBytes = try members["maxResponseMessageBytes"]?.integer()
    if let value = members["retryPolicy"] { retryPolicy = try RetryPolicy(value) }
  }
}

extension MethodConfig.Name {
  fileprivate init(_ reader: ServiceConfigReader) throws(RPCError) {
    let members = try reader.members(["service", "method"])
    let service = try members["service"]?.string() ?? ""
    let method = try members["method"]?.string() ?? ""
    guard method.isEmpty || !service.isEmpty else {
      throw reader.wrong("names a method without its service")
    }
    self.init(
      service: service.isEmpty ? nil : service, method: method.isEmpty ? nil : method)
  }
}

extension RetryPolicy {
  fileprivate init(_ reader: ServiceConfigReader) throws(RPCError) {
    let members = try reader.members([
      "maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes",
    ])
    var codes: Set<RPCError.Code> = []
    for element in try reader.required(members, "retryableStatusCodes").elements() {
      codes.insert(try element.statusCode())
    }
    self.init(
      maximumAttempts: try reader.required(members, "maxAttempts").integer(),
      initialBackoff: try reader.required(members, "initialBackoff").duration(),
      maximumBackoff: try reader.required(members, "maxBackoff").duration(),
      backoffMultiplier: try reader.required(members, "backoffMultiplier").number(),
      retryableCodes: codes)
  }
}
