import Dispatch
import Glibc

/// SIGTERM and SIGINT, as something to wait for. One in the life of a process.
struct StopSignals {
  private let signals: AsyncStream<Void>
  private let sources: [any DispatchSourceSignal]

  /// Takes the signals over at once.
  init() {
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
    self.signals = signals
    sources = [SIGTERM, SIGINT].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield() }
      source.resume()
      return source
    }
  }

  /// Waits for the first of them.
  func wait() async {
    _ = await signals.first { _ in true }
    withExtendedLifetime(sources) {}
  }
}
