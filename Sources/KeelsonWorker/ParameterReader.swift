import KeelsonAPI
import KeelsonClient
import KeelsonConfigurationRules
import KeelsonCore

/// Reads the parameters of a built-in kind, and gathers everything that is wrong with them: no
/// attempt would make them better, so all of it is told at once.
struct ParameterReader {
  private let kind: String
  private var members: [String: JSONValue] = [:]
  private var known: [String] = []
  private var problems: [String] = []

  /// - Throws: ``JobFailure``, permanent, when they are no JSON object.
  init(_ payload: KeelsonJobsV1.Payload?, of kind: String) throws(JobFailure) {
    self.kind = kind
    let text: String
    switch payload?.kind {
    case .json(let json): text = json.isEmpty ? "{}" : json
    case .data(let bytes): text = bytes.isEmpty ? "{}" : String(decoding: bytes, as: UTF8.self)
    case nil: text = "{}"
    }
    let value: JSONValue
    do {
      value = try JSONValue(
        parsing: text, refusesRepeatedNames: true, refusesInexactIntegers: true)
    } catch {
      throw JobFailure("The parameters of \(kind) are no JSON: \(error).", isPermanent: true)
    }
    switch value {
    case .object(let members): self.members = members.filter { $0.value != .null }
    case .null: break
    default:
      throw JobFailure("The parameters of \(kind) are to be a JSON object.", isPermanent: true)
    }
  }

  /// A member, whatever it is; nil when it is not there, or null.
  mutating func value(_ name: String) -> JSONValue? {
    known.append(name)
    return members[name]
  }

  mutating func text(_ name: String) -> String? {
    guard let value = value(name) else { return nil }
    if case .string(let text) = value { return text }
    refuse(name, "is to be a text")
    return nil
  }

  mutating func requiredText(_ name: String) -> String {
    if let value = value(name) {
      if case .string(let text) = value, !text.isEmpty { return text }
      refuse(name, "is to be a text that is not empty")
    } else {
      refuse(name, "is required")
    }
    return ""
  }

  mutating func texts(_ name: String) -> [String]? {
    guard let value = value(name) else { return nil }
    if case .array(let values) = value {
      let texts = values.compactMap { value in
        if case .string(let text) = value { text } else { nil as String? }
      }
      if texts.count == values.count { return texts }
    }
    refuse(name, "is to be a list of texts")
    return nil
  }

  /// - Parameter limit: the longest one; the shortest is a millisecond.
  mutating func duration(_ name: String, upTo limit: Duration) -> Duration? {
    guard let value = value(name) else { return nil }
    guard case .string(let text) = value, let duration = DurationText.duration(text) else {
      refuse(name, "is to be a time such as \"30s\" or \"5m\"")
      return nil
    }
    guard duration >= .milliseconds(1), duration <= limit else {
      refuse(name, "is \(text), which is not from 1ms to \(limit)")
      return nil
    }
    return duration
  }

  /// - Parameter problem: a clause without the member's name.
  mutating func refuse(_ name: String, _ problem: String) {
    problems.append("\(name): \(problem)")
  }

  /// Called once all members were asked for.
  ///
  /// - Throws: ``JobFailure``, permanent, with everything that is wrong.
  func finish() throws(JobFailure) {
    var problems = problems
    for name in members.keys.sorted() where !known.contains(name) {
      problems.append(
        "\(name): is not known" + NearestWord.suggestion(for: name, among: known))
    }
    guard !problems.isEmpty else { return }
    throw JobFailure(
      "The parameters of \(kind) are wrong: \(problems.joined(separator: "; ")).",
      isPermanent: true)
  }
}
