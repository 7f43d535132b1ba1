import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

/// A file with a job in each line, as JSON. What a line does not say the command's options do.
struct BatchFile: Sendable {
  /// Bytes of a line.
  private static let lineBytes = 1 << 20
  /// Jobs of a file.
  static let maximumJobs = 1_000_000

  let path: String
  /// What lines leave out.
  let template: KeelsonJobsV1.Job

  /// Reads all of it, one job after the other, each with the number of its line.
  ///
  /// - Throws: `RPCError` that names the line and what is wrong with it.
  func readJobs(_ body: (KeelsonJobsV1.CreateJobRequest, Int) async throws -> Void) async throws {
    let file = try InputFile(path, isReadAgain: true)
    var rest: [UInt8] = []
    var number = 0
    var jobs = 0
    func take(_ line: ArraySlice<UInt8>) async throws {
      number += 1
      guard line.contains(where: { $0 != 0x20 && $0 != 0x0D && $0 != 0x09 }) else { return }
      jobs += 1
      guard jobs <= Self.maximumJobs else {
        throw problem(
          number, "is one job too many: a file has at most \(Self.maximumJobs), so take it apart")
      }
      try await body(try request(String(decoding: line, as: UTF8.self), number), number)
    }
    while true {
      let piece = try file.read()
      guard !piece.isEmpty else { break }
      rest += piece
      var start = 0
      while let end = rest[start...].firstIndex(of: 0x0A) {
        try await take(rest[start..<end])
        start = end + 1
      }
      rest.removeFirst(start)
      guard rest.count <= Self.lineBytes else {
        throw problem(number + 1, "has more than \(Self.lineBytes) bytes")
      }
    }
    if !rest.isEmpty { try await take(rest[...]) }
  }

  private func problem(_ line: Int, _ text: String) -> RPCError {
    RPCError(.invalidArgument, "Line \(line) of \(path) \(text).")
  }

  private enum Member: String, CaseIterable {
    case kind, queue, parameters, priority, retries, tags, delay, at
    case timeLimit = "time_limit"
    case concurrencyKey = "concurrency_key"
    case uniqueKey = "unique_key"
    case uniqueFor = "unique_for"
  }

  private func request(_ text: String, _ line: Int) throws -> KeelsonJobsV1.CreateJobRequest {
    let value: JSONValue
    do {
      value = try JSONValue(
        parsing: text, refusesRepeatedNames: true, refusesInexactIntegers: true)
    } catch {
      throw problem(line, "is no JSON: \(error)")
    }
    guard case .object(let members) = value else {
      throw problem(line, "is to be an object, such as {\"kind\": \"mail\", \"parameters\": {}}")
    }
    var request = KeelsonJobsV1.CreateJobRequest()
    var job = template
    for (name, value) in members.sorted(by: { $0.key < $1.key }) where value != .null {
      guard let member = Member(rawValue: name) else {
        throw problem(
          line,
          "has '\(name)', which is not known"
            + NearestWord.suggestion(for: name, among: Member.allCases.map(\.rawValue)))
      }
      guard set(member, value, &job, &request) else {
        throw problem(line, "has a \(name) that is not \(Self.right(member))")
      }
    }
    guard !job.kind.isEmpty else {
      throw problem(line, "has no kind; give it there, or with --kind for all")
    }
    guard job.uniqueKey?.window == nil || job.uniqueKey?.key.isEmpty == false else {
      throw problem(line, "has a unique_for without a unique_key")
    }
    request.job = job
    return request
  }

  /// - Returns: false when the value is not what the member takes.
  private func set(
    _ member: Member, _ value: JSONValue, _ job: inout KeelsonJobsV1.Job,
    _ request: inout KeelsonJobsV1.CreateJobRequest
  ) -> Bool {
    switch (member, value) {
    case (.kind, .string(let text)): job.kind = text
    case (.queue, .string(let text)): job.queue = text
    case (.parameters, _): job.parameters = .init(kind: .json(value.text))
    case (.priority, .number(let number)):
      guard let priority = Int32(exactly: number) else { return false }
      job.priority = priority
    case (.retries, .number(let number)):
      guard let retries = Int32(exactly: number) else { return false }
      job.retryPolicy = .init()
      job.retryPolicy?.maximumRetries = retries
    case (.tags, .array(let values)):
      for value in values {
        guard case .string(let tag) = value else { return false }
        job.tags.append(tag)
      }
    case (.concurrencyKey, .string(let text)): job.concurrencyKey = text
    case (.uniqueKey, .string(let text)):
      var key = job.uniqueKey ?? .init()
      key.key = text
      job.uniqueKey = key
    case (.timeLimit, .string(let text)), (.delay, .string(let text)),
      (.uniqueFor, .string(let text)):
      guard let duration = DurationText.duration(text) else { return false }
      switch member {
      case .timeLimit: job.timeout = .init(duration)
      case .delay: request.delay = .init(duration)
      default:
        var key = job.uniqueKey ?? .init()
        key.window = .init(duration)
        job.uniqueKey = key
      }
    case (.at, .string(let text)):
      guard let time = FlagOptions.moment(text) else { return false }
      job.runTime = time
    default: return false
    }
    return true
  }

  private static func right(_ member: Member) -> String {
    switch member {
    case .kind, .queue, .concurrencyKey, .uniqueKey: "a text"
    case .parameters: "JSON"
    case .priority, .retries: "a whole number"
    case .tags: "a list of texts"
    case .timeLimit, .delay, .uniqueFor: "a time such as \"30s\" or \"5m\""
    case .at: "a time such as \"2027-01-31T00:00:00Z\""
    }
  }
}
