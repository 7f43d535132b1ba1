import Foundation
import KeelsonCacheRules
import KeelsonCore
import KeelsonRedis
import KeelsonTestKit
import KeelsonTransport
import Testing

/// How one logs in, and over what.
@Suite(.timeLimit(.minutes(10))) struct RedisRightsTests {
  /// The user that docs/cache.md describes can do all, and no more than is needed.
  @Test func theUserOfTheDocumentsHasTheRightsItNeeds() async throws {
    let page = try String(contentsOfFile: Self.root + "/docs/cache.md", encoding: .utf8)
    let start = try #require(page.firstRange(of: "ACL SETUSER"))
    let end = try #require(page[start.lowerBound...].firstRange(of: "```"))
    let rights = page[start.lowerBound..<end.lowerBound].split(whereSeparator: \.isWhitespace)
      .map { $0 == ">PASSWORD" ? "'>s3cret'" : "'\($0)'" }
    let server = try PrivateRedis()
    try await server.run(rights.joined(separator: " "))
    var limits = RedisConfiguration.Limits()
    limits.lookInterval = .milliseconds(20)
    let url = "redis://keelson:s3cret@127.0.0.1:\(server.port)"
    try await RedisTestEngines.run(on: url, limits: limits) { engines in
      for name in ["simple model", "fills", "touched", "how much", "again and again"] {
        let cases = CacheEngineConformance.cases.filter { $0.testDescription.contains(name) }
        for conformance in cases { try await conformance.check(engines[0]) }
      }
      try await eventually { try await server.run("HLEN keelson:cache:bans") == ["0"] }
      try await server.run("CONFIG SET maxmemory 1mb")
      try await eventually { try await engines[0].set([write("a:b:c:d", "x")]) == [.full] }
      // Nothing was refused. Redis keeps the last refusals in its log.
      #expect(try await server.run("ACL LOG") == [""])
    }
    await server.stop()
  }

  /// Waiting would not give the user the rights that it lacks: it is said at once.
  @Test(arguments: ["subscribe", "zrange", "role", "hmset"])
  func tooFewRightsAreSaidAtTheStart(_ missing: String) async throws {
    let server = try PrivateRedis()
    try await server.run("ACL SETUSER few on '>s3cret' '~*' '&*' +@all -\(missing)")
    let loops = LoopGroup(count: 1)
    var configuration = RedisConfiguration(
      url: try RedisURL("redis://few:s3cret@127.0.0.1:\(server.port)"))
    configuration.limits.commandTimeout = .seconds(5)
    let engine = try RedisCacheEngine(configuration, loops: loops, logger: .silent)
    let error = await #expect(throws: CacheEngineError.self) { try await engine.start() }
    #expect(error?.code == .failed)
    #expect(error?.message.contains("too few rights") == true, "\(error?.message ?? "")")
    // Of what a script lacks Redis does not give the name.
    let name = missing == "hmset" ? "executing the script" : "'\(missing)'"
    #expect(error?.message.contains(name) == true, "\(error?.message ?? "")")
    await engine.close()
    await loops.stop()
    await server.stop()
  }

  private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

  @Test func speaksOverTLSWithWhomItTrusts() async throws {
    let folder = try ScratchFolder()
    let validity = UnixTime.now + .seconds(-60)...(UnixTime.now + .seconds(86_400))
    let authority = try CertificateAuthority.make(name: "Test CA", validity: validity)
    let other = try CertificateAuthority.make(name: "Other CA", validity: validity)
    let issued = try authority.issue(
      .server, commonName: "redis", names: ["127.0.0.1"], validity: validity)
    let ca = try folder.write("ca.pem", authority.certificate.pem)
    let otherCA = try folder.write("other.pem", other.certificate.pem)
    let certificate = try folder.write("server.pem", issued.certificate.pem)
    let key = try folder.write("server.key", issued.key.pem)
    let reserved = try ReservedPort()
    let port = reserved.port
    reserved.close()
    // With certificates of clients, by whom the server's was issued.
    let server = try PrivateRedis(settings: [
      "--tls-port \(port)", "--tls-cert-file \(certificate)", "--tls-key-file \(key)",
      "--tls-ca-cert-file \(ca)",
    ])
    let place = "rediss://127.0.0.1:\(port)/3"
    try await RedisTestEngines.run(on: "\(place)?ca=\(ca)&cert=\(certificate)&key=\(key)") {
      engines in
      let large = String(repeating: "0123456789", count: 50_000)
      let keys = (0..<20).map { "acme:books:invoice:\($0)" }
      _ = try await engines[0].set(keys.map { write($0, large, tags: ["a"]) })
      let found = try await engines[0].get(keys)
      #expect(found.allSatisfy { $0?.value == Array(large.utf8) })
      _ = try await engines[0].invalidate(.tags(["a"]))
      #expect(try await engines[0].get(keys).allSatisfy { $0 == nil })
    }
    for (url, reason) in [
      ("\(place)?ca=\(otherCA)", "certificate"), ("\(place)?ca=\(folder.path)/none", "none"),
      ("redis://127.0.0.1:\(port)", "Redis"), ("rediss://127.0.0.1:\(server.port)?ca=\(ca)", "TLS"),
    ] {
      let loops = LoopGroup(count: 1)
      do {
        let engine = try RedisCacheEngine(
          RedisConfiguration(url: try RedisURL(url)), loops: loops, logger: .silent)
        try? await engine.start()
        let error = await #expect(throws: CacheEngineError.self) {
          try await engine.get(["a:b:c:d"])
        }
        #expect(error?.message.contains(reason) == true, "\(url): \(error?.message ?? "")")
        await engine.close()
      } catch {
        #expect(error.message.contains(reason), "\(url): \(error)")
      }
      await loops.stop()
    }
    await server.stop()
  }
}
