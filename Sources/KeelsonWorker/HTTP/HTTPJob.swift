import KeelsonAPI
import KeelsonClient
import KeelsonCore
import KeelsonHTTP

/// `keelson.http`: a call over HTTP.
///
/// A call may be made more than once, as every job's work: `Idempotency-Key` has the job's id, so
/// that who is called can tell.
struct HTTPJob: Sendable {
  static let kind = "keelson.http"
  /// How long a call may take that does not say.
  static let defaultTimeout: Duration = .seconds(30)
  static let longestTimeout: Duration = .seconds(3_600)
  /// Headers of a call.
  static let maximumHeaders = 64
  /// Bytes of a body's beginning in the sentence that says what went wrong.
  private static let shownBytes = 512

  let client: any HTTPClient
  let rules: HostRules
  /// Bytes of an answer's body that are kept: its beginning, as a string of JSON.
  let outputBytes: Int

  /// What is called, and what is expected of the answer.
  struct Call: Sendable {
    var method = "GET"
    var url: RequestURL
    var headers: [(name: String, value: String)] = []
    var body: [UInt8]?
    var expected = StatusSet(200...299)
    /// Other statuses after which the job is tried again. Source: RFC 9110 section 15, RFC 6585,
    /// RFC 8470.
    var passing = StatusSet(408...408, 425...425, 429...429, 500...599)
    var timeout = HTTPJob.defaultTimeout
  }

  func run(_ payload: KeelsonJobsV1.Payload?, _ job: JobRun) async throws -> KeelsonJobsV1.Payload {
    let call = try Self.call(payload)
    var request = try request(call, jobID: job.id, correlationID: job.correlationID)
    request.timeout = TimeLimit(work: call.timeout, job: job.timeout).work
    let response: HTTPResponse
    do throws(HTTPFailure) {
      response = try await client.send(request)
    } catch {
      throw try Self.failure(error, call)
    }
    try Self.check(response, call)
    return .init(kind: .json(result(response).text))
  }

  // MARK: Parameters

  static func call(_ payload: KeelsonJobsV1.Payload?) throws(JobFailure) -> Call {
    var reader = try ParameterReader(payload, of: kind)
    let text = reader.requiredText("url")
    var url: RequestURL?
    if !text.isEmpty {
      do throws(RequestURL.Problem) { url = try RequestURL(text) } catch {
        reader.refuse("url", error.text)
      }
    }
    let method = reader.text("method") ?? "GET"
    if !isToken(method) || method.utf8.contains(where: { (0x61...0x7A).contains($0) })
      || ["CONNECT", "TRACE"].contains(method)
    {
      reader.refuse("method", "'\(method.prefix(32))' is none that is called; GET or POST, say")
    }
    var headers = readHeaders(&reader)
    let body = readBody(&reader, method, &headers)
    let expected = statuses("expect", &reader)
    let passing = statuses("retry", &reader)
    let timeout = reader.duration("timeout", upTo: longestTimeout)
    try reader.finish()
    guard let url else { throw JobFailure("There is no URL.", isPermanent: true) }
    var call = Call(url: url)
    (call.method, call.headers, call.body) = (method, headers, body)
    if let expected { call.expected = expected }
    if let passing { call.passing = passing }
    if let timeout { call.timeout = timeout }
    return call
  }

  private static func statuses(_ name: String, _ reader: inout ParameterReader) -> StatusSet? {
    guard let value = reader.value(name) else { return nil }
    if let set = StatusSet(value) { return set }
    reader.refuse(name, "is to be a status such as 200, \"2xx\", \"200-204\", or a list of these")
    return nil
  }

  /// What is about the connection is not the caller's to say; nor is the host, by which the call
  /// was allowed. Source: RFC 9110 sections 7.2 and 7.6.1.
  private static let reserved: Set<String> = [
    "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
    "expect", "keep-alive", "proxy-connection", "proxy-authorization",
  ]

  private static func readHeaders(
    _ reader: inout ParameterReader
  ) -> [(name: String, value: String)] {
    guard let value = reader.value("headers") else { return [] }
    guard case .object(let members) = value else {
      reader.refuse("headers", "is to be an object of texts")
      return []
    }
    if members.count > maximumHeaders {
      reader.refuse("headers", "has \(members.count); at most \(maximumHeaders) are sent")
    }
    var headers: [(name: String, value: String)] = []
    for (name, value) in members.sorted(by: { $0.key < $1.key }).prefix(maximumHeaders) {
      let path = "headers.\(name.prefix(64))"
      if !isToken(name) { reader.refuse(path, "is no name of a header") }
      if reserved.contains(name.lowercased()) {
        reader.refuse(path, "is the connection's own, and not to be given")
      }
      guard case .string(let text) = value else {
        reader.refuse(path, "is to be a text")
        continue
      }
      if text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
        reader.refuse(path, "has control characters")
      }
      headers.append((name, text))
    }
    return headers
  }

  /// A text goes as it is, anything else as JSON.
  private static func readBody(
    _ reader: inout ParameterReader, _ method: String,
    _ headers: inout [(name: String, value: String)]
  ) -> [UInt8]? {
    switch reader.value("body") {
    case nil:
      // Servers want to be told that nothing follows (RFC 9110 section 8.6).
      return ["POST", "PUT", "PATCH"].contains(method) ? [] : nil
    case .string(let text): return Array(text.utf8)
    case let value?:
      if !headers.contains(where: { $0.name.lowercased() == "content-type" }) {
        headers.append(("Content-Type", "application/json"))
      }
      return Array(value.text.utf8)
    }
  }

  /// Source: RFC 9110 section 5.6.2.
  private static func isToken(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 256
      && text.utf8.allSatisfy {
        switch $0 {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "!#$%&'*+-.^_`|~".utf8.contains($0)
        }
      }
  }

  // MARK: The call

  func request(_ call: Call, jobID: String, correlationID: String) throws(JobFailure) -> HTTPRequest
  {
    guard let allows = rules.addresses(for: call.url.host, port: call.url.port) else {
      throw Self.refused(call, "\(call.url.host) is none of the hosts that it may call")
    }
    var headers = call.headers
    for (name, value) in [("Idempotency-Key", jobID), ("X-Correlation-Id", correlationID)]
    where !value.isEmpty && !headers.contains(where: { $0.name.lowercased() == name.lowercased() })
    {
      headers.append((name, value))
    }
    var request = HTTPRequest(
      call.method, call.url.text, headers: headers.map { ($0.name, SecretValue($0.value)) },
      body: call.body.map { SecretValue($0) })
    request.timeout = call.timeout
    request.allowsAddress = allows
    return request
  }

  private static func refused(_ call: Call, _ why: String) -> JobFailure {
    JobFailure(
      "\(call.method) \(call.url.shown) was not called: \(why). Whoever runs the worker allows it "
        + "with --http-allow.", isPermanent: true)
  }

  /// - Throws: `CancellationError` when the call was broken off.
  static func failure(_ failure: HTTPFailure, _ call: Call) throws -> JobFailure {
    let what = "\(call.method) \(call.url.shown)"
    switch failure.code {
    case .cancelled: throw CancellationError()
    case .refused: return refused(call, failure.reason)
    case .invalid:
      return JobFailure("\(what) cannot be called: \(failure.reason).", isPermanent: true)
    case .connection, .tls, .timeout, .malformed:
      return JobFailure("\(what) has failed: \(failure.reason).")
    }
  }

  /// - Throws: ``JobFailure`` when the status is not the one that was expected: for good, unless
  ///   it may pass.
  static func check(_ response: HTTPResponse, _ call: Call) throws(JobFailure) {
    guard !call.expected.contains(response.status) else { return }
    var text =
      "\(call.method) \(call.url.shown) answered \(response.status), not \(call.expected)."
    if let target = response.headers["location"], (300...399).contains(response.status) {
      text += " Redirects are not followed; it leads to \(target.prefix(200))."
    } else if response.body.count > 0 {
      text += " "
      text += Excerpt.beginning(of: response.body.bytes, jsonBytes: shownBytes).text
    }
    let mayPass = call.passing.contains(response.status)
    throw JobFailure(
      text, isPermanent: !mayPass, retryAfter: mayPass ? response.retryAfter : nil)
  }

  func result(_ response: HTTPResponse) -> JSONValue {
    let body = Excerpt.beginning(of: response.body.bytes, jsonBytes: outputBytes)
    var object: [String: JSONValue] = [
      "status": .number(Double(response.status)), "body": .string(body.text),
      "body_bytes": .number(Double(response.bodyBytes)),
      "body_cut": .bool(!body.isWhole || response.body.count < response.bodyBytes),
    ]
    if let type = response.headers["content-type"] {
      object["content_type"] = .string(
        Excerpt.beginning(of: Array(type.utf8), jsonBytes: 256).text)
    }
    return .object(object)
  }
}
