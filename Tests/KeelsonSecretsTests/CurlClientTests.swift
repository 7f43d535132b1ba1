import Foundation
import KeelsonTestKit
import KeelsonTransport
import Testing

@testable import KeelsonSecrets

@Suite(.timeLimit(.minutes(5))) struct CurlClientTests {
  private func options(_ change: (inout HTTPOptions) -> Void = { _ in }) -> HTTPOptions {
    var options = HTTPOptions()
    options.timeout = .seconds(20)
    change(&options)
    return options
  }

  private func failure(
    _ store: LocalStore, _ options: HTTPOptions, url: String? = nil
  ) async throws -> HTTPFailure {
    try await #require(throws: HTTPFailure.self) {
      _ = try await CurlClient(options).send(HTTPRequest("GET", url ?? "\(store.address)/a"))
    }
  }

  @Test func aRequestIsSentAsItIsAndItsConnectionUsedAgain() async throws {
    let store = try LocalStore { .json(201, "[\($0.body.utf8.count)]", headers: ["X-Y": " z "]) }
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
    let store = try LocalStore { .json(200, $0.method) }
    defer { store.stop() }
    let response = try await CurlClient(options()).send(HTTPRequest("LIST", store.address))
    #expect(response.body.text == "LIST")
  }

  @Test func redirectsAreNotFollowed() async throws {
    let other = try LocalStore { _ in .json(200, "{}") }
    let store = try LocalStore { _ in .json(307, "", headers: ["Location": "\(other.address)/b"]) }
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
    let proxy = try LocalStore { _ in .json(200, "proxy") }
    let store = try LocalStore { _ in .json(200, "store") }
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
    let store = try LocalStore { _ in .silence }
    defer { store.stop() }
    let failure = try await failure(store, options { $0.timeout = .milliseconds(100) })
    #expect(failure.code == .timeout)
    #expect(failure.reason.contains("within 0.1 seconds"))
  }

  @Test func aCancelledRequestEnds() async throws {
    let hasArrived = Signal<Void>()
    let store = try LocalStore { _ in
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
    let endless = try LocalStore { _ in .endless }
    let announced = try LocalStore { _ in .json(200, String(repeating: "x", count: 3_000)) }
    let chatty = try LocalStore { _ in
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
    let garbage = try LocalStore { _ in .bytes(Array("\u{1}garbage\r\n\r\n".utf8)) }
    let closing = try LocalStore { _ in .close }
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
    let store = try LocalStore { _ in .json(200, "{}") }
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
    let store = try LocalStore(
      certificate: (issued.server.certificateFile, issued.server.keyFile)
    ) { _ in .json(200, "{}") }
    defer { store.stop() }
    let trusting = options { $0.caFile = issued.authority.certificateFile }
    let response = try await CurlClient(trusting).send(HTTPRequest("GET", store.address))
    #expect(response.status == 200)
    // The system's authorities did not issue it, and the name in the certificate counts.
    #expect(try await failure(store, options()).code == .tls)
    let other = try LocalStore(
      host: "127.0.0.2", certificate: (issued.server.certificateFile, issued.server.keyFile)
    ) { _ in .json(200, "{}") }
    defer { other.stop() }
    #expect(try await failure(other, trusting).code == .tls)
    let missing = options { $0.caFile = "\(folder.path)/none.crt" }
    #expect(try await failure(store, missing).code == .tls)
    #expect(store.requests.count + other.requests.count == 1)
  }
}
