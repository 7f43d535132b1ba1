import Foundation
import KeelsonCache
import KeelsonCacheRules
import KeelsonCore

/// What entries take, by the engine's count, by the kernel's, and in Redis.
enum MemoryUse {
  private static let entries = 1_000_000
  private static let value = [UInt8](repeating: 0x61, count: 100)
  private static let day = CacheLifetime(ttl: .seconds(86_400))

  static func run() async throws -> [String: [Double]] {
    var figures = flood()
    figures.merge(await floodOfTwoThreads()) { $1 }
    let before = residentBytes()
    let engine = MemoryCacheEngine(byteLimit: 1 << 30)
    for number in 0..<entries {
      _ = engine.setNow(CacheWrite(key: Keys.name(number), value: value, lifetime: day))
    }
    let measure = engine.measureNow()
    figures["entry_bytes"] = [Double(measure.memoryBytes) / Double(entries)]
    figures["entry_resident_bytes"] = [Double(residentBytes() - before) / Double(entries)]
    figures["entries"] = [Double(measure.entries)]
    figures.merge(try redis()) { $1 }
    return figures
  }

  /// Of this process.
  private static func residentBytes() -> Int {
    let fields = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?
      .split(separator: " ")
    return (fields.flatMap { Int($0[1]) } ?? 0) * Int(getpagesize())
  }

  /// Distinct keys, ten times of what fits, of sizes that change: what the engine counts at most, and
  /// what the process has grown by at most.
  private static func flood() -> [String: [Double]] {
    let limit = 64 << 20
    let before = residentBytes()
    let engine = MemoryCacheEngine(byteLimit: limit)
    let (counted, resident) = fill(engine, bytes: limit * 10, seed: 1, before)
    return [
      "flood_limit_bytes": [Double(limit)], "flood_bytes": [counted],
      "flood_resident_bytes": [resident],
    ]
  }

  /// The same from two threads, and then from a third, so that what one allocates another frees.
  private static func floodOfTwoThreads() async -> [String: [Double]] {
    let limit = 64 << 20
    let before = residentBytes()
    let engine = MemoryCacheEngine(byteLimit: limit)
    var peaks = await withTaskGroup(of: (Double, Double).self) { group in
      for thread in 0..<2 {
        group.addTask { fill(engine, bytes: limit * 5, seed: UInt64(thread) + 2, before) }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    for seed in 4..<8 as Range<UInt64> {
      let thread = Task.detached { fill(engine, bytes: limit * 2, seed: seed, before) }
      peaks.append(await thread.value)
    }
    return [
      "flood_threads_bytes": [peaks.map(\.0).max() ?? 0],
      "flood_threads_resident_bytes": [peaks.map(\.1).max() ?? 0],
    ]
  }

  private static func fill(
    _ engine: MemoryCacheEngine, bytes: Int, seed: UInt64, _ before: Int
  ) -> (counted: Double, resident: Double) {
    var dice = Dice(seed: seed)
    var (written, number) = (0, 0)
    var (counted, resident): (UInt64, Int) = (0, 0)
    while written < bytes {
      // From sixteen bytes to some kilobytes, larger and larger, and now and then very large.
      let most = 6 + written * 8 / bytes
      let size =
        dice.below(2_000) == 0 ? dice.below(1 << 20) : 1 << (4 + dice.below(most)) + dice.below(16)
      _ = engine.setNow(
        CacheWrite(
          key: Keys.name(Int(seed) << 32 + number), value: [UInt8](repeating: 1, count: size),
          lifetime: day))
      written += size + 200
      number += 1
      if number.isMultiple(of: 512) {
        counted = max(counted, engine.measureNow().memoryBytes)
        resident = max(resident, residentBytes() - before)
      }
    }
    return (Double(counted), Double(resident))
  }

  // MARK: Redis

  /// The same entries in a Redis of its own, with a time to live like ours.
  private static func redis() throws -> [String: [Double]] {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("cache-benchmark-\(getpid())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let client = "redis-cli -s \(folder.path)/redis"
    _ = try output(
      "redis-server --port 0 --unixsocket \(folder.path)/redis --save '' --appendonly no"
        + " --dir \(folder.path) --daemonize yes")
    defer { _ = try? output("\(client) shutdown nosave") }
    let end = ContinuousClock.now + .seconds(10)
    while try output("\(client) ping 2>&1") != "PONG" {
      guard .now < end else { throw MemoryUseProblem("redis-server does not answer") }
    }
    let before = try usedMemory(client)
    let text = String(decoding: value, as: UTF8.self)
    var commands = ""
    for number in 0..<entries { commands += "SET \(Keys.name(number)) \(text) EX 86400\r\n" }
    try commands.write(toFile: folder.path + "/commands", atomically: false, encoding: .utf8)
    _ = try output("\(client) --pipe < \(folder.path)/commands")
    let count = try output("\(client) dbsize")
    guard count == "\(entries)" else { throw MemoryUseProblem("Redis has \(count) entries") }
    let usage = try output("\(client) memory usage \(Keys.name(entries / 2))")
    return [
      "redis_entry_bytes": [Double(try usedMemory(client) - before) / Double(entries)],
      "redis_memory_usage_bytes": [Double(usage) ?? 0],
    ]
  }

  private static func usedMemory(_ client: String) throws -> Int {
    let line = try output("\(client) info memory | grep ^used_memory:")
    guard let bytes = Int(line.dropFirst("used_memory:".count)) else {
      throw MemoryUseProblem("Redis does not tell its memory")
    }
    return bytes
  }

  /// Of a command of the shell, without the white space around it.
  private static func output(_ command: String) throws -> String {
    guard let pipe = popen(command, "r") else { throw MemoryUseProblem("popen: \(errno)") }
    var bytes: [UInt8] = []
    while case let byte = fgetc(pipe), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
    pclose(pipe)
    return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}

struct MemoryUseProblem: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
