// What swift-configuration asks of a provider, as far as an adapter sees it: the names and the types
// of its own, so that the adapter of docs/client.md compiles here without the package.

protocol ConfigProvider: Sendable {
  var providerName: String { get }
  func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult
  func fetchValue(forKey key: AbsoluteConfigKey, type: ConfigType) async throws -> LookupResult
  func watchValue<Return: ~Copyable>(
    forKey key: AbsoluteConfigKey, type: ConfigType,
    updatesHandler: (
      ConfigUpdatesAsyncSequence<Result<LookupResult, any Error>, Never>
    ) async throws -> Return
  ) async throws -> Return
  func snapshot() -> any ConfigSnapshot
  func watchSnapshot<Return: ~Copyable>(
    updatesHandler: (
      ConfigUpdatesAsyncSequence<any ConfigSnapshot, Never>
    ) async throws -> Return
  ) async throws -> Return
}

protocol ConfigSnapshot: Sendable {
  var providerName: String { get }
  func value(forKey key: AbsoluteConfigKey, type: ConfigType) throws -> LookupResult
}

struct AbsoluteConfigKey: Sendable, Hashable {
  var components: [String]
}

enum ConfigType: String, Sendable, Hashable {
  case string, int, double, bool, bytes
  case stringArray, intArray, doubleArray, boolArray, byteChunkArray
}

enum ConfigContent: Sendable, Hashable {
  case string(String)
  case int(Int)
  case double(Double)
  case bool(Bool)
  case bytes([UInt8])
  case stringArray([String])
  case intArray([Int])
  case doubleArray([Double])
  case boolArray([Bool])
  case byteChunkArray([[UInt8]])
}

struct ConfigValue: Sendable, Hashable {
  var content: ConfigContent
  var isSecret: Bool

  init(_ content: ConfigContent, isSecret: Bool) {
    self.content = content
    self.isSecret = isSecret
  }
}

struct LookupResult: Sendable, Hashable {
  var encodedKey: String
  var value: ConfigValue?
}

struct ConfigUpdatesAsyncSequence<Element: Sendable, Failure: Error>: AsyncSequence {
  private let upstream: any AsyncSequence<Element, Failure>

  init(_ upstream: some AsyncSequence<Element, Failure>) {
    self.upstream = upstream
  }

  func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(upstream: upstream.makeAsyncIterator())
  }

  struct AsyncIterator: AsyncIteratorProtocol {
    var upstream: any AsyncIteratorProtocol<Element, Failure>

    mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(Failure) -> Element? {
      try await upstream.next(isolation: actor)
    }
  }
}
