package import KeelsonAPI
package import KeelsonCore
import KeelsonFlagRules
import KeelsonStore

extension FlagService {
  /// Evaluation reads memory only, so it needs no task.
  package var routes: [Route] {
    (self as any KeelsonFlagsV1.FlagServiceHandler).routes.servingAtOnce([
      KeelsonFlagsV1.FlagServiceMethods.evaluateFlag(immediate: evaluateFlag),
      KeelsonFlagsV1.FlagServiceMethods.evaluateFlags(immediate: evaluateFlags),
    ])
  }

  package func evaluateFlag(
    _ request: KeelsonFlagsV1.EvaluateFlagRequest, context: ServerContext
  ) throws -> KeelsonFlagsV1.EvaluateFlagResponse {
    let rules = try rules(request.flagSet, request.environment)
    guard let flag = rules.set.definition(request.key) else {
      try validation.checkKey(request.key, field: "key")
      throw FlagService.noFlag(try setName(request.flagSet), request.key)
    }
    guard request.expectedType == .unspecified || flag.type == .init(request.expectedType) else {
      throw RPCError.invalidArgument(
        field: "expected_type",
        "is \(request.expectedType.word), but flag '\(flag.key)' is of type \(flag.type.rawValue)")
    }
    var response = KeelsonFlagsV1.EvaluateFlagResponse()
    let evaluation = rules.set.evaluate(
      request.key, context: EvaluationContext(request.targetingKey, request.context))
    tell(of: evaluation, of: request.key, request.flagSet, request.environment, context)
    response.evaluation = .init(key: request.key, evaluation)
    response.revision = rules.revision
    return response
  }

  package func evaluateFlags(
    _ request: KeelsonFlagsV1.EvaluateFlagsRequest, context: ServerContext
  ) throws -> KeelsonFlagsV1.EvaluateFlagsResponse {
    let rules = try rules(request.flagSet, request.environment)
    guard request.keys.count <= limits.keysPerEvaluation else {
      throw RPCError.invalidArgument(
        field: "keys",
        "has \(request.keys.count) entries; at most \(limits.keysPerEvaluation) are allowed")
    }
    let keys = request.keys.isEmpty ? rules.set.flags.map(\.key).sorted() : request.keys
    let attributes = EvaluationContext(request.targetingKey, request.context)
    let now = UnixTime.now
    var response = KeelsonFlagsV1.EvaluateFlagsResponse()
    var bytes = 0
    for key in keys {
      let evaluation = rules.set.evaluate(key, context: attributes, now: now)
      tell(of: evaluation, of: key, request.flagSet, request.environment, context)
      bytes += key.utf8.count + (evaluation.value?.roughBytes ?? 0)
      guard bytes <= limits.evaluationBytes else {
        throw RPCError(
          .resourceExhausted,
          "The values of these flags come to more than \(limits.evaluationBytes) bytes; name "
            + "fewer in one call.")
      }
      response.evaluations.append(.init(key: key, evaluation))
    }
    response.revision = rules.revision
    return response
  }

  /// Tells whoever listens; costs next to nothing while nobody does. What the context was stays
  /// here: it may say who somebody is.
  private func tell(
    of evaluation: FlagEvaluation, of key: String, _ set: String, _ environment: String,
    _ context: ServerContext
  ) {
    telemetry.publish(type: FlagEvent.evaluatedType) {
      let set = set.isEmpty ? defaultFlagSet : set
      var data: [String: JSONValue] = [
        "flag_set": .string(set), "key": .string(key),
        "environment": .string(environment.isEmpty ? self.environment : environment),
        "reason": .string(evaluation.reason.rawValue),
      ]
      if let variant = evaluation.variant { data["variant"] = .string(variant) }
      if let code = evaluation.errorCode { data["error_code"] = .string(code.rawValue) }
      return TelemetryEvent(
        type: FlagEvent.evaluatedType, subject: "\(set)/\(key)", data: JSONText(.object(data)),
        origin: ChangeOrigin(context))
    }
  }

  /// The rules that a request means.
  private func rules(_ set: String, _ environment: String) throws -> FlagRuleBook.Rules {
    let set = try setName(set)
    let environment = try environmentName(environment)
    guard let rules = book.rules(set: set, environment: environment) else {
      throw FlagService.noSet(set, field: "flag_set")
    }
    return rules
  }

  /// The environment that a request means.
  func environmentName(_ name: String) throws -> String {
    guard !name.isEmpty else { return environment }
    try validation.checkEnvironment(name, field: "environment")
    return name
  }
}

extension EvaluationContext {
  init(_ targetingKey: String, _ context: GoogleProtobuf.Struct?) {
    self.init(context?.object ?? [:])
    if !targetingKey.isEmpty { self.targetingKey = targetingKey }
  }
}

extension KeelsonFlagsV1.Evaluation {
  init(key: String, _ evaluation: FlagEvaluation) {
    self.init()
    self.key = key
    self.value = evaluation.value.map { GoogleProtobuf.Value($0) }
    self.variant = evaluation.variant ?? ""
    self.reason =
      switch evaluation.reason {
      case .static: .static
      case .targetingMatch: .targetingMatch
      case .default: .default
      case .disabled: .disabled
      case .error: .error
      }
    self.errorCode = evaluation.errorCode?.rawValue ?? ""
    self.errorMessage = evaluation.errorMessage ?? ""
    if !evaluation.metadata.isEmpty {
      self.metadata = GoogleProtobuf.Struct(evaluation.metadata)
    }
  }
}

extension JSONValue {
  /// About how many bytes it takes in a message.
  fileprivate var roughBytes: Int {
    switch self {
    case .null, .bool, .number: 16
    case .string(let text): text.utf8.count + 16
    case .array(let values): values.reduce(16) { $0 + $1.roughBytes }
    case .object(let members): members.reduce(16) { $0 + $1.key.utf8.count + $1.value.roughBytes }
    }
  }
}
