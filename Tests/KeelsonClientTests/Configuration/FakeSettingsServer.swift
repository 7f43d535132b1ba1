import KeelsonAPI
import KeelsonCore
import KeelsonTestKit
import KeelsonTransport
import Synchronization

@testable import KeelsonClient

/// Settings as a server would send them: one snapshot at the start of each watch, and what a look-up
/// gives, which may be newer.
final class FakeSettingsServer: Sendable {
  typealias API = KeelsonConfigurationV1

  private struct State {
    var settings: [String: SettingValue]
    var refusal: RPCError?
    var watches: [API.WatchSettingsRequest] = []
    var lookups = 0
  }

  private let state: Mutex<State>
  private let watched: [String: SettingValue]

  /// - Parameter refusal: what every watch ends with; nil: none does.
  init(_ settings: [String: SettingValue] = [:], refusal: RPCError? = nil) {
    watched = settings
    state = Mutex(State(settings: settings, refusal: refusal))
  }

  var watches: [API.WatchSettingsRequest] { state.withLock { $0.watches } }
  var lookups: Int { state.withLock { $0.lookups } }

  /// Changes what look-ups give, and no watch hears of it.
  func set(_ key: String, _ value: SettingValue?) {
    state.withLock { $0.settings[key] = value }
  }

  /// Runs a body with a client of this server.
  func run(
    environment: String? = nil, _ body: (KeelsonClient) async throws -> Void
  ) async throws {
    var configuration = KeelsonClient.Configuration()
    configuration.subscribesToFlags = false
    configuration.environment = environment
    configuration.subscription.refusalInterval = .seconds(3_600)
    try await withInProcessChannel(to: routes) { channel in
      let client = KeelsonClient(channel: channel, configuration)
      try await body(client)
      await client.shutdown()
    }
  }

  private var routes: [Route] {
    [
      .serverStreaming(API.ConfigurationServiceMethods.watchSettings) {
        (
          request: API.WatchSettingsRequest,
          responses: ResponseWriter<API.WatchSettingsResponse>, _
        ) in
        let refusal = self.state.withLock { state in
          state.watches.append(request)
          return state.refusal
        }
        if let refusal { throw refusal }
        let settings = self.watched.map {
          API.EffectiveSetting(key: $0.key, value: $0.value.message, layer: .api)
        }
        try await responses.write(
          .init(revision: 1, event: .snapshot(.init(settings: settings))))
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        for await _ in stream {}
        continuation.finish()
      },
      .unary(API.ConfigurationServiceMethods.getSetting) {
        (request: API.GetSettingRequest, _: ServerContext) in
        let value = self.state.withLock { state in
          state.lookups += 1
          return state.settings[request.key]
        }
        guard let value else { throw RPCError(.notFound, "No such setting.") }
        return API.Setting(key: request.key, value: value.message, layer: .api)
      },
      .unary(API.ConfigurationServiceMethods.listSettings) {
        (_: API.ListSettingsRequest, _: ServerContext) in
        let settings = self.state.withLock { state in
          state.lookups += 1
          return state.settings
        }
        return API.ListSettingsResponse(
          settings: settings.map {
            API.Setting(key: $0.key, value: $0.value.message, layer: .api)
          }, revision: 2)
      },
    ]
  }
}
