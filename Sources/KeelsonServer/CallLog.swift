import KeelsonCore
import KeelsonTransport

/// Logs calls as they end: method, status, duration, sizes, who and which. Source: SYS-106.
///
/// Calls that change something, and calls that the server could not serve, are logged at info;
/// reads and refusals, which are frequent, at debug.
struct CallLog: Sendable {
  let logger: Logger

  func log(_ call: CallSummary) {
    let level = Self.level(of: call)
    guard level >= logger.minimum else { return }
    logger.log(
      level, "\(call.method.path)",
      [
        "status": call.code.description, "peer": call.peer,
        "milliseconds": Self.milliseconds(call.duration),
        "received_bytes": String(call.receivedBytes), "sent_bytes": String(call.sentBytes),
      ], correlationID: call.correlationID)
  }

  private static func level(of call: CallSummary) -> Logger.Level {
    switch call.code {
    case .ok: call.method.isIdempotent ? .debug : .info
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
