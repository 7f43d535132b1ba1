import KeelsonCore
import KeelsonStore
import KeelsonTransport

/// Hears of the changes of other nodes, reads them from the tables and tells them to the observers
/// of this one.
///
/// A notification says only that there is something to read. So does a new connection, and a timer
/// now and then, in case that notifications do not come.
///
/// `@unchecked Sendable`: touched on its loop only.
final class ChangeListener: @unchecked Sendable {
  private let kept: KeptConnection
  private let published: PublishedChanges
  private let limits: PostgresConfiguration.Limits
  private let loop: Loop
  private let logger: Logger
  private let onCutOff: (StoreError) -> Void
  private var isReading = false
  /// Whether there may be more than what is being read.
  private var isStale = false
  private var timer: Loop.Timer?
  private var isClosed = false

  init(
    _ settings: ConnectionSettings, published: PublishedChanges,
    limits: PostgresConfiguration.Limits, on loop: Loop, logger: Logger,
    isOwn: @escaping (Int32) -> Bool, onCutOff: @escaping (StoreError) -> Void
  ) {
    self.published = published
    self.limits = limits
    self.loop = loop
    self.logger = logger
    self.onCutOff = onCutOff
    let wake = WakeAction()
    kept = KeptConnection(
      "hears of changes", settings, limits: limits, on: loop, logger: logger
    ) { connection in
      connection.onNotification = { payload, sender in
        // What this node's own writer did it publishes itself.
        if !isOwn(sender), !published.includes(payload) { wake.action?() }
      }
      let results = try await connection.run([
        Session.writer(limits), SQLStatement("LISTEN \(PostgresWriter.channel)"), Session.place,
      ])
      try Session.checkIsPrimary(results.last, settings)
    }
    wake.action = { [weak self] in self?.look() }
  }

  /// Lets the connection's closure reach the listener that is being made.
  private final class WakeAction {
    var action: (() -> Void)?
  }

  /// How its connection is; good from any thread.
  var status: KeptConnection.Status { kept.status }

  /// Begins to hear. On the loop.
  ///
  /// - Throws: ``StoreError`` when there is no connection.
  func start() async throws {
    kept.onOpen = { [weak self] in self?.look() }
    try await kept.start()
    look()
    scheduleLook()
  }

  /// On the loop.
  func close() {
    isClosed = true
    if let timer { loop.cancel(timer) }
    timer = nil
    kept.close()
  }

  private func scheduleLook() {
    timer = loop.schedule(after: limits.pollInterval) { [weak self] in
      guard let self, !isClosed else { return }
      look()
      scheduleLook()
    }
  }

  /// Reads what is new; a call while it reads has it look once more.
  func look() {
    guard !isClosed else { return }
    isStale = true
    guard !isReading else { return }
    isReading = true
    Task(executorPreference: loop) { [self] in
      defer { isReading = false }
      while isStale, !isClosed, kept.isOpen {
        isStale = false
        do {
          try await published.catchUp(on: try await kept.connection())
        } catch let error as StoreError where error.code == .revisionTooOld {
          onCutOff(error)
          return
        } catch {
          // A lost connection comes back and has this look again; so does the timer.
          logger.log(.debug, "Changes of other nodes could not be read: \(error)")
        }
      }
    }
  }
}
