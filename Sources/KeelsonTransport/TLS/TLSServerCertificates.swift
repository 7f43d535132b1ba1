package import KeelsonCore
import Synchronization

/// A server's certificate, key and client CA, kept up with their files: a new connection gets
/// what the files held when they were last seen to be good; old connections keep what they have.
package final class TLSServerCertificates: Sendable {
  /// Whoever issues the certificate hears this long ahead that it will expire.
  private static let warningAhead: Duration = .seconds(14 * 86_400)
  private static let warningInterval: Duration = .seconds(86_400)

  package let configuration: TLSServerConfiguration
  private let logger: Logger
  private let ticketKeys = TicketKeys()

  private struct State {
    var context: TLSServerContext
    /// The files as they were when they were last read, taken over or not.
    var seen: [FileSignature?]
    var lastWarning: ContinuousClock.Instant?
  }
  private let state: Mutex<State>

  /// Reads and checks the files.
  ///
  /// - Throws: ``TLSError`` whose sentence names the file and the cause.
  package init(
    _ configuration: TLSServerConfiguration, logger: Logger, now: UnixTime = .now
  ) throws(TLSError) {
    self.configuration = configuration
    self.logger = logger
    // Before reading: what changes in between is read once more.
    let seen = Self.signatures(configuration)
    let context = try TLSServerContext(configuration, ticketKeys: ticketKeys, now: now)
    state = Mutex(State(context: context, seen: seen))
    warnIfExpiring(isNew: true)
  }

  /// One of the files of a configuration.
  package enum File: Sendable, Hashable {
    case certificate, key, clientCA
  }

  /// What is wrong with the files, each of them looked at by itself, and then together.
  package static func problems(
    _ configuration: TLSServerConfiguration, now: UnixTime = .now
  ) -> [(file: File, error: TLSError)] {
    var problems: [(file: File, error: TLSError)] = []
    func check(_ file: File, _ body: () throws(TLSError) -> Void) {
      do throws(TLSError) {
        try body()
      } catch {
        problems.append((file, error))
      }
    }
    check(.certificate) { () throws(TLSError) in
      let file = configuration.certificateFile
      _ = try Certificate.all(
        inPEM: PEMFile(file, what: "TLS certificate").bytes,
        name: "The TLS certificate file \(file)")
    }
    check(.key) { () throws(TLSError) in
      let file = configuration.keyFile
      _ = try PrivateKey(
        pem: PEMFile(file, what: "TLS key").bytes, name: "The TLS key file \(file)")
    }
    check(.clientCA) { () throws(TLSError) in _ = try TLSServerContext.clientCA(configuration) }
    guard problems.isEmpty else { return problems }
    check(.certificate) { () throws(TLSError) in
      _ = try TLSServerContext(configuration, ticketKeys: TicketKeys(), now: now)
    }
    return problems
  }

  /// What new connections begin with.
  package var context: TLSServerContext { state.withLock { $0.context } }

  /// Looks at the files again and again, until the task is cancelled.
  package func watch() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: configuration.reloadInterval)
      reloadIfChanged()
    }
  }

  /// Looks at the files once. Files that changed are taken for new connections if they are good
  /// together; otherwise what there was stays, and the log says why.
  ///
  /// - Returns: whether they were taken.
  @discardableResult
  package func reloadIfChanged() -> Bool {
    let now = Self.signatures(configuration)
    let hasChanged = state.withLock { state in
      defer { state.seen = now }
      return state.seen != now
    }
    guard hasChanged else {
      warnIfExpiring(isNew: false)
      return false
    }
    do throws(TLSError) {
      let context = try TLSServerContext(configuration, ticketKeys: ticketKeys, now: .now)
      state.withLock { $0.context = context }
      logger.log(
        .info, "The TLS certificate was loaded anew.",
        [
          "subject": context.certificate.subject,
          "not_after": context.certificate.notAfter.toTheSecond,
          "fingerprint": context.certificate.fingerprint,
        ])
      warnIfExpiring(isNew: true)
      return true
    } catch {
      logger.log(
        .error, "The changed TLS files are not used, the old ones stay: \(error.message)",
        ["cause": error.cause ?? "none"])
      return false
    }
  }

  private static func signatures(_ configuration: TLSServerConfiguration) -> [FileSignature?] {
    [configuration.certificateFile, configuration.keyFile, configuration.clientCAFile]
      .map { $0.flatMap(FileSignature.init(path:)) }
  }

  private func warnIfExpiring(isNew: Bool) {
    let now = ContinuousClock.now
    let due: Certificate? = state.withLock { state in
      let certificate = state.context.certificate
      let end = UnixTime.now.microseconds + Self.warningAhead.components.seconds * 1_000_000
      guard certificate.notAfter.microseconds < end else { return nil }
      if !isNew, let last = state.lastWarning, last.duration(to: now) < Self.warningInterval {
        return nil
      }
      state.lastWarning = now
      return certificate
    }
    guard let due else { return }
    let hasExpired = due.notAfter < .now
    logger.log(
      hasExpired ? .error : .warning,
      "The TLS certificate in \(configuration.certificateFile) "
        + (hasExpired ? "has expired" : "expires soon")
        + ": put a new one in its place, it is loaded without a restart.",
      ["subject": due.subject, "not_after": due.notAfter.toTheSecond])
  }
}
