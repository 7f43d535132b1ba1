/// A piece of code that takes bytes from strangers, and what must hold whatever they are.
///
/// dev/fuzz tries bytes that libFuzzer makes up, the corpus test those that were kept.
package struct FuzzTarget: Sendable {
  /// Also the folder of its corpus.
  package let name: String
  /// Longer inputs find nothing that shorter ones do not.
  package let maximumBytes: Int
  /// What has to be there before the first run.
  private let prepare: @Sendable () async throws -> Void
  private let body: @Sendable ([UInt8]) throws -> Void

  init(
    _ name: String, maximumBytes: Int, prepare: @escaping @Sendable () async throws -> Void = {},
    run: @escaping @Sendable ([UInt8]) throws -> Void
  ) {
    self.name = name
    self.maximumBytes = maximumBytes
    self.prepare = prepare
    body = run
  }

  package static let all: [FuzzTarget] = [
    .messages, .deframer, .headers, .rules, .targets, .serviceConfig, .gzip, .server,
  ]

  package static func named(_ name: String) -> FuzzTarget? {
    all.first { $0.name == name }
  }

  /// Call it once before the first ``run(_:)``.
  package func start() async throws {
    try await prepare()
  }

  /// - Throws: ``FuzzFailure`` when something does not hold. What is worse than that traps.
  package func run(_ input: [UInt8]) throws {
    try body(input)
  }
}

/// Something that must hold does not.
struct FuzzFailure: Error, CustomStringConvertible {
  let description: String
}

/// - Throws: ``FuzzFailure`` when the condition is false.
func require(_ condition: Bool, _ what: @autoclosure () -> String) throws(FuzzFailure) {
  guard condition else { throw FuzzFailure(description: what()) }
}
