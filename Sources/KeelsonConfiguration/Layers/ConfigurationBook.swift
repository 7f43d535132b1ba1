import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore
import Synchronization

/// All settings and schemas in memory. Reading and watching use it; it is filled once at start and
/// then follows the committed changes, each applied before the call that made it is answered, so
/// that a caller reads its own writes. Secrets stay sealed in it.
final class ConfigurationBook: Sendable {
  typealias API = KeelsonConfigurationV1

  /// A schema as it was defined, and as it checks.
  struct Schema: Sendable {
    var message: API.Schema
    var rules: ConfigurationSchema

    init(_ message: API.Schema) {
      self.message = message
      rules = ConfigurationSchema(stored: message)
    }
  }

  fileprivate struct State {
    var schemas: [String: Schema] = [:]
    var rooms: [ConfigurationScope: ConfigurationRoom] = [:]
    /// Lower layers that were read, for when their reload has been committed, by its id.
    var pending: [String: ConfigurationRoom.Lower] = [:]
    /// The last revision applied, whatever it was about.
    var revision: Int64 = 0
  }

  private let state = Mutex(State())

  /// What a committed change did to one environment.
  struct Effect: Sendable {
    var scope: ConfigurationScope
    var room: ConfigurationRoom
    /// The keys whose setting is another now.
    var keys: [String]
  }

  // MARK: Reading

  var revision: Int64 { state.withLock { $0.revision } }

  /// The settings of a scope, with the revision that they are up to; an unknown one has none.
  func room(_ scope: ConfigurationScope) -> (room: ConfigurationRoom, revision: Int64) {
    state.withLock { ($0.room(scope), $0.revision) }
  }

  /// An application's schema; nil when none was defined.
  func schema(of application: String) -> Schema? {
    state.withLock { $0.schemas[application] }
  }

  /// Every application with its environments, by name.
  func applications() -> [String: [String: ConfigurationRoom]] {
    state.withLock { state in
      var applications: [String: [String: ConfigurationRoom]] = [:]
      for application in state.schemas.keys { applications[application] = [:] }
      for (scope, room) in state.rooms {
        applications[scope.application, default: [:]][scope.environment] = room
      }
      return applications
    }
  }

  // MARK: Writing

  /// Fills the book with what the store holds at a revision.
  func load(
    schemas: [API.Schema], environments: [(ConfigurationScope, revision: Int64)],
    settings: [(ConfigurationScope, API.StoredSetting)], revision: Int64
  ) {
    var loaded = State()
    loaded.revision = revision
    for schema in schemas { loaded.schemas[schema.application] = Schema(schema) }
    var api: [ConfigurationScope: [String: API.StoredSetting]] = [:]
    for (scope, setting) in settings { api[scope, default: [:]][setting.key] = setting }
    for (scope, revision) in environments {
      loaded.rooms[scope] = ConfigurationRoom(
        schema: loaded.schemas[scope.application]?.rules ?? .open, api: api[scope] ?? [:],
        revision: revision)
    }
    let complete = loaded
    state.withLock { $0 = complete }
  }

  /// Applies a committed change of settings. Called in the order of revisions, by one thread.
  ///
  /// - Parameter isRenewal: whether secrets were only sealed anew, which is no change to a reader.
  func apply(_ change: API.StoredChange, revision: Int64, isRenewal: Bool = false) -> Effect {
    let scope = ConfigurationScope(change)
    let room = state.withLock { state in
      state.revision = revision
      state.makeRoom(scope)
      // In place: of many settings few change.
      state.rooms[scope]?.apply(change)
      if !isRenewal { state.rooms[scope]?.revision = revision }
      return state.room(scope)
    }
    let keys = isRenewal ? [] : change.settings.map(\.key) + change.removedKeys
    return Effect(scope: scope, room: room, keys: keys)
  }

  /// Applies a committed schema to every environment of its application.
  func apply(_ schema: API.Schema, revision: Int64) -> [Effect] {
    let rooms = state.withLock { state in
      state.rooms.filter { $0.key.application == schema.application }
    }
    let compiled = Schema(schema)
    // Outside the lock, so that nobody who reads waits for it.
    let effects = rooms.map { scope, room in
      let next = room.with(schema: compiled.rules)
      return Effect(scope: scope, room: next, keys: next.keys(differingFrom: room))
    }
    state.withLock { state in
      state.revision = revision
      state.schemas[schema.application] = compiled
      for effect in effects { state.rooms[effect.scope] = effect.room }
    }
    return effects
  }

  /// Applies a committed reload, if it is one of this server's.
  func applyReload(_ id: String, of scope: ConfigurationScope, revision: Int64) -> Effect? {
    let (pending, before) = state.withLock { state in
      (state.pending.removeValue(forKey: id), state.room(scope))
    }
    guard let pending else { return nil }
    let next = before.with(lower: pending)
    // Together: who makes a snapshot of this revision has to find these layers in it.
    state.withLock { state in
      state.revision = revision
      state.rooms[scope] = next
    }
    return Effect(scope: scope, room: next, keys: next.keys(differingFrom: before))
  }

  /// Notes a committed change that is not about settings.
  func advance(to revision: Int64) {
    state.withLock { $0.revision = revision }
  }

  /// Keeps lower layers until their reload is committed.
  func prepare(_ lower: ConfigurationRoom.Lower, as id: String) {
    state.withLock { $0.pending[id] = lower }
  }

  func forget(_ id: String) {
    state.withLock { $0.pending[id] = nil }
  }

  /// Notes how reading the lower layers went, where that changes no setting.
  func note(_ scope: ConfigurationScope, _ change: (inout ConfigurationRoom.Lower) -> Void) {
    state.withLock { state in
      state.makeRoom(scope)
      state.rooms[scope]?.note(change)
    }
  }
}

extension ConfigurationBook.State {
  func room(_ scope: ConfigurationScope) -> ConfigurationRoom {
    rooms[scope] ?? ConfigurationRoom(schema: schemas[scope.application]?.rules ?? .open)
  }

  mutating func makeRoom(_ scope: ConfigurationScope) {
    if rooms[scope] == nil { rooms[scope] = room(scope) }
  }
}

extension ConfigurationScope {
  init(_ change: KeelsonConfigurationV1.StoredChange) {
    self.init(application: change.application, environment: change.environment)
  }
}
