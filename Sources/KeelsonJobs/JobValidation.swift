import KeelsonAPI
import KeelsonCore
import KeelsonJobRules

/// Checks what callers say, and names every field that is wrong.
struct JobValidation: Sendable {
  typealias API = KeelsonJobsV1

  let limits: JobLimits

  static let defaultQueue = "default"

  /// Checks a job that is to be created, and fills in what it leaves out.
  ///
  /// - Parameter field: where it stands in the request, `job` for example.
  /// - Throws: `RPCError` INVALID_ARGUMENT with each violation.
  func checked(_ given: API.Job, field: String) throws -> API.Job {
    var job = API.Job()
    job.queue = given.queue.isEmpty ? Self.defaultQueue : given.queue
    job.kind = given.kind
    job.parameters = given.parameters
    job.priority = given.priority
    job.timeout = given.timeout
    job.retryPolicy = given.retryPolicy
    job.uniqueKey = given.uniqueKey
    job.concurrencyKey = given.concurrencyKey
    job.tags = given.tags
    var violations = Violations(prefix: field)
    violations.check("queue", nameProblem(job.queue))
    violations.check("kind", nameProblem(job.kind))
    violations.check("parameters", payloadProblem(job.parameters, limit: limits.parameterBytes))
    violations.check(
      "priority",
      abs(Int(job.priority)) > limits.priority
        ? "\(job.priority) is not from -\(limits.priority) to \(limits.priority)" : nil)
    if let timeout = job.timeout {
      violations.check(
        "timeout", durationProblem(timeout, from: .milliseconds(1), to: limits.timeout))
    }
    if let policy = job.retryPolicy { check(policy, &violations) }
    if let unique = job.uniqueKey {
      violations.check("unique_key.key", textProblem(unique.key, limit: limits.uniqueKeyBytes))
      if let window = unique.window {
        violations.check(
          "unique_key.window",
          durationProblem(window, from: .milliseconds(1), to: .seconds(365 * 86_400)))
      }
    }
    if !job.concurrencyKey.isEmpty {
      violations.check(
        "concurrency_key", textProblem(job.concurrencyKey, limit: limits.nameBytes))
    }
    if job.tags.count > limits.tags {
      violations.check("tags", "has \(job.tags.count) tags; at most \(limits.tags) are allowed")
    }
    for (index, tag) in job.tags.prefix(limits.tags).enumerated() {
      violations.check("tags[\(index)]", textProblem(tag, limit: limits.nameBytes))
    }
    try violations.throwIfAny()
    return job
  }

  private func check(_ policy: API.RetryPolicy, _ violations: inout Violations) {
    if let retries = policy.maximumRetries, !(0...RetryPolicy.mostRetries).contains(Int(retries)) {
      violations.check(
        "retry_policy.maximum_retries",
        "\(retries) is not from 0 to \(RetryPolicy.mostRetries)")
    }
    for (name, delay) in [
      ("initial_delay", policy.initialDelay), ("maximum_delay", policy.maximumDelay),
    ] {
      guard let delay else { continue }
      violations.check(
        "retry_policy.\(name)", durationProblem(delay, from: .zero, to: .seconds(30 * 86_400)))
    }
    if let multiplier = policy.multiplier, !(multiplier >= 1 && multiplier <= 100) {
      violations.check("retry_policy.multiplier", "\(multiplier) is not from 1 to 100")
    }
    if let jitter = policy.jitter, !(jitter >= 0 && jitter <= 1) {
      violations.check("retry_policy.jitter", "\(jitter) is not from 0 to 1")
    }
  }

  /// What is wrong with a name; nil when it may be used.
  func nameProblem(_ name: String) -> String? {
    guard !name.isEmpty else { return "is required" }
    guard name.utf8.count <= limits.nameBytes else {
      return "has \(name.utf8.count) bytes; at most \(limits.nameBytes) are allowed"
    }
    var isFirst = true
    for byte in name.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: break
      case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "/"):
        if isFirst { return "must begin with a letter or a digit" }
      default: return "must have letters, digits, '.', '_', '-' and '/' only"
      }
      isFirst = false
    }
    return nil
  }

  func reasonProblem(_ text: String) -> String? {
    text.isEmpty ? nil : textProblem(text, limit: limits.reasonBytes)
  }

  private func textProblem(_ text: String, limit: Int) -> String? {
    guard !text.isEmpty else { return "is empty" }
    guard text.utf8.count <= limit else {
      return "has \(text.utf8.count) bytes; at most \(limit) are allowed"
    }
    // PostgreSQL has no texts with NUL.
    return text.utf8.contains(0) ? "has a NUL character" : nil
  }

  func payloadProblem(_ payload: API.Payload?, limit: Int) -> String? {
    switch payload?.kind {
    case .json(let text):
      guard text.utf8.count <= limit else {
        return "has \(text.utf8.count) bytes; at most \(limit) are allowed"
      }
      do {
        _ = try JSONValue(parsing: text)
        return nil
      } catch {
        return "is no JSON: \(error)"
      }
    case .data(let bytes):
      return bytes.count > limit
        ? "has \(bytes.count) bytes; at most \(limit) are allowed" : nil
    case nil:
      return nil
    }
  }

  func durationProblem(
    _ given: GoogleProtobuf.Duration, from lowest: Duration, to highest: Duration
  ) -> String? {
    guard let duration = try? given.duration else { return "is no valid duration" }
    return duration < lowest || duration > highest
      ? "\(duration) is not from \(lowest) to \(highest)" : nil
  }

  /// - Throws: `RPCError` INVALID_ARGUMENT for a text that is no job's id.
  static func id(_ text: String, field: String = "id") throws -> JobID {
    guard let id = JobID(text) else {
      throw RPCError.invalidArgument(
        field: field, text.isEmpty ? "is required" : "is not a UUID of 36 characters")
    }
    return id
  }
}

/// Gathers what is wrong, to say all of it at once.
struct Violations {
  let prefix: String
  private var found: [(field: String, problem: String)] = []

  init(prefix: String) {
    self.prefix = prefix
  }

  mutating func check(_ field: String, _ problem: String?) {
    if let problem { found.append(("\(prefix).\(field)", problem)) }
  }

  func throwIfAny() throws {
    guard let first = found.first else { return }
    throw RPCError(
      .invalidArgument,
      found.count == 1
        ? "\(first.field): \(first.problem)"
        : found.map { "\($0.field): \($0.problem)" }.joined(separator: "; "),
      details: [
        .badRequest(found.map { FieldViolation(field: $0.field, description: $0.problem) })
      ])
  }
}
