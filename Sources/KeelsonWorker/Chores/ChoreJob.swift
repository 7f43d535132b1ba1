import KeelsonAPI
import KeelsonClient
import KeelsonCore

/// Keelson's own chores: calls of the server that the worker works for. They take no parameters,
/// and what they return is the call's answer.
struct ChoreJob: Sendable {
  /// How long the call may take.
  static let timeout: Duration = .seconds(3_600)

  let kind: String
  private let call: @Sendable (CallOptions) async throws -> String

  func run(_ payload: KeelsonJobsV1.Payload?) async throws -> KeelsonJobsV1.Payload {
    try ParameterReader(payload, of: kind).finish()
    do {
      return .init(kind: .json(try await call(CallOptions(timeout: Self.timeout))))
    } catch let error as RPCError {
      try Task.checkCancellation()
      throw Self.failure(error, kind)
    }
  }

  /// What another attempt does not cure is permanent.
  static func failure(_ error: RPCError, _ kind: String) -> JobFailure {
    let isPermanent =
      switch error.code {
      case .invalidArgument, .permissionDenied, .unauthenticated, .unimplemented,
        .failedPrecondition, .outOfRange, .notFound:
        true
      default: false
      }
    return JobFailure("\(kind) has failed: \(error)", isPermanent: isPermanent)
  }

  static func all(_ client: KeelsonClient) -> [ChoreJob] {
    let (audit, events, jobs) = (client.admin.audit, client.admin.events, client.jobs.service)
    return [
      ChoreJob(kind: "keelson.audit.archive") { options in
        // The names of the archives are enough: all of them could be more than a result holds.
        let answer = try await audit.archiveEntries(.init(), options: options)
        return JSONValue.object([
          "archived": .number(Double(answer.archived)),
          "deleted": .number(Double(answer.deleted)),
          "archives": .array(answer.archives.prefix(100).map { .string($0.name) }),
        ]).text
      },
      ChoreJob(kind: "keelson.events.compact") { options in
        try await events.compactEvents(.init(), options: options).json.text
      },
      ChoreJob(kind: "keelson.jobs.prune") { options in
        try await jobs.pruneJobs(.init(), options: options).json.text
      },
    ]
  }
}
