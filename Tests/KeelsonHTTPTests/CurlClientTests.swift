import Dispatch
import Foundation
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

@testable import KeelsonHTTP

@Suite(.timeLimit(.minutes(5))) struct CurlClientTests {
  private func options(_ change: (inout HTTPOptions) -> Void = { _ in }) -> HTTPOptions {
    var options = HTTPOptions()
    options.timeout = .seconds(20)
    change(&options)
    return options
  }

  private func failure(
    _ store: LocalHTTPServer, _ options: HTTPOptions, url: String? = nil
  ) async throws -> HTTPFailure {
    try await #require(throws: HTTPFailure.self) {
      _ = try await CurlClient(options).send(HTTPRequest("GET", url ?? "\(store.address)/a"))
    }
  }

  @Test func aRequestIsSentAsItIsAndItsConnectionUsedAgain() async throws {
    let store = try LocalHTTPServer {
      .json(201, "[\($0.body.utf8.count)]", headers: ["X-Y": " z "])
    }
    defer { store.stop() }
    let client = CurlClient(options())
    for _ in 0..<2 {
      let response = try await client.send(
        HTTPRequest(
          "POST", "\(store.address)/a?b=c",
          headers: [("X-Token", SecretValue("t")), ("Content-Type", SecretValue("text/x"))],
          body: SecretValue("body")))
      #expect(response.status == 201)
      #expect(response.headers["x-y"] == "z")
      #expect(response.body.text == "[4]")
    }
    let request = try #require(store.requests.last)
    #expect(request.method == "POST")
    #expect(request.target == "/a?b=c")
    #expect(request.body == "body")
    #expect(request.headers["x-token"] == "t")
    #expect(request.headers["content-type"] == "text/x")
    #expect(request.headers["expect"] == nil)
    #expect(request.headers["user-agent"] == "keelson")
  }

  @Test func otherMethodsThanCurlsOwnGoOut() async throws {
    let store = try LocalHTTPServer { .json(200, $0.method) }
    defer { store.stop() }
    let response = try await CurlClient(options()).send(HTTPRequest("LIST", store.address))
    #expect(response.body.text == "LIST")
  }

  @Test func redirectsAreNotFollowed() async throws {
    let other = try LocalHTTPServer { _ in .json(200, "{}") }
    let store = try LocalHTTPServer { _ in
      .json(307, "", headers: ["Location": "\(other.address)/b"])
    }
    defer {
      store.stop()
      other.stop()
    }
    let response = try await CurlClient(options()).send(
      HTTPRequest("GET", store.address, headers: [("X-Vault-Token", SecretValue("t"))]))
    #expect(response.status == 307)
    #expect(response.headers["location"] == "\(other.address)/b")
    #expect(other.requests.isEmpty)
  }

  @Test func aProxyThatTheEnvironmentNamesIsNotUsed() async throws {
    let proxy = try LocalHTTPServer { _ in .json(200, "proxy") }
    let store = try LocalHTTPServer { _ in .json(200, "store") }
    defer {
      proxy.stop()
      store.stop()
    }
    setenv("http_proxy", proxy.address, 1)
    setenv("ALL_PROXY", proxy.address, 1)
    defer {
      unsetenv("http_proxy")
      unsetenv("ALL_PROXY")
    }
    let direct = try await CurlClient(options()).send(HTTPRequest("GET", store.address))
    #expect(direct.body.text == "store")
    let through = try await CurlClient(options { $0.proxy = proxy.address })
      .send(HTTPRequest("GET", store.address))
    #expect(through.body.text == "proxy")
  }

  @Test func aStoreThatSaysNothingIsGivenUp() async throws {
    let store = try LocalHTTPServer { _ in .silence }
    defer { store.stop() }
    let failure = try await failure(store, options { $0.timeout = .milliseconds(100) })
    #expect(failure.code == .timeout)
    #expect(failure.reason.contains("within 0.1 seconds"))
  }

  @Test func aCancelledRequestEnds() async throws {
    let hasArrived = Signal<Void>()
    let store = try LocalHTTPServer { _ in
      hasArrived.send()
      return .silence
    }
    defer { store.stop() }
    let address = store.address
    let options = options()
    let task = Task { try await CurlClient(options).send(HTTPRequest("GET", address)) }
    await hasArrived.wait()
    task.cancel()
    let failure = await #expect(throws: HTTPFailure.self) { _ = try await task.value }
    #expect(failure?.code == .cancelled)
  }

  @Test func anAnswerOverTheLimitIsNotKept() async throws {
    let endless = try LocalHTTPServer { _ in .endless }
    let announced = try LocalHTTPServer { _ in .json(200, String(repeating: "x", count: 3_000)) }
    let chatty = try LocalHTTPServer { _ in
      .bytes(
        Array(
          ("HTTP/1.1 200 OK\r\n"
            + String(repeating: "A: \(String(repeating: "b", count: 1_000))\r\n", count: 100)
            + "\r\n").utf8))
    }
    defer { for store in [endless, announced, chatty] { store.stop() } }
    for store in [endless, announced, chatty] {
      let failure = try await failure(store, options { $0.maximumResponseBytes = 2_000 })
      #expect(failure.code == .malformed)
      #expect(failure.reason.contains("larger than the limit"))
    }
  }

  @Test func whatIsNoHTTPIsRefused() async throws {
    let garbage = try LocalHTTPServer { _ in .bytes(Array("\u{1}garbage\r\n\r\n".utf8)) }
    let closing = try LocalHTTPServer { _ in .close }
    defer {
      garbage.stop()
      closing.stop()
    }
    #expect(try await failure(garbage, options()).code == .malformed)
    #expect(try await failure(closing, options()).code == .connection)
    let nobody = try ReservedPort()
    defer { nobody.close() }
    let refused = try await failure(garbage, options(), url: "http://\(nobody.address)/")
    #expect(refused.code == .connection)
    #expect(refused.reason.contains("onnect"))
    for url in ["http://", "gopher://127.0.0.1/", "file:///etc/hostname"] {
      _ = try await failure(garbage, options(), url: url)
    }
  }

  @Test func aHeaderCannotSmuggleAnother() async throws {
    let store = try LocalHTTPServer { _ in .json(200, "{}") }
    defer { store.stop() }
    let failure = await #expect(throws: HTTPFailure.self) {
      _ = try await CurlClient(options()).send(
        HTTPRequest("GET", store.address, headers: [("X", SecretValue("a\r\nY: b"))]))
    }
    #expect(failure?.code == .invalid)
    #expect(store.requests.isEmpty)
  }

  @Test func tlsIsVerifiedByTheAuthorityThatIsGiven() async throws {
    let folder = try ScratchFolder()
    let issued = try DevelopmentCertificates(folder: folder.path).issue(
      hosts: [], clients: [], days: 1, replacesAuthority: false)
    let store = try LocalHTTPServer(
      certificate: (issued.server.certificateFile, issued.server.keyFile)
    ) { _ in .json(200, "{}") }
    defer { store.stop() }
    let trusting = options { $0.caFile = issued.authority.certificateFile }
    let response = try await CurlClient(trusting).send(HTTPRequest("GET", store.address))
    #expect(response.status == 200)
    // The system's authorities did not issue it, and the name in the certificate counts.
    #expect(try await failure(store, options()).code == .tls)
    let other = try LocalHTTPServer(
      host: "127.0.0.2", certificate: (issued.server.certificateFile, issued.server.keyFile)
    ) { _ in .json(200, "{}") }
    defer { other.stop() }
    #expect(try await failure(other, trusting).code == .tls)
    let missing = options { $0.caFile = "\(folder.path)/none.crt" }
    #expect(try await failure(store, missing).code == .tls)
    #expect(store.requests.count + other.requests.count == 1)
  }

  @Test func manyRequestsRunAtATime() async throws {
    let arrived = Mutex(0)
    let all = DispatchGroup()
    all.enter()
    let store = try LocalHTTPServer { request in
      let count = arrived.withLock { count in
        count += 1
        return count
      }
      // None is answered before all have arrived.
      if count == 20 { all.leave() }
      all.wait()
      return .json(200, request.target)
    }
    defer { store.stop() }
    let client = CurlClient(options())
    let address = store.address
    let answers = try await withThrowingTaskGroup(of: String.self) { group in
      for number in 0..<20 {
        group.addTask {
          try await client.send(HTTPRequest("GET", "\(address)/\(number)")).body.text
        }
      }
      return try await group.reduce(into: Set<String>()) { $0.insert($1) }
    }
    #expect(answers == Set((0..<20).map { "/\($0)" }))
  }

  @Test func aCancelledRequestDoesNotHoldUpTheOthers() async throws {
    let hasArrived = Signal<Void>()
    let store = try LocalHTTPServer { request in
      guard request.target == "/hangs" else { return .json(200, "{}") }
      hasArrived.send()
      return .silence
    }
    defer { store.stop() }
    let client = CurlClient(options())
    let address = store.address
    let task = Task { try await client.send(HTTPRequest("GET", "\(address)/hangs")) }
    await hasArrived.wait()
    #expect(try await client.send(HTTPRequest("GET", "\(address)/a")).status == 200)
    task.cancel()
    let failure = await #expect(throws: HTTPFailure.self) { _ = try await task.value }
    #expect(failure?.code == .cancelled)
    #expect(try await client.send(HTTPRequest("GET", "\(address)/b")).status == 200)
  }

  @Test func theBeginningOfALargeAnswerIsKept() async throws {
    let store = try LocalHTTPServer { _ in .json(200, String(repeating: "x", count: 300_000)) }
    defer { store.stop() }
    let client = CurlClient(
      options {
        $0.maximumResponseBytes = 10
        $0.keepsBeginning = true
      })
    let response = try await client.send(HTTPRequest("GET", store.address))
    #expect(response.body.text == "xxxxxxxxxx" && response.bodyBytes == 300_000)
  }

  @Test func whereARequestMayGoIsAskedOfTheAddress() async throws {
    let store = try LocalHTTPServer { _ in .json(200, "{}") }
    defer { store.stop() }
    let asked = Mutex<[String]>([])
    for (allows, host) in [(false, "127.0.0.1"), (false, "localhost"), (true, "127.0.0.1")] {
      var request = HTTPRequest("GET", "http://\(host):\(store.port)/")
      request.allowsAddress = { address in
        asked.withLock { $0.append(address.description) }
        return allows
      }
      let client = CurlClient(options())
      if allows {
        #expect(try await client.send(request).status == 200)
      } else {
        let failure = await #expect(throws: HTTPFailure.self) { _ = try await client.send(request) }
        #expect(failure?.code == .refused)
        #expect(failure?.reason.contains("is not one that may be connected to") == true)
      }
    }
    #expect(asked.withLock { $0 }.contains("127.0.0.1"))
    #expect(store.requests.count == 1)
  }

  /// libcurl takes localhost for ::1 and 127.0.0.1.
  @Test func anAddressThatDoesNotAnswerCountsMoreThanOneThatIsRefused() async throws {
    let store = try LocalHTTPServer { _ in .json(200, "{}") }
    let port = store.port
    store.stop()
    for (refused, allowed) in [("::1", "127.0.0.1"), ("127.0.0.1", "::1")] {
      let asked = Mutex<Set<String>>([])
      var request = HTTPRequest("GET", "http://localhost:\(port)/")
      request.allowsAddress = { address in
        asked.withLock { _ = $0.insert(address.description) }
        return address.description != refused
      }
      let client = CurlClient(options())
      let failure = await #expect(throws: HTTPFailure.self) { _ = try await client.send(request) }
      let all = asked.withLock { $0 }
      // Where there is no IPv6 one address is all there is.
      let isAllowed = all.contains(allowed)
      #expect(failure?.code == (isAllowed ? .connection : .refused), "\(all)")
    }
  }

  @Test func aBodyThatIsEmptyIsAnnouncedAndOneThatIsNoneIsNot() async throws {
    let store = try LocalHTTPServer { _ in .json(200, "{}") }
    defer { store.stop() }
    let client = CurlClient(options())
    _ = try await client.send(HTTPRequest("POST", store.address, body: SecretValue("")))
    _ = try await client.send(HTTPRequest("POST", store.address))
    _ = try await client.send(
      HTTPRequest("PUT", store.address, headers: [("X-Empty", SecretValue(""))]))
    #expect(store.requests.map { $0.headers["content-length"] } == ["0", nil, nil])
    #expect(store.requests.last?.headers["x-empty"] == "")
  }

  @Test func anAnswerToHEADHasNoBody() async throws {
    let store = try LocalHTTPServer { _ in
      .bytes(Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".utf8))
    }
    defer { store.stop() }
    let response = try await CurlClient(options()).send(HTTPRequest("HEAD", store.address))
    #expect(response.status == 200 && response.bodyBytes == 0)
    #expect(store.requests.first?.method == "HEAD")
  }
}
