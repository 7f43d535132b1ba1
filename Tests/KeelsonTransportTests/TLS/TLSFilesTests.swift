import Foundation
import KeelsonCore
import KeelsonTestKit
import Testing

@testable import KeelsonTransport

/// What is read from files: checks at the start, and reloading.
@Suite(.timeLimit(.minutes(5)))
struct TLSFilesTests {
  let fixture: TLSFixture

  init() throws {
    fixture = try TLSFixture()
  }

  private func problem(_ configuration: TLSServerConfiguration) -> TLSError? {
    do throws(TLSError) {
      _ = try TLSServerCertificates(configuration, logger: .silent)
      return nil
    } catch {
      return error
    }
  }

  @Test func goodFilesAreTaken() throws {
    #expect(problem(try fixture.server(.required)) == nil)
  }

  @Test func aMissingFileIsNamed() throws {
    var configuration = try fixture.server()
    configuration.keyFile = "/nowhere/tls.key"
    #expect(
      problem(configuration)
        == TLSError(
          .unreadableFile,
          "The TLS key file /nowhere/tls.key cannot be read: no such file or directory."))
    configuration.certificateFile = fixture.folder.path
    #expect(problem(configuration)?.message.contains("it is no regular file") == true)
  }

  @Test func aKeyOfAnotherCertificateIsRefused() throws {
    var configuration = try fixture.server()
    configuration.keyFile = try fixture.issue("other").key
    let error = problem(configuration)
    #expect(error?.code == .keyMismatch)
    #expect(error?.message.contains(configuration.keyFile) == true)
    #expect(error?.message.contains(configuration.certificateFile) == true)
  }

  @Test func aCertificateOutsideItsTimeIsRefused() throws {
    let expired = problem(try fixture.server(validity: TLSFixture.days(-20, -10)))
    #expect(expired?.code == .outsideValidity)
    #expect(expired?.message.contains("expired on") == true)
    let future = problem(try fixture.server(validity: TLSFixture.days(10, 20)))
    #expect(future?.code == .outsideValidity)
    #expect(future?.message.contains("is not valid before") == true)
  }

  @Test func filesThatHoldSomethingElseAreRefused() throws {
    var configuration = try fixture.server(.required)
    let (certificate, key) = (configuration.certificateFile, configuration.keyFile)
    configuration.certificateFile = key
    #expect(problem(configuration)?.message.contains("holds no certificate") == true)
    configuration.certificateFile = certificate
    configuration.keyFile = certificate
    #expect(problem(configuration)?.message.contains("holds no private key") == true)
    configuration.keyFile = key
    configuration.clientCAFile = key
    #expect(problem(configuration)?.message.contains("The client CA file") == true)
    configuration.clientCAFile = certificate
    #expect(problem(configuration)?.message.contains("may not issue others") == true)
    configuration.clientCAFile = "/nowhere/ca.crt"
    #expect(problem(configuration)?.message.contains("cannot be read") == true)
  }

  @Test func aDamagedChainIsRefused() throws {
    let configuration = try fixture.server()
    let file = configuration.certificateFile
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let damaged = text + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    try damaged.write(toFile: file, atomically: true, encoding: .utf8)
    #expect(problem(configuration)?.message.contains("damaged at certificate number 2") == true)
  }

  @Test func aKeyBehindAPassphraseIsRefused() throws {
    let configuration = try fixture.server()
    let text = """
      -----BEGIN ENCRYPTED PRIVATE KEY-----
      MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAi0hVTNXQ4Y1wICCAAw
      DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEPiDqHqrYG9TzDSnbFOXwpAEgZBn
      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
      -----END ENCRYPTED PRIVATE KEY-----
      """
    try text.write(toFile: configuration.keyFile, atomically: true, encoding: .utf8)
    #expect(problem(configuration)?.message.contains("encrypted with a passphrase") == true)
  }

  // MARK: Reloading

  @Test func changedFilesAreTakenForNewConnections() async throws {
    let configuration = try fixture.server()
    let log = LogLines()
    let certificates = try TLSServerCertificates(configuration, logger: log.logger)
    let first = certificates.context.certificate.fingerprint
    #expect(certificates.reloadIfChanged() == false)
    _ = try fixture.server()
    #expect(certificates.reloadIfChanged() == true)
    #expect(certificates.context.certificate.fingerprint != first)
    #expect(log.contains("loaded anew"))
    #expect(certificates.reloadIfChanged() == false)
  }

  @Test func filesThatDoNotFitAreRefusedOnce() async throws {
    let configuration = try fixture.server()
    let log = LogLines()
    let certificates = try TLSServerCertificates(configuration, logger: log.logger)
    let first = certificates.context.certificate.fingerprint
    // As when the certificate is replaced ahead of its key.
    let other = try fixture.issue("other")
    let (files, manager) = (configuration, FileManager.default)
    try manager.removeItem(atPath: files.certificateFile)
    try manager.copyItem(atPath: other.certificate, toPath: files.certificateFile)
    #expect(certificates.reloadIfChanged() == false)
    #expect(certificates.reloadIfChanged() == false)
    #expect(certificates.context.certificate.fingerprint == first)
    let refusals = log.all.filter { $0.contains("are not used, the old ones stay") }
    #expect(refusals.count == 1)
    #expect(refusals.first?.contains(files.keyFile) == true)
    try manager.removeItem(atPath: files.keyFile)
    #expect(certificates.reloadIfChanged() == false)
    try manager.copyItem(atPath: other.key, toPath: files.keyFile)
    #expect(certificates.reloadIfChanged() == true)
    #expect(certificates.context.certificate.fingerprint != first)
  }

  @Test func aLinkThatLeadsElsewhereIsAChange() throws {
    // Kubernetes: tls.crt -> ..data/tls.crt, and ..data -> a folder that is swapped.
    let manager = FileManager.default
    let data = fixture.folder.appending(path: "..data").path
    func issue(_ folder: String) throws {
      try manager.createDirectory(
        at: fixture.folder.appending(path: folder), withIntermediateDirectories: true)
      try fixture.issue("\(folder)/tls")
    }
    try issue("1")
    try manager.createSymbolicLink(atPath: data, withDestinationPath: "1")
    for name in ["tls.crt", "tls.key"] {
      try manager.createSymbolicLink(
        atPath: fixture.folder.appending(path: name).path, withDestinationPath: "..data/\(name)")
    }
    let certificates = try TLSServerCertificates(
      TLSServerConfiguration(
        certificateFile: fixture.folder.appending(path: "tls.crt").path,
        keyFile: fixture.folder.appending(path: "tls.key").path), logger: .silent)
    let first = certificates.context.certificate.fingerprint
    try issue("2")
    #expect(certificates.reloadIfChanged() == false)
    let next = fixture.folder.appending(path: "..data_tmp").path
    try manager.createSymbolicLink(atPath: next, withDestinationPath: "2")
    #expect(rename(next, data) == 0)
    #expect(certificates.reloadIfChanged() == true)
    #expect(certificates.context.certificate.fingerprint != first)
  }

  @Test func anExpiryThatIsNearIsLoggedOnce() throws {
    let log = LogLines()
    let configuration = try fixture.server(validity: TLSFixture.days(-1, 13))
    let certificates = try TLSServerCertificates(configuration, logger: log.logger)
    certificates.reloadIfChanged()
    #expect(log.all.filter { $0.contains("WARNING") && $0.contains("expires soon") }.count == 1)
    _ = try fixture.server(validity: TLSFixture.days(-1, 12))
    certificates.reloadIfChanged()
    #expect(log.all.filter { $0.contains("expires soon") }.count == 2)
    _ = try fixture.server(validity: TLSFixture.days(-1, 30))
    certificates.reloadIfChanged()
    #expect(log.all.filter { $0.contains("expires soon") }.count == 2)
  }

  @Test func aClientsFilesAreReadAnewAheadOfAConnection() throws {
    let configuration = try fixture.client(names: ["a.example"])
    let context = try TLSClientContext(configuration, target: Target("localhost:1"))
    let first = context.tls
    context.reloadIfChanged()
    #expect(context.tls === first)
    _ = try fixture.client(names: ["b.example"])
    context.reloadIfChanged()
    let second = context.tls
    #expect(second !== first)
    // What does not fit is not taken.
    let other = try fixture.issue("other", .client)
    let key = fixture.folder.appending(path: "client.key").path
    try FileManager.default.removeItem(atPath: key)
    try FileManager.default.copyItem(atPath: other.key, toPath: key)
    context.reloadIfChanged()
    #expect(context.tls === second)
  }

  // MARK: Certificates

  @Test func aCertificateSaysWhoItsOwnerIs() throws {
    let issued = try fixture.authority.issue(
      .client, commonName: "Wörker",
      names: [
        "spiffe://example.org/worker", "worker.example", "*.worker.example", "10.0.0.1", "::1",
        "ops@example.org",
      ], validity: TLSFixture.days(-1, 1))
    let identity = issued.certificate.identity
    #expect(identity.names.commonName == "Wörker")
    #expect(identity.names.subject == "CN=Wörker")
    #expect(identity.names.uris == ["spiffe://example.org/worker"])
    #expect(identity.names.dnsNames == ["worker.example", "*.worker.example"])
    #expect(identity.names.ipAddresses == ["10.0.0.1", "::1"])
    #expect(identity.names.emailAddresses == ["ops@example.org"])
    #expect(identity.name == "spiffe://example.org/worker")
    #expect(identity.fingerprint.count == 64)
    #expect(issued.certificate.issuer == "CN=Test CA")
    #expect(!issued.certificate.isCA)
    #expect(fixture.authority.certificate.isCA)
  }

  @Test func theNameFallsBack() {
    var names = PeerIdentity.Names()
    names.subject = "O=Example"
    #expect(PeerIdentity(names: names, fingerprint: "").name == "O=Example")
    names.commonName = "a"
    #expect(PeerIdentity(names: names, fingerprint: "").name == "a")
    names.dnsNames = ["b.example"]
    #expect(PeerIdentity(names: names, fingerprint: "").name == "b.example")
  }

  @Test func namesThatAreNoneAreNotIssued() {
    for name in ["", "a,DNS:b", "a b", "a\u{0}b"] {
      #expect(throws: TLSError.self) {
        try fixture.authority.issue(
          .server, commonName: "x", names: [name], validity: TLSFixture.days(-1, 1))
      }
    }
  }

  @Test func ticketKeysRotate() throws {
    let keys = TicketKeys()
    let start = ContinuousClock.now
    let first = try #require(keys.current(at: start))
    #expect(keys.current(at: start + .seconds(3_600))?.name == first.name)
    let second = try #require(keys.current(at: start + .seconds(13 * 3_600)))
    #expect(second.name != first.name)
    let old = first.name.withUnsafeBufferPointer { keys.find($0, at: start + .seconds(13 * 3_600)) }
    #expect(old?.isCurrent == false)
    let gone = first.name.withUnsafeBufferPointer {
      keys.find($0, at: start + .seconds(25 * 3_600))
    }
    #expect(gone == nil)
  }
}
