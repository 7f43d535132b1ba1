import Glibc
import KeelsonCore
import KeelsonTransport

// Runs one interop case against a server of any make: exit status 0 when it passes, 1 with a
// sentence that says what went wrong, 2 when the command line is wrong.

let usage = """
  usage: InteropClient --server ADDRESS --case NAME [--tls-ca FILE [--tls-server-name NAME]]
         InteropClient --list
  """

func say(_ line: String, to descriptor: Int32) {
  let bytes = Array("\(line)\n".utf8)
  _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
}

func fail(_ sentence: String, status: Int32) -> Never {
  say("InteropClient: \(sentence)", to: STDERR_FILENO)
  exit(status)
}

/// The value after an option.
func value(of option: String) -> String? {
  let arguments = CommandLine.arguments
  guard let index = arguments.firstIndex(of: option), index + 1 < arguments.count else {
    return nil
  }
  return arguments[index + 1]
}

/// Kept off the main actor: on it each step of a call would change threads.
@concurrent
func run(_ test: InteropCase, at target: Target) async throws {
  var configuration = ChannelConfiguration()
  configuration.unaryTimeout = .seconds(20)
  let loops = LoopGroup(count: 1)
  var tls: TLSClientContext?
  if let authority = value(of: "--tls-ca") {
    var settings = TLSClientConfiguration(trustRoots: .certificates(.file(authority)))
    settings.serverName = value(of: "--tls-server-name")
    tls = try TLSClientContext(settings, target: target)
  }
  let channel = try HTTP2Channel(
    target: target, configuration: configuration, tls: tls, loops: loops)
  try await test.run(InteropPeer(channel: channel))
  await channel.shutdown()
  await loops.stop()
}

if CommandLine.arguments.contains("--list") {
  say(InteropCase.all.map(\.name).joined(separator: "\n"), to: STDOUT_FILENO)
  exit(0)
}
guard let server = value(of: "--server"), let name = value(of: "--case") else {
  fail("--server and --case are needed.\n\(usage)", status: 2)
}
guard let test = InteropCase.all.first(where: { $0.name == name }) else {
  fail("There is no case \(name); --list names them.", status: 2)
}
do {
  try await run(test, at: try Target(server))
} catch {
  fail("\(name): \(error)", status: 1)
}
