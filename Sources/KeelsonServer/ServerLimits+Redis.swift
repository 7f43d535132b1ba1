import KeelsonRedis

extension ServerLimits {
  static let redis: [ServerLimit] = [
    duration(
      "redis-timeout", \.redis.commandTimeout, 10...60_000,
      "an answer of Redis", "a failure of Redis"),
    duration(
      "redis-connect-timeout", \.redis.connectTimeout, 10...60_000,
      "connecting to Redis, with TLS and logging in", "it is tried again"),
    duration(
      "redis-stall-timeout", \.redis.stallTimeout, 10...600_000,
      "a connection to Redis whose oldest command has no answer", "the connection is closed"),
    duration(
      "redis-retry-delay", \.redis.longestRetryDelay, 10...600_000,
      "the pause between two attempts to connect to Redis", "nothing: pauses grow no longer"),
    count(
      "redis-queued-commands", \.redis.queuedCommands, 16...1_000_000,
      "commands on a connection that wait for an answer", "a failure of Redis"),
    size(
      "redis-queued-bytes", \.redis.queuedBytes, 1 << 20...1 << 40,
      "bytes on a connection that wait to be sent", "a failure of Redis"),
    duration(
      "redis-ping-interval", \.redis.pingInterval, 1...1_000,
      "time between two questions whether all invalidations are known", "nothing: it is asked then"),
    duration(
      "redis-look-interval", \.redis.lookInterval, 50...60_000,
      "time between two looks at the memory of Redis", "nothing: it is looked then"),
    count(
      "redis-full", \.redis.fullPercent, 10...100,
      "percent of Redis's maxmemory that may be used", "nothing is stored, and entries go"),
    size(
      "redis-memory", \.redis.memoryBytes, 0...1 << 50,
      "what a Redis without maxmemory may use; 0: no limit", "nothing is stored, and entries go"),
  ]
}
