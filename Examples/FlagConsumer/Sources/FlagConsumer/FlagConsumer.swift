import Foundation
import KeelsonClient

/// Follows a feature flag until Ctrl-C:
///
///     swift run FlagConsumer [SERVER] [FLAG]
///
/// Toggle the flag meanwhile, with `keelson flags toggle` for example.
@main
struct FlagConsumer {
  static func main() async {
    let arguments = CommandLine.arguments.dropFirst()
    let server = arguments.first ?? "127.0.0.1:7400"
    let key = arguments.dropFirst().first ?? "new-checkout"
    do {
      try await follow(key, on: server)
    } catch {
      FileHandle.standardError.write(Data("FlagConsumer: \(error)\n".utf8))
      exit(1)
    }
  }

  static func follow(_ key: String, on server: String) async throws {
    let keelson = try await KeelsonClient.connect(to: server)

    // Asked for before anything can happen, so that no change is missed.
    let changes = keelson.flags.changes
    if try await !create(key, with: keelson) { show(key, of: keelson) }
    for await change in changes where change.concerns(key) {
      show(key, of: keelson)
    }
    await keelson.shutdown()
  }

  /// Creates the flag, if it is missing: enabled, and off for everybody.
  ///
  /// - Returns: whether it was missing. The new flag then arrives as a change.
  static func create(_ key: String, with keelson: KeelsonClient) async throws -> Bool {
    let environment = try await keelson.health.getHealth().environment
    let flag = KeelsonFlagsV1.Flag(
      key: key, description: "Made by the FlagConsumer example.", type: .boolean,
      environments: [environment: .init(enabled: true, defaultVariant: "off")])
    do {
      _ = try await keelson.admin.flags.createFlag(.init(flag: flag))
      say("created the flag \(key) in \(environment)")
      return true
    } catch let error as RPCError where error.code == .alreadyExists {
      return false
    }
  }

  /// Evaluates the flag for a user. No network is on this path: the rules are here already.
  static func show(_ key: String, of keelson: KeelsonClient) {
    let anna: EvaluationContext = ["targetingKey": "anna", "plan": "pro"]
    let details = keelson.flags.boolDetails(key, default: false, context: anna)
    let reason = details.errorMessage ?? details.reason.description
    say("\(key) is \(details.value) for anna (\(reason), revision \(details.revision))")
  }

  /// Prints a line at once, also into a pipe, where `print` would keep it.
  static func say(_ line: String) {
    FileHandle.standardOutput.write(Data("\(line)\n".utf8))
  }
}
