import KeelsonAPI
import KeelsonCore
import Synchronization

/// Logs calls as they end: method, status, duration, sizes, who and which. Source: SYS-106.
///
/// Calls that change something, and calls that the server could not serve, are logged at info;
/// reads, refused calls, and what is as frequent, at debug.
///
/// A caller can make calls fail as fast as it likes. So of those that are logged as failures, 100 a
/// second are; the rest are counted, and the number stands in the next such line.
final class CallLog: Sendable {
  static let failuresPerSecond = 100

  private struct Failures {
    var second = ContinuousClock.now
    var logged = 0
    var left = 0
  }

  let logger: Logger
  private let failures = Mutex(Failures())

  init(logger: Logger) {
    self.logger = logger
  }

  var interceptor: ServerInterceptor {
    ServerInterceptor(end: { context, summary in self.log(context, summary) })
  }

  func log(_ context: ServerContext, _ call: CallSummary) {
    let level = Self.level(of: call, context.method)
    guard level >= logger.minimum else { return }
    var left = 0
    if level >= .warning {
      guard let count = admitFailure() else { return }
      left = count
    }
    let state = context.snapshot
    var fields = [
      ("status", call.code.description), ("peer", context.peer),
      ("milliseconds", Self.milliseconds(call.duration)),
      ("received_bytes", String(call.receivedBytes)), ("sent_bytes", String(call.sentBytes)),
    ]
    if let identity = context.identity { fields.append(("identity", identity.name)) }
    if let trace = state.trace {
      fields += [("trace_id", trace.traceID), ("span_id", trace.parentID)]
    }
    if level >= .warning {
      fields += [("error", call.message), ("cause", call.cause ?? "not known")]
      if left > 0 { fields.append(("failures_not_logged", String(left))) }
    }
    logger.log(level, context.method.path, fields: fields, correlationID: state.correlation.text)
  }

  /// How many failures were left out since the last line; nil when this one is.
  private func admitFailure() -> Int? {
    failures.withLock { failures in
      let now = ContinuousClock.now
      if failures.second.duration(to: now) >= .seconds(1) {
        failures.second = now
        failures.logged = 0
      }
      guard failures.logged < Self.failuresPerSecond else {
        failures.left += 1
        return nil
      }
      failures.logged += 1
      defer { failures.left = 0 }
      return failures.left
    }
  }

  /// They change something, but what they leave behind says more than a line here, and they are as
  /// frequent as reads.
  private static let frequent: [MethodDescriptor] = {
    typealias Cache = KeelsonCacheV1.CacheServiceMethods
    return [
      KeelsonAuditV1.AuditServiceMethods.recordEntries, Cache.setEntry, Cache.getOrLease,
      Cache.releaseLease, Cache.batchSetEntries, Cache.touchEntries, Cache.deleteEntries,
      Cache.invalidateEntries,
    ]
  }()

  private static func level(of call: CallSummary, _ method: MethodDescriptor) -> Logger.Level {
    // The transport says so once a second, however many they are.
    if call.wasRefused { return .debug }
    return switch call.code {
    case .ok: method.isIdempotent || frequent.contains(method) ? .debug : .info
    case .unknown, .internalError, .dataLoss: .error
    case .resourceExhausted, .unavailable, .deadlineExceeded: .warning
    default: .debug
    }
  }

  /// With three digits behind the point.
  private static func milliseconds(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    let fraction = String(microseconds % 1_000)
    return "\(microseconds / 1_000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
  }
}
