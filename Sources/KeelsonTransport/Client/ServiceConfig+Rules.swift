package import KeelsonCore

extension ServiceConfig {
  /// Looks whether the configuration can be used.
  ///
  /// - Throws: INVALID_ARGUMENT that names what is wrong, by its path in the JSON form.
  package func validate() throws(RPCError) {
    var seen: [MethodConfig.Name: Int] = [:]
    for (index, config) in methods.enumerated() {
      let path = "methodConfig[\(index)]"
      guard !config.names.isEmpty else {
        throw Self.wrong("\(path).name", "names no method; {} names all")
      }
      for name in config.names {
        if let other = seen.updateValue(index, forKey: name) {
          throw Self.wrong("\(path).name", "names what methodConfig[\(other)] names already")
        }
      }
      try config.validate(path)
    }
    if let throttling = retryThrottling {
      guard (1...1_000).contains(throttling.maximumTokens) else {
        throw Self.wrong("retryThrottling.maxTokens", "is from 1 to 1000")
      }
      guard throttling.tokenRatio >= 0.001, throttling.tokenRatio.isFinite else {
        throw Self.wrong("retryThrottling.tokenRatio", "is at least 0.001")
      }
    }
  }

  static func wrong(_ path: String, _ rule: String) -> RPCError {
    RPCError(.invalidArgument, "The service config cannot be used: \(path) \(rule).")
  }
}

extension MethodConfig {
  fileprivate func validate(_ path: String) throws(RPCError) {
    if let timeout, timeout <= .zero {
      throw ServiceConfig.wrong("\(path).timeout", "is longer than 0s")
    }
    if let maximumRequestBytes, maximumRequestBytes < 0 {
      throw ServiceConfig.wrong("\(path).maxRequestMessageBytes", "is not negative")
    }
    if let maximumResponseBytes, maximumResponseBytes < 0 {
      throw ServiceConfig.wrong("\(path).maxResponseMessageBytes", "is not negative")
    }
    try retryPolicy?.validate("\(path).retryPolicy")
  }
}

extension RetryPolicy {
  fileprivate func validate(_ path: String) throws(RPCError) {
    // gRFC A6 takes a larger number for 5; saying so once is better than doing so in silence.
    guard (2...Self.mostAttempts).contains(maximumAttempts) else {
      throw ServiceConfig.wrong("\(path).maxAttempts", "is from 2 to \(Self.mostAttempts)")
    }
    guard initialBackoff > .zero else {
      throw ServiceConfig.wrong("\(path).initialBackoff", "is longer than 0s")
    }
    guard maximumBackoff > .zero else {
      throw ServiceConfig.wrong("\(path).maxBackoff", "is longer than 0s")
    }
    guard backoffMultiplier > 0, backoffMultiplier.isFinite else {
      throw ServiceConfig.wrong("\(path).backoffMultiplier", "is over 0")
    }
    guard !retryableCodes.isEmpty else {
      throw ServiceConfig.wrong("\(path).retryableStatusCodes", "names at least one status")
    }
    guard !retryableCodes.contains(.ok) else {
      throw ServiceConfig.wrong("\(path).retryableStatusCodes", "names failures only, not OK")
    }
  }
}
