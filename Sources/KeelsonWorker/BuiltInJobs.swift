package import KeelsonClient
package import KeelsonCore
import KeelsonHTTP

/// The kinds of job that `keelson worker` runs.
package struct BuiltInJobs: Sendable {
  /// What a worker may do.
  package struct Rules: Sendable {
    /// The hosts that `keelson.http` calls.
    package var hosts: HostRules
    /// The commands that `keelson.command` runs.
    package var commands = CommandList()
    /// The worker's own variables, of which commands get those that are passed to them.
    package var variables: [String: String] = [:]
    /// Whose certificates `keelson.http` trusts, PEM; nil: those that the system trusts.
    package var caFile: String?
    /// Bytes that results keep of an answer's body, and of each stream of a command.
    package var outputBytes = BuiltInJobs.defaultOutputBytes

    package init(hosts: HostRules) {
      self.hosts = hosts
    }
  }

  /// Two of them fit into a result of `job-result-size`'s default, 64 KiB.
  package static let defaultOutputBytes = 24 << 10
  /// Two of them and what stands around them fit into 1 MiB, which no result may exceed.
  package static let outputBytesRange = 0...(511 << 10)

  private let http: HTTPJob
  private let command: CommandJob
  private let chores: [ChoreJob]

  /// - Parameter client: the chores are calls to its server.
  package init(_ client: KeelsonClient, _ rules: Rules) {
    var options = HTTPOptions()
    options.maximumResponseBytes = max(rules.outputBytes, 4_096)
    options.keepsBeginning = true
    options.connectTimeout = .seconds(10)
    options.caFile = rules.caFile
    http = HTTPJob(
      client: CurlClient(options), rules: rules.hosts, outputBytes: rules.outputBytes)
    command = CommandJob(
      commands: rules.commands, variables: rules.variables, outputBytes: rules.outputBytes)
    chores = ChoreJob.all(client)
  }

  /// Every kind there is.
  package var kinds: [String] { [HTTPJob.kind, CommandJob.kind] + chores.map(\.kind) }

  /// Those that a worker runs which is not told: commands only when it has some.
  package var usualKinds: [String] {
    kinds.filter { $0 != CommandJob.kind || !command.commands.isEmpty }
  }

  /// Has a worker run these kinds.
  ///
  /// - Throws: ``RPCError`` INVALID_ARGUMENT for a kind that there is not, or that could do nothing.
  package func register(_ wanted: [String], with worker: JobWorker) throws(RPCError) {
    for kind in wanted {
      switch kind {
      case HTTPJob.kind: worker.handle(kind) { [http] in try await http.run($0, $1) }
      case CommandJob.kind:
        guard !command.commands.isEmpty else {
          throw RPCError(
            .invalidArgument,
            "\(kind) can run nothing: allow commands with --allow-command-file or "
              + "--allow-command.")
        }
        worker.handle(kind) { [command] in try await command.run($0, $1) }
      default:
        guard let chore = chores.first(where: { $0.kind == kind }) else {
          throw RPCError(
            .invalidArgument,
            "There is no built-in kind '\(kind)'"
              + NearestWord.suggestion(for: kind, among: kinds)
              + "; there are \(kinds.joined(separator: ", ")).")
        }
        worker.handle(kind) { payload, _ in try await chore.run(payload) }
      }
    }
  }
}
