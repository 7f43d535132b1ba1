import KeelsonAPI
import KeelsonClient
import KeelsonCore
import KeelsonHTTP
import Testing

@testable import KeelsonWorker

@Suite struct HTTPJobTests {
  private func payload(_ json: String) -> KeelsonJobsV1.Payload { .init(kind: .json(json)) }

  private func call(_ json: String) throws -> HTTPJob.Call { try HTTPJob.call(payload(json)) }

  private func job(_ hosts: [String] = ["*"]) throws -> HTTPJob {
    HTTPJob(client: CurlClient(HTTPOptions()), rules: try HostRules(hosts), outputBytes: 100)
  }

  @Test func aBodyThatIsNoTextGoesAsJSON() throws {
    let json = try call(#"{"method": "POST", "url": "http://a/", "body": {"b": [1, null]}}"#)
    #expect(json.body == Array(#"{"b":[1,null]}"#.utf8))
    #expect(json.headers.map(\.name) == ["Content-Type"])
    let text = try call(
      #"{"method": "PUT", "url": "http://a/", "body": "x", "headers": {"content-type": "a/b"}}"#)
    #expect(text.body == Array("x".utf8) && text.headers.map(\.value) == ["a/b"])
    #expect(try call(#"{"method": "POST", "url": "http://a/"}"#).body == [])
    #expect(try call(#"{"url": "http://a/"}"#).body == nil)
  }

  @Test func everythingThatIsWrongIsSaidAtOnce() throws {
    let failure = #expect(throws: JobFailure.self) {
      try call(
        #"{"method": "get", "url": "ftp://a/", "headers": {"Host": "b", "a b": "c", "X": 1}, "#
          + #""timeout": "2h", "expect": "ok", "bdy": ""}"#)
    }
    #expect(failure?.isPermanent == true)
    for part in [
      "url: is to begin", "method: 'get'", "headers.Host: is the connection's own",
      "headers.a b: is no name", "headers.X: is to be a text", "timeout: is 2h", "expect: is to be",
      "bdy: is not known (did you mean 'body'?)",
    ] {
      #expect(failure?.message.contains(part) == true, "\(part)")
    }
  }

  @Test(arguments: ["[", "[1]", "7", #"{"a": 1, "a": 2}"#, #"{"body": 9007199254740993}"#])
  func whatIsNoObjectIsRefused(_ json: String) {
    #expect(throws: JobFailure.self) { try call(json) }
  }

  @Test func aCallSaysWhichJobItIs() throws {
    let request = try job().request(
      try call(#"{"url": "http://example.com/"}"#), jobID: "id", correlationID: "c")
    let headers = Dictionary(uniqueKeysWithValues: request.headers.map { ($0.name, $0.value.text) })
    #expect(headers == ["Idempotency-Key": "id", "X-Correlation-Id": "c"])
    let own = try job().request(
      try call(#"{"url": "http://example.com/", "headers": {"idempotency-key": "mine"}}"#),
      jobID: "id", correlationID: "")
    #expect(own.headers.map(\.value.text) == ["mine"])
  }

  private func failure(
    _ status: Int, _ json: String = "{}", headers: [String: String] = [:]
  ) throws -> JobFailure? {
    var members = try JSONValue(parsing: json)
    guard case .object(var object) = members else { return nil }
    object["url"] = "http://a/b"
    members = .object(object)
    let response = HTTPResponse(status: status, headers: headers, body: SecretValue("body"))
    do throws(JobFailure) {
      try HTTPJob.check(response, try HTTPJob.call(payload(members.text)))
    } catch { return error }
    return nil
  }

  @Test func whatMayPassIsTriedAgain() throws {
    for status in [200, 204, 299] { #expect(try failure(status) == nil) }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
      #expect(try failure(status)?.isPermanent == false)
    }
    for status in [100, 301, 400, 401, 404, 409, 422] {
      #expect(try failure(status)?.isPermanent == true)
    }
    #expect(try failure(404, #"{"expect": [404]}"#) == nil)
    #expect(try failure(200, #"{"expect": [404]}"#)?.isPermanent == true)
    #expect(try failure(409, #"{"retry": [409]}"#)?.isPermanent == false)
    #expect(try failure(500, #"{"retry": [409]}"#)?.isPermanent == true)
  }

  @Test func howLongToWaitIsHeeded() throws {
    let wait = ["retry-after": "7"]
    #expect(try failure(503, headers: wait)?.retryAfter == .seconds(7))
    #expect(try failure(404, headers: wait)?.retryAfter == nil)
    #expect(try failure(503)?.message == "GET http://a/b answered 503, not 2xx. body")
  }

  @Test func failuresOfTheWayAreTriedAgain() throws {
    let call = try call(#"{"url": "http://a/"}"#)
    for code: HTTPFailure.Code in [.connection, .tls, .timeout, .malformed] {
      #expect(try HTTPJob.failure(.init(code: code, reason: "r"), call).isPermanent == false)
    }
    for code: HTTPFailure.Code in [.invalid, .refused] {
      #expect(try HTTPJob.failure(.init(code: code, reason: "r"), call).isPermanent)
    }
    #expect(throws: CancellationError.self) {
      try HTTPJob.failure(.init(code: .cancelled, reason: "r"), call)
    }
  }
}
