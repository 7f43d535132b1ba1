import Foundation
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization
import Testing

/// An authority, and a folder for what it issues.
final class TLSFixture {
  static let day: Int64 = 86_400 * 1_000_000

  let folder: URL
  let authority: CertificateAuthority
  /// The authority's certificate as a file.
  let authorityFile: String

  init() throws {
    folder = URL(filePath: NSTemporaryDirectory()).appending(path: "keelson-tls-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    authority = try CertificateAuthority.make(name: "Test CA", validity: Self.days(-1, 365))
    authorityFile = folder.appending(path: "ca.crt").path
    try authority.certificate.pem.write(toFile: authorityFile, atomically: true, encoding: .utf8)
  }

  deinit {
    try? FileManager.default.removeItem(at: folder)
  }

  /// From so many days from now to so many.
  static func days(_ from: Int64, _ to: Int64) -> ClosedRange<UnixTime> {
    let now = UnixTime.now.microseconds
    return UnixTime(microseconds: now + from * day)...UnixTime(microseconds: now + to * day)
  }

  /// Issues a certificate and writes it and its key; the paths of the two.
  @discardableResult
  func issue(
    _ file: String, _ purpose: CertificateAuthority.Purpose = .server,
    commonName: String = "test", names: [String] = ["localhost", "127.0.0.1"],
    validity: ClosedRange<UnixTime> = days(-1, 30), by issuer: CertificateAuthority? = nil
  ) throws -> (certificate: String, key: String) {
    let issued = try (issuer ?? authority).issue(
      purpose, commonName: commonName, names: names, validity: validity)
    let certificate = folder.appending(path: "\(file).crt").path
    let key = folder.appending(path: "\(file).key").path
    try issued.certificate.pem.write(toFile: certificate, atomically: true, encoding: .utf8)
    try issued.key.pem.write(toFile: key, atomically: true, encoding: .utf8)
    return (certificate, key)
  }

  /// A server's settings, its certificate issued for this.
  func server(
    _ authentication: TLSServerConfiguration.ClientAuthentication = .none,
    commonName: String = "test", names: [String] = ["localhost", "127.0.0.1"],
    validity: ClosedRange<UnixTime> = days(-1, 30)
  ) throws -> TLSServerConfiguration {
    let files = try issue("server", commonName: commonName, names: names, validity: validity)
    var configuration = TLSServerConfiguration(
      certificateFile: files.certificate, keyFile: files.key)
    configuration.clientAuthentication = authentication
    configuration.clientCAFile = authentication == .none ? nil : authorityFile
    return configuration
  }

  /// A client that trusts the authority.
  var client: TLSClientConfiguration {
    TLSClientConfiguration(trustRoots: .certificates(.file(authorityFile)))
  }

  /// A client that trusts the authority and has a certificate.
  func client(
    names: [String], by issuer: CertificateAuthority? = nil
  ) throws -> TLSClientConfiguration {
    let files = try issue("client", .client, commonName: "client", names: names, by: issuer)
    var configuration = client
    configuration.credential = .init(
      certificate: .file(files.certificate), key: .file(files.key))
    return configuration
  }
}

/// The ``EchoService`` over TLS on a free port, with a method that says who calls.
struct SecureServer {
  static let who = EchoService.method("Who", .unary)

  let service = EchoService()
  let server: Server
  let certificates: TLSServerCertificates
  let addresses: [BoundAddress]
  let log: LogLines

  init(
    _ configuration: TLSServerConfiguration, now: UnixTime = .now,
    further: [ListenerConfiguration] = []
  ) async throws {
    let log = LogLines()
    self.log = log
    certificates = try TLSServerCertificates(configuration, logger: log.logger, now: now)
    var settings = try ServerConfiguration(
      listeners: [
        ListenerConfiguration(
          ListenAddress(parsing: "127.0.0.1:0"), security: .tls(certificates))
      ] + further)
    settings.loopCount = 2
    let who = Route(
      method: Self.who,
      handler: .unary { _, context in
        guard let identity = context.identity else { return [] }
        return Array(identity.name.utf8)
      })
    server = Server(
      configuration: settings, routes: service.routes + [who], logger: log.logger)
    addresses = try await server.start()
  }

  var port: UInt16 {
    if case .ipv4(_, let port) = addresses[0].address.kind { port } else { 0 }
  }

  func stop() async {
    await server.drain(grace: .zero)
  }
}

/// A channel over TLS and its loop.
struct SecureChannel {
  let loops = LoopGroup(count: 1)
  let channel: HTTP2Channel

  init(_ target: String, _ configuration: TLSClientConfiguration) throws {
    let target = try Target(target)
    var settings = ChannelConfiguration()
    settings.backoff = ConnectionBackoff(initial: .milliseconds(5), maximum: .milliseconds(20))
    channel = try HTTP2Channel(
      target: target, configuration: settings,
      tls: TLSClientContext(configuration, target: target), loops: loops)
  }

  /// Who the server says we are.
  func who() async throws -> String {
    let reply = try await channel.unary(SecureServer.who, [], options: CallOptions())
    return String(decoding: reply.message, as: UTF8.self)
  }

  func expectToBe(_ name: String) async throws {
    let who = try await who()
    #expect(who == name)
  }

  /// What a call fails with.
  func failure() async -> RPCError? {
    do {
      _ = try await channel.unary(EchoService.echo, [1], options: CallOptions())
      return nil
    } catch {
      return error as? RPCError
    }
  }

  func stop() async {
    await channel.shutdown(grace: .zero)
    await loops.stop()
  }
}

/// What was logged.
final class LogLines: Sendable {
  private struct State {
    var lines: [String] = []
    var waiting: [(text: String, signal: Signal<Void>)] = []
  }
  private let state = Mutex(State())

  var all: [String] { state.withLock { $0.lines } }

  var logger: Logger {
    Logger(component: "test", minimum: .debug, humanReadable: true) { [self] line in
      state.withLock { state in
        state.lines.append(line)
        for (text, signal) in state.waiting where line.contains(text) { signal.send() }
      }
    }
  }

  func contains(_ text: String) -> Bool {
    all.contains { $0.contains(text) }
  }

  /// Waits for a line with the text: the other side may know before the log does.
  func wait(for text: String) async {
    let signal = Signal<Void>()
    state.withLock { state in
      if state.lines.contains(where: { $0.contains(text) }) { signal.send() }
      state.waiting.append((text, signal))
    }
    await signal.wait()
  }
}
