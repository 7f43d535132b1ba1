package import KeelsonCore
import Synchronization

/// The values of one store, kept up with it: a failure keeps what there was.
package final class SecretSource: Sendable {
  /// What a look at the store gave.
  package enum Outcome: Sendable, Equatable {
    case unchanged
    /// Which keys have other values, are new, or are gone.
    case changed(keys: [String])
    /// The old values stay.
    case failed(SecretStoreError)
  }

  private struct State {
    var loaded = LoadedSecrets()
    var failure: SecretStoreError?
    var isLoaded = false
    var warnings: Set<String> = []
  }

  package let store: any SecretStore
  package let isOptional: Bool
  private let logger: Logger
  private let state = Mutex(State())

  /// - Parameter isOptional: whether the server starts without it.
  package init(_ store: any SecretStore, isOptional: Bool, logger: Logger) {
    self.store = store
    self.isOptional = isOptional
    self.logger = logger
  }

  package var name: String { store.name }

  /// What the store held when it was last read.
  package var values: [String: SecretValue] { state.withLock { $0.loaded.values } }

  /// Whether it was ever read.
  package var isLoaded: Bool { state.withLock { $0.isLoaded } }

  /// Why the last look failed; nil when it did not.
  package var failure: SecretStoreError? { state.withLock { $0.failure } }

  /// Reads the store for the first time.
  ///
  /// - Throws: ``SecretStoreError`` when it cannot be read and is not optional.
  package func start() async throws {
    if case .failed(let error) = try await reload(), !isOptional {
      throw SecretStoreError(
        error.code,
        "\(error.message) (Mark the store as optional to start without its secrets.)",
        cause: error.cause)
    }
  }

  /// Reads the store again.
  ///
  /// - Throws: `CancellationError` only.
  package func reload() async throws -> Outcome {
    let loaded: LoadedSecrets
    do {
      loaded = try await store.load()
    } catch let error as CancellationError {
      throw error
    } catch {
      let failure =
        error as? SecretStoreError
        ?? SecretStoreError(.failed, "\(name) failed: \(error).")
      let isNews = state.withLock { state in
        defer { state.failure = failure }
        return state.failure != failure
      }
      logger.log(
        isNews ? .error : .debug,
        "Secrets cannot be read, the old values stay: \(failure.message)",
        ["store": name, "cause": failure.cause ?? "none"])
      return .failed(failure)
    }
    return take(loaded)
  }

  private func take(_ loaded: LoadedSecrets) -> Outcome {
    let (changed, warnings, wasFailing) = state.withLock { state in
      defer {
        state.loaded = loaded
        state.failure = nil
        state.isLoaded = true
        state.warnings = Set(loaded.warnings)
      }
      let keys = Set(state.loaded.values.keys).union(loaded.values.keys)
      let changed = keys.filter { state.loaded.values[$0] != loaded.values[$0] }.sorted()
      return (
        changed, loaded.warnings.filter { !state.warnings.contains($0) }, state.failure != nil
      )
    }
    for warning in warnings { logger.log(.warning, warning, ["store": name]) }
    if wasFailing { logger.log(.info, "Secrets can be read again.", ["store": name]) }
    return changed.isEmpty ? .unchanged : .changed(keys: changed)
  }
}

/// Shows a store that cannot be read any more as degraded: its old values are still in use.
package struct SecretStoreHealthCheck: HealthCheck {
  private let source: SecretSource
  package let name: String

  package init(_ source: SecretSource, name: String) {
    self.source = source
    self.name = name
  }

  package var isEssential: Bool { false }

  package func check() async throws -> HealthOutcome {
    guard let failure = source.failure else { return .healthy }
    return .degraded(
      reason:
        "The secret store cannot be read (\(failure.code)): the values of the last time are in "
        + "use.")
  }
}
