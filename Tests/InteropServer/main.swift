import Glibc
import KeelsonAPI
import KeelsonCore
import KeelsonHealth
import KeelsonTransport

// Serves `grpc.testing.TestService` for the interop cases and the benchmarks, beside the standard
// health service, until SIGTERM or SIGINT. Says where on standard output.

/// Kept off the main actor, on which each step of a call would cost a change of threads.
@concurrent
func serve(_ options: ServerOptions, until stopped: StopSignals) async throws {
  let logger = Logger.standardError(component: "interop", minimum: .warning)
  var listener = ListenerConfiguration(try ListenAddress(parsing: "127.0.0.1:\(options.port)"))
  if let certificateFile = options.certificateFile, let keyFile = options.keyFile {
    let files = TLSServerConfiguration(certificateFile: certificateFile, keyFile: keyFile)
    listener.security = .tls(try TLSServerCertificates(files, logger: logger))
  }
  var configuration = ServerConfiguration(listeners: [listener])
  configuration.loopCount = options.loops
  let routes = InteropService().served
  let monitor = HealthMonitor(checks: [], logger: logger)
  let health = StandardHealthService(
    monitor: monitor,
    services: Set(routes.map(\.method.service)).union(["grpc.health.v1.Health"]))
  let server = Server(
    configuration: configuration, routes: routes + health.routes, logger: logger)
  let addresses = try await server.start()
  await monitor.checkAll()
  monitor.markStarted()
  for address in addresses { say("InteropServer is serving on \(address)", to: STDOUT_FILENO) }
  await stopped.wait()
  monitor.markDraining()
  monitor.report.close()
  await server.drain(grace: .seconds(1))
}

/// Writes a line at once, also into a pipe.
func say(_ line: String, to descriptor: Int32) {
  let bytes = Array("\(line)\n".utf8)
  _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
}

do {
  let options = try ServerOptions(CommandLine.arguments.dropFirst())
  try await serve(options, until: StopSignals())
} catch let error as UsageError {
  say("InteropServer: \(error.message)\n\(ServerOptions.usage)", to: STDERR_FILENO)
  exit(2)
} catch {
  say("InteropServer: \(error)", to: STDERR_FILENO)
  exit(1)
}
