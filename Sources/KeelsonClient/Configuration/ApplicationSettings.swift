public import KeelsonConfigurationRules
public import KeelsonCore

/// The settings of an application in an environment, pushed by the server and read in this process.
///
/// ```swift
/// let settings = keelson.configuration(application: "shop")
/// let timeout = settings.duration("Database:Timeout", default: .seconds(5))
/// for await change in settings.changes(of: "Database:Timeout") { … }
/// ```
///
/// A read is a look into memory: synchronous, and never waiting for a network or a disk. It gives
/// the default that was handed in when no settings have arrived yet, or there is no such setting.
/// Keep it for as long as it is read: when nobody holds it or its changes any more, its subscription
/// ends.
public final class ApplicationSettings: Sendable {
  public let application: String
  /// nil: the server's own environment.
  public let environment: String?
  private let subscription: SettingsSubscription
  private let subscriptions: SettingsSubscriptions

  init(
    application: String, environment: String?, subscription: SettingsSubscription,
    subscriptions: SettingsSubscriptions
  ) {
    self.application = application
    self.environment = environment
    self.subscription = subscription
    self.subscriptions = subscriptions
    subscriptions.add(subscription)
  }

  deinit {
    subscriptions.remove(subscription)
    subscription.cancel()
  }

  // MARK: Freshness

  /// Whether any settings have arrived. They may be old since: see ``status``.
  public var isReady: Bool { subscription.snapshot != nil }

  /// How the settings stand: whether there are any, how fresh they are, and what is wrong.
  public var status: SettingsStatus { subscription.status }

  /// Waits until settings have arrived, as long as it takes.
  ///
  /// - Throws: ``RPCError`` when the server refuses them or the client is shut down;
  ///   `CancellationError` when the task is cancelled.
  public func ready() async throws {
    try await subscription.ready()
  }

  /// Waits until settings have arrived.
  ///
  /// - Throws: ``RPCError`` with code UNAVAILABLE, and what went wrong so far, when none have
  ///   after the timeout; otherwise as ``ready()``.
  public func waitUntilReady(timeout: Duration) async throws {
    let isTimely = try await withThrowingTaskGroup(of: Bool.self) { group in
      group.addTask { [subscription] in
        try await subscription.ready()
        return true
      }
      group.addTask {
        try await Task.sleep(for: timeout)
        return false
      }
      defer { group.cancelAll() }
      return try await group.next() ?? false
    }
    guard isTimely || isReady else {
      let reason = status.error?.description ?? "The server has not answered."
      throw RPCError(.unavailable, "No settings have arrived within \(timeout). \(reason)")
    }
  }

  // MARK: Changes

  /// All changes from now on, for one reader. The first settings that arrive are a change, too.
  public var changes: SettingsChanges { subscription.changes(of: self) { _ in true } }

  /// The changes of one setting.
  public func changes(of key: String) -> SettingsChanges {
    subscription.changes(of: self) { $0 == key }
  }

  /// The changes of the settings whose keys begin with a prefix: `Database:`.
  public func changes(prefix: String) -> SettingsChanges {
    subscription.changes(of: self) { $0.hasPrefix(prefix) }
  }

  // MARK: Reads

  /// All settings as they are now: several reads of it belong together.
  public var snapshot: SettingsSnapshot { subscription.snapshot ?? SettingsSnapshot() }

  public subscript(key: String) -> SettingValue? { subscription.snapshot?[key] }

  /// See ``SettingsSnapshot/value(_:as:)``.
  public func value<Value: SettingReadable>(
    _ key: String, as type: Value.Type = Value.self
  ) throws(RPCError) -> Value? {
    try snapshot.value(key, as: type)
  }

  /// See ``SettingsSnapshot/bool(_:default:)``.
  public func bool(_ key: String, default defaultValue: Bool) -> Bool {
    snapshot.bool(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/integer(_:default:)``.
  public func integer(_ key: String, default defaultValue: Int) -> Int {
    snapshot.integer(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/number(_:default:)``.
  public func number(_ key: String, default defaultValue: Double) -> Double {
    snapshot.number(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/string(_:default:)``.
  public func string(_ key: String, default defaultValue: String) -> String {
    snapshot.string(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/duration(_:default:)``.
  public func duration(_ key: String, default defaultValue: Duration) -> Duration {
    snapshot.duration(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/strings(_:default:)``.
  public func strings(_ key: String, default defaultValue: [String]) -> [String] {
    snapshot.strings(key, default: defaultValue)
  }

  /// See ``SettingsSnapshot/decode(_:at:)``.
  public func decode<Value: Decodable>(_ type: Value.Type, at key: String = "") throws -> Value? {
    try snapshot.decode(type, at: key)
  }

  /// A setting as the server has it now, by a key in any case.
  ///
  /// - Returns: also the key as the server knows it; the one that was asked for when it knows none.
  /// - Throws: ``RPCError``.
  func fetch(_ key: String) async throws -> (key: String, setting: SettingsSnapshot.Setting?) {
    try await subscription.fetch(key)
  }

  /// A provider in the shape that swift-configuration's readers expect.
  public var provider: SettingsProvider { SettingsProvider(settings: self) }
}
