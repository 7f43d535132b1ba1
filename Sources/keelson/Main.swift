import Glibc
import KeelsonCore

@main
enum Main {
  /// Exit status: 0 done, 1 failed, 2 the command line cannot be meant.
  static func main() async {
    let words = Array(CommandLine.arguments.dropFirst())
    do {
      if words == ["--version"] {
        try Output.line("keelson \(KeelsonVersion.current)")
        return
      }
      switch try RootCommand.command.parse(words) {
      case .help(let command, let path):
        try Output.line(command.help(path: path))
      case .run(let command, let invocation):
        try await command.run?(invocation)
      }
    } catch let error as UsageError {
      fail(error.description, status: 2)
    } catch is SilentFailure {
      exit(1)
    } catch let error as RPCError {
      fail(error.message.isEmpty ? "\(error.code)" : error.message, status: 1)
    } catch {
      fail("\(error)", status: 1)
    }
  }

  private static func fail(_ message: String, status: Int32) -> Never {
    Output.note(message)
    exit(status)
  }
}
