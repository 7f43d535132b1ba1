import Dispatch
import Glibc

/// The signals that ask the process to stop: SIGTERM and SIGINT.
enum Termination {
  /// Waits for the first of the signals. A second one, or a third, ends the process at once, for
  /// whoever does not want to wait for the drain.
  static func wait() async -> String {
    let (signals, continuation) = AsyncStream.makeStream(of: String.self)
    let queue = DispatchQueue(label: "keelson.signals")
    let sources = [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")].map { number, name in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { continuation.yield(name) }
      source.resume()
      return source
    }
    let first = await signals.first { _ in true } ?? "SIGTERM"
    for source in sources {
      source.setEventHandler { exit(130) }
    }
    return first
  }
}
