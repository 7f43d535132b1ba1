package import KeelsonCore

/// Where secrets are kept: a folder, HashiCorp Vault, Azure Key Vault.
package protocol SecretStore: Sendable {
  /// What it is, for sentences and logs: `Vault at https://vault:8200 (secret/keelson)`.
  var name: String { get }

  /// Reads everything there is.
  ///
  /// - Throws: ``SecretStoreError`` whose sentence tells an admin what to do; `CancellationError`.
  func load() async throws -> LoadedSecrets
}

/// What a store held at one moment.
package struct LoadedSecrets: Sendable, Equatable {
  /// By key, sections apart by colons: `Database:Password`.
  package var values: [String: SecretValue]
  /// What an admin should hear about, though the values are good.
  package var warnings: [String]

  package init(values: [String: SecretValue] = [:], warnings: [String] = []) {
    self.values = values
    self.warnings = warnings
  }
}

/// Why a store gave nothing.
package struct SecretStoreError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What kind of failure it is.
  package struct Code: Sendable, Hashable, CustomStringConvertible {
    package let description: String

    /// The settings of the store cannot be meant.
    package static let settings = Code(description: "settings")
    /// It could not be reached, or did not answer in time.
    package static let unreachable = Code(description: "unreachable")
    /// It does not know us, or we may not read this.
    package static let denied = Code(description: "denied")
    /// It has no such secret.
    package static let missing = Code(description: "missing")
    /// It is sealed, not set up, or a standby.
    package static let unavailable = Code(description: "unavailable")
    /// We ask too often.
    package static let throttled = Code(description: "throttled")
    /// What it answered is not what its API describes, or too large.
    package static let malformed = Code(description: "malformed")
    /// It failed on its own side.
    package static let failed = Code(description: "failed")
  }

  package let code: Code
  /// A sentence for the admin: what is wrong and what to do. No secret stands in it.
  package let message: String
  /// What led to it, for the log.
  package let cause: String?

  package init(_ code: Code, _ message: String, cause: String? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String { message }
}
