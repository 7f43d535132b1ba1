package import KeelsonConfigurationRules

/// Where the layers below the API come from: files, secret stores, environment variables. The
/// server hands one in that knows which folders, stores and prefixes an application has.
package protocol ConfigurationSources: Sendable {
  /// The applications and environments that have any.
  var scopes: [ConfigurationScope] { get }

  /// Reads the layers of an application in an environment; none where it has none.
  ///
  /// - Throws: an error whose description tells an admin what to do; no secret stands in it.
  func load(_ scope: ConfigurationScope) async throws -> [LayerSource]

  /// The scopes whose layers may have changed, as that is noticed. Asked for once.
  func changes() -> AsyncStream<ConfigurationScope>
}

/// No layers below the API but the schema's defaults.
package struct NoConfigurationSources: ConfigurationSources {
  package init() {}

  package var scopes: [ConfigurationScope] { [] }

  package func load(_ scope: ConfigurationScope) async throws -> [LayerSource] { [] }

  package func changes() -> AsyncStream<ConfigurationScope> {
    AsyncStream { $0.finish() }
  }
}
