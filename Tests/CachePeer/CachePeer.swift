// One client of a fleet: a process with a KeelsonClient and its copies, driven over its standard input.
//
//   CachePeer ADDRESS[,ADDRESS...] [round-robin]
//
// Each line on standard input is a command: a tag of the caller's choice, a word, and arguments, with
// single spaces between them. Commands run side by side; each answers with lines that begin with its
// tag. Values are texts without spaces. Times are nanoseconds of CLOCK_MONOTONIC, which all processes
// of a machine share. Once it is ready it prints `ready`.
//
//   TAG remember KEY VALUE DELAY_MS [TTL_MS [TAG,TAG]]
//                        -> TAG value GIVEN loaded|given BEGAN_NS ENDED_NS
//                           The loader waits for the delay and returns VALUE; `loaded`: it was this
//                           command's that ran.
//   TAG get KEY          -> TAG value GIVEN NS, or TAG none NS
//   TAG set KEY VALUE [TAG,TAG]          -> TAG ok ENDED_NS
//   TAG delete KEY                       -> TAG ok ENDED_NS
//   TAG invalidate keys|tags|patterns NAME[,NAME]  -> TAG ok ENDED_NS
//   TAG poll KEY [INTERVAL_US]
//                        -> TAG change LAST_OLD_NS FIRST_NEW_NS VALUE
//                           Reads the key again and again, every 200 microseconds or so; 0: without a
//                           pause. A line for each change, `-` for none: when the old value was last
//                           given, and the new one first. The first line has 0 as LAST_OLD_NS. Reads
//                           that fail change nothing.
//   TAG stop TAG2        -> TAG2 end READS FAILURES, then TAG ok NS: ends a poll
//   TAG sync             -> TAG ok NS once copies are in use
//   TAG stats            -> TAG stats JSON: near_hits, hits, misses, loads, load_failures, stale_values,
//                           waits, unstored, failures, copies, invalidations, flushes, in_sync,
//                           passed_by
//   TAG quit             -> the process ends, as it does at the end of its input
//
// What fails answers TAG error CODE MESSAGE.

import Foundation
import KeelsonClient
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@main struct CachePeer {
  let client: KeelsonClient
  /// Loads take as long, and polls pause as long, as the test that drives this says.
  private static let clock = ContinuousClock()
  private let polls = PollTasks()

  static func main() async throws {
    let arguments = CommandLine.arguments
    guard (2...3).contains(arguments.count) else {
      say("usage: CachePeer ADDRESS[,ADDRESS...] [round-robin]")
      exit(2)
    }
    var configuration = KeelsonClient.Configuration(server: arguments[1])
    configuration.subscribesToFlags = false
    configuration.connectionBackoff = ConnectionBackoff(
      initial: .milliseconds(50), maximum: .milliseconds(500))
    if arguments.last == "round-robin" { configuration.loadBalancing = .roundRobin }
    let peer = CachePeer(client: try KeelsonClient(configuration))
    say("ready")
    await peer.run()
    await peer.client.shutdown()
  }

  private func run() async {
    // Reading a line blocks: that has a thread of its own.
    let (lines, continuation) = AsyncStream<String>.makeStream()
    let reader = Thread {
      while let line = readLine() { continuation.yield(line) }
      continuation.finish()
    }
    reader.start()
    await withTaskGroup { group in
      for await line in lines {
        let words = line.split(separator: " ").map(String.init)
        guard words.count >= 2 else { continue }
        if words[1] == "quit" { break }
        group.addTask { await answer(words[0], words[1], Array(words.dropFirst(2))) }
      }
      polls.cancelAll()
      group.cancelAll()
    }
  }

  private func answer(_ tag: String, _ command: String, _ arguments: [String]) async {
    do {
      Self.say("\(tag) \(try await perform(tag, command, arguments))")
    } catch let error as RPCError {
      Self.say("\(tag) error \(error.code) \(error.message)")
    } catch {
      Self.say("\(tag) error - \(error)")
    }
  }

  private func perform(_ tag: String, _ command: String, _ given: [String]) async throws
    -> String
  {
    let cache = client.cache
    func argument(_ index: Int) -> String { index < given.count ? given[index] : "" }
    func list(_ index: Int) -> [String] {
      argument(index).split(separator: ",").map(String.init)
    }
    let key = argument(0)
    switch command {
    case "remember":
      let (value, delay) = (argument(1), Int64(argument(2)) ?? 0)
      let hasLoaded = Flag()
      let began = Self.nanoseconds()
      let found: String = try await cache.remember(
        key, ttl: Int64(argument(3)).map { .milliseconds($0) }, tags: list(4)
      ) { () -> String in
        hasLoaded.set()
        if delay > 0 { try await Self.clock.sleep(for: .milliseconds(delay)) }
        return value
      }
      return "value \(found) \(hasLoaded.isSet ? "loaded" : "given") \(began) \(Self.nanoseconds())"
    case "get":
      let value = try await cache.get(key, as: String.self)
      return "\(value.map { "value \($0)" } ?? "none") \(Self.nanoseconds())"
    case "set": try await cache.set(key, argument(1), tags: list(2))
    case "delete": try await cache.delete(key)
    case "invalidate":
      try await cache.invalidate(
        keys: key == "keys" ? list(1) : [], tags: key == "tags" ? list(1) : [],
        patterns: key == "patterns" ? list(1) : [])
    case "poll":
      let task = Task { await poll(tag, key, pause: Int64(argument(1)) ?? 200) }
      polls.add(tag, task)
      return await task.value
    case "stop": await polls.cancel(key)
    case "sync":
      // Each asks the server, as long as copies are not in use.
      while !cache.status.isInSync {
        _ = try? await cache.get("peer:peer:peer:sync", as: String.self)
        try Task.checkCancellation()
      }
    case "stats": return "stats \(Self.json(cache.status))"
    default: return "error - There is no command '\(command)'."
    }
    return "ok \(Self.nanoseconds())"
  }

  private func poll(_ tag: String, _ key: String, pause: Int64) async -> String {
    var last: String??
    var lastTime: UInt64 = 0
    var (reads, failures) = (0, 0)
    while !Task.isCancelled {
      do {
        // The bound is about when one asks: a process may be stopped before it looks at the clock again.
        let now = Self.nanoseconds()
        let value = try await client.cache.get(key, as: String.self)
        reads += 1
        if last == nil || last != .some(value) {
          Self.say("\(tag) change \(lastTime) \(now) \(value ?? "-")")
          last = .some(value)
        }
        lastTime = now
      } catch {
        failures += 1
      }
      if pause > 0 { try? await Self.clock.sleep(for: .microseconds(pause)) }
    }
    return "end \(reads) \(failures)"
  }

  // MARK: Output

  private static func json(_ status: CacheStatus) -> String {
    let numbers: [(String, UInt64)] = [
      ("near_hits", status.nearHits), ("hits", status.hits), ("misses", status.misses),
      ("loads", status.loads), ("load_failures", status.loadFailures),
      ("stale_values", status.staleValues), ("waits", status.waits),
      ("unstored", status.unstored), ("failures", status.failures),
      ("copies", UInt64(status.copies)), ("invalidations", status.invalidations),
      ("flushes", status.flushes),
    ]
    let members = numbers.map { "\"\($0.0)\":\($0.1)" }
    return "{\(members.joined(separator: ",")),\"in_sync\":\(status.isInSync),"
      + "\"passed_by\":\(status.isPassedBy)}"
  }

  private static let output = Mutex(())

  /// Prints a line, at once and whole.
  private static func say(_ line: String) {
    output.withLock { _ in
      // Not by way of stdio: flushing that would wait for the lock that reading holds.
      FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }
  }

  private static func nanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

/// The polls that run, by their tags.
private final class PollTasks: Sendable {
  private let tasks = Mutex<[String: Task<String, Never>]>([:])

  func add(_ tag: String, _ task: Task<String, Never>) {
    tasks.withLock { $0[tag] = task }
  }

  /// Ends one, and returns when it has ended.
  func cancel(_ tag: String) async {
    let task = tasks.withLock { $0.removeValue(forKey: tag) }
    task?.cancel()
    _ = await task?.value
  }

  func cancelAll() {
    for task in tasks.withLock({ Array($0.values) }) { task.cancel() }
  }
}

private final class Flag: Sendable {
  private let value = Atomic(false)
  func set() { value.store(true, ordering: .relaxed) }
  var isSet: Bool { value.load(ordering: .relaxed) }
}
