import KeelsonCore

/// One value of a service config's JSON form with the way to it, for errors.
struct ServiceConfigReader {
  let path: String
  let value: JSONValue

  func wrong(_ rule: String) -> RPCError {
    ServiceConfig.wrong(path.isEmpty ? "it" : path, rule)
  }

  /// The members of an object that has no others than these.
  func members(_ known: [String]) throws(RPCError) -> [String: ServiceConfigReader] {
    guard case .object(let object) = value else { throw wrong("is an object") }
    var members: [String: ServiceConfigReader] = [:]
    for (name, value) in object.sorted(by: { $0.key < $1.key }) {
      guard known.contains(name) else {
        throw wrong("has no \"\(name)\"; it has \(known.joined(separator: ", "))")
      }
      members[name] = ServiceConfigReader(
        path: path.isEmpty ? name : "\(path).\(name)", value: value)
    }
    return members
  }

  func required(
    _ members: [String: ServiceConfigReader], _ name: String
  ) throws(RPCError) -> ServiceConfigReader {
    guard let member = members[name] else { throw wrong("lacks \"\(name)\"") }
    return member
  }

  func elements() throws(RPCError) -> [ServiceConfigReader] {
    guard case .array(let values) = value else { throw wrong("is an array") }
    return values.enumerated().map { index, value in
      ServiceConfigReader(path: "\(path)[\(index)]", value: value)
    }
  }

  func string() throws(RPCError) -> String {
    guard case .string(let text) = value else { throw wrong("is a string") }
    return text
  }

  func bool() throws(RPCError) -> Bool {
    guard case .bool(let value) = value else { throw wrong("is true or false") }
    return value
  }

  func number() throws(RPCError) -> Double {
    guard case .number(let number) = value else { throw wrong("is a number") }
    return number
  }

  /// A whole number; protobuf's JSON form writes wrapped ones as strings too.
  func integer() throws(RPCError) -> Int {
    if case .string(let text) = value, let number = Int(text) { return number }
    guard case .number(let number) = value, let whole = Int(exactly: number) else {
      throw wrong("is a whole number")
    }
    return whole
  }

  /// Seconds with up to nine decimals and an `s`, as protobuf's JSON form has it.
  func duration() throws(RPCError) -> Duration {
    guard case .string(let text) = value,
      let match = text.wholeMatch(of: /(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s/),
      let seconds = Int64(match.output.2)
    else { throw wrong("is seconds as a string, \"1.5s\" for example") }
    let decimals = match.output.3.map(String.init) ?? ""
    let nanoseconds = Int64(decimals + String(repeating: "0", count: 9 - decimals.count)) ?? 0
    let duration = Duration.seconds(seconds) + .nanoseconds(nanoseconds)
    return match.output.1.isEmpty ? duration : .zero - duration
  }

  /// A status by its name or number.
  func statusCode() throws(RPCError) -> RPCError.Code {
    for number in 0...16 {
      let code = RPCError.Code(rawValue: number)
      if value == .string(code.description) || value == .number(Double(number)) { return code }
    }
    throw wrong("is the name of a gRPC status, \"UNAVAILABLE\" for example")
  }

  /// nil for a policy that is not known here.
  func policy(_ name: String) -> LoadBalancingPolicy? {
    switch name {
    case "pick_first": .pickFirst
    case "round_robin": .roundRobin
    default: nil
    }
  }

  /// Of a list of policies the first that is known: so a config may name newer ones ahead.
  func firstKnownPolicy() throws(RPCError) -> LoadBalancingPolicy {
    for element in try elements() {
      guard case .object(let object) = element.value, object.count == 1,
        let (name, settings) = object.first
      else { throw element.wrong("is an object with one member, the policy's name") }
      guard let policy = policy(name) else { continue }
      _ = try ServiceConfigReader(path: "\(element.path).\(name)", value: settings).members([])
      return policy
    }
    throw wrong("names no policy that is known; those are pick_first and round_robin")
  }
}
