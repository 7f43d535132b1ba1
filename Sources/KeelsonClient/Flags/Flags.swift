public import KeelsonCore
public import KeelsonFlagRules

/// Feature flags, evaluated in this process.
///
/// The server pushes the rules of one flag set in one environment, and each change as it happens.
/// Evaluating is a look into memory: synchronous, cheap enough for any path, and never waiting
/// for a network, a disk or a lock that is held for long.
///
/// An evaluation gives the default that was handed in when no rules have arrived yet, the flag is
/// missing, archived, disabled or of another type, or has no variant for the context. `…Details`
/// says which.
public struct Flags: Sendable {
  private let store: FlagStore
  /// Lies under the context of every evaluation.
  private let context: EvaluationContext

  init(store: FlagStore, context: EvaluationContext) {
    self.store = store
    self.context = context
  }

  // MARK: Freshness

  /// Whether any rules have arrived. They may be old since: see ``status``.
  public var isReady: Bool { store.rules != nil }

  /// How the flags stand: whether there are any, how fresh they are, and what is wrong.
  public var status: FlagsStatus { store.status }

  /// What can be relied on; ``status`` has the details.
  public var state: FlagsState { status.state }

  /// Everything up to and including this revision is in the rules; 0 before any have arrived.
  public var revision: Int64 { store.rules?.revision ?? 0 }

  /// Waits until rules have arrived, as long as it takes.
  ///
  /// - Throws: ``RPCError`` when the server refuses the flags or the client is shut down;
  ///   `CancellationError` when the task is cancelled.
  public func ready() async throws {
    try await store.ready()
  }

  /// Waits until rules have arrived.
  ///
  /// - Throws: ``RPCError`` with code UNAVAILABLE, and what went wrong so far, when none have
  ///   after the timeout; otherwise as ``ready()``.
  public func waitUntilReady(timeout: Duration) async throws {
    let isTimely = try await withThrowingTaskGroup(of: Bool.self) { group in
      group.addTask {
        try await store.ready()
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
      throw RPCError(.unavailable, "No flags have arrived within \(timeout). \(reason)")
    }
  }

  /// The changes from now on, for one reader. The first rules that arrive are a change, too.
  ///
  /// ```swift
  /// for await change in keelson.flags.changes where change.concerns("log-level") {
  ///   logger.level = keelson.flags.string("log-level", default: "info")
  /// }
  /// ```
  public var changes: FlagChanges { store.changes() }

  // MARK: What there is

  /// The keys of all flags, in no particular order.
  public var keys: [String] { store.rules.map { Array($0.set.keys) } ?? [] }

  /// Flags whose targeting this version of the library cannot read, with the reason. They give
  /// their defaults with PARSE_ERROR.
  public var failures: [String: RuleError] { store.rules?.set.failures ?? [:] }

  // MARK: Evaluation

  /// The value of a boolean flag for a context.
  public func bool(
    _ key: String, default defaultValue: Bool, context: EvaluationContext = .empty
  ) -> Bool {
    store.rules?.set.evaluate(key, context: merged(context)).bool ?? defaultValue
  }

  /// The value of a string flag for a context.
  public func string(
    _ key: String, default defaultValue: String, context: EvaluationContext = .empty
  ) -> String {
    store.rules?.set.evaluate(key, context: merged(context)).string ?? defaultValue
  }

  /// The value of a number flag for a context.
  public func number(
    _ key: String, default defaultValue: Double, context: EvaluationContext = .empty
  ) -> Double {
    store.rules?.set.evaluate(key, context: merged(context)).number ?? defaultValue
  }

  /// The value of a number flag for a context as a whole number. A value with a fraction, or too
  /// large for an `Int`, gives the default.
  public func integer(
    _ key: String, default defaultValue: Int, context: EvaluationContext = .empty
  ) -> Int {
    store.rules?.set.evaluate(key, context: merged(context)).number
      .flatMap(Int.init(exactly:)) ?? defaultValue
  }

  /// The value of an object flag for a context.
  public func object(
    _ key: String, default defaultValue: JSONValue, context: EvaluationContext = .empty
  ) -> JSONValue {
    store.rules?.set.evaluate(key, context: merged(context)).object.map(JSONValue.object)
      ?? defaultValue
  }

  func merged(_ other: EvaluationContext) -> EvaluationContext {
    // Most clients have no context of their own.
    context.attributes.isEmpty && context.targetingKey == nil ? other : context.merging(other)
  }

  /// The rules now, for an evaluation with details.
  var rules: FlagStore.Rules? { store.rules }
}
