// A race on `bare` when the first argument is "race", none on `guarded` ever. dev/test
// --sanitize=thread runs it both ways, to see that with what mutex_edges.c adds the thread
// sanitizer still finds the one and is silent about the other.
import Glibc
import Synchronization

final class Counters: Sendable {
  let guarded = Mutex(0)
  /// Guarded by nothing: this is the race.
  nonisolated(unsafe) var bare = 0
}

@main
enum Race {
  static let counters = Counters()
  static let isRacing = CommandLine.arguments.contains("race")

  static func count() {
    for _ in 0..<100_000 {
      counters.guarded.withLock { $0 += 1 }
      if isRacing { counters.bare += 1 }
    }
  }

  // What C calls must not be isolated to the main actor, as `main` is.
  static func main() { runThreads() }

  nonisolated static func runThreads() {
    var threads: [pthread_t] = []
    for _ in 0..<4 {
      var thread = pthread_t()
      pthread_create(
        &thread, nil,
        { _ in
          Race.count()
          return nil
        }, nil)
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
    guard counters.guarded.withLock({ $0 }) == 400_000 else { exit(1) }
  }
}
